"""Finish reasons: where an upstream says why the answer ended, and what its word for it means."""

from __future__ import annotations

from typing import Any, Final

# Other words for OpenAI's `length`, `content_filter`, `tool_calls` and `stop`, without `_` and in lower case.
_KINDS: Final = {
    **dict.fromkeys(
        ("maxtokens", "maxoutputtokens", "modellength", "maxlength", "modelcontextwindowexceeded"), "length",
    ),
    **dict.fromkeys(
        (
            "contentfiltered", "safety", "recitation", "blocklist", "prohibitedcontent", "spii", "guardrailintervened",
            "refusal", "sensitive", "errortoxic",
        ),
        "content_filter",
    ),
    **dict.fromkeys(("tooluse", "toolcall", "functioncall"), "tool_calls"),
    **dict.fromkeys(("eos", "eostoken", "endturn", "stopsequence", "complete", "finishreasonstop"), "stop"),
}  # fmt: skip


def reason_of(choice: dict[str, Any]) -> str:
    """Return the finish reason of a regular choice, or "" if there is none. SGLang sends an object with a `type`."""
    reason = choice.get("finish_reason")
    if reason is None:  # nearly all chunks have none
        return ""
    if isinstance(reason, bool):
        return ""
    text = str(reason.get("type") if isinstance(reason, dict) else reason).strip()
    return "" if text.lower() in {"null", "none"} else text


def any_reason_of(choice: dict[str, Any]) -> str:
    """Return the finish reason of a choice, which some upstreams name differently."""
    other = choice.get("finishReason") or choice.get("stop_reason")  # vLLM's may be the number of a token
    return reason_of(choice) or (reason_of({"finish_reason": other}) if isinstance(other, str) else "")


def kind_of(reason: str) -> str:
    """Return OpenAI's word for a finish reason, or the reason itself if there is none."""
    plain = reason.lower().replace("-", "_")
    return _KINDS.get(plain.replace("_", ""), plain)
