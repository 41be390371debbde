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
    """Return the finish reason, or "" if there is none. SGLang sends an object with a `type`.

    Some upstreams have another name for it.
    """
    reason = choice.get("finish_reason")
    if not reason:  # nearly all chunks have none
        reason = choice.get("finishReason") or choice.get("stop_reason")
        if not isinstance(reason, str):  # vLLM's `stop_reason` may be the number of a token
            return ""
    text = "" if reason is True else str(reason.get("type") if isinstance(reason, dict) else reason).strip()
    return "" if text.lower() in {"null", "none"} else text


def kind_of(reason: str) -> str:
    """Return OpenAI's word for a finish reason, or the reason itself if there is none."""
    plain = reason.lower().replace("-", "_")
    return _KINDS.get(plain.replace("_", ""), plain)
