"""Translates errors of upstreams into OpenAI's shape: `message`, `type`, `param`, `code`, and the upstream's reason."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ..errors import BelfryError
from .finish import reason_of
from .json_text import cleaned, text_in, written
from .pieces import Piece
from .tolerant import object_of, place_of, text_of

SHORT_CHARS: Final = 500  # of a text that is not JSON
LOOKED_AT_CHARS: Final = 65_536  # of such a text, in search of the message
KEPT: Final = ("message", "type", "param", "code", "status", "innererror", "metadata", "details")
_MESSAGES: Final = (
    "message",
    "msg",
    "faultstring",
    "detail",
    "error_msg",
    "error_message",
    "errorMessage",
    "error_description",
    "status_msg",
    "errmsg",
    "err_msg",
    "title",
)
_RARE_MESSAGES: Final = (
    "message", "msg", "detail", "details", "errormessage", "errormsg", "errmsg", "faultstring", "reason", "description",
    "exception", "text", "statustext",
)  # fmt: skip
# Members that may contain the error.
_WRAPPERS: Final = ("innererror", "fault", "data", "result", "response", "body")
# Strangers can choose an upstream's text. Each of these patterns takes time in proportion to the length of the text.
_TITLE: Final = re.compile(r"<(?:title|h1)\b[^<>]{0,200}>", re.IGNORECASE)
_TITLE_END: Final = re.compile(r"</(?:title|h1)\b", re.IGNORECASE)
_CODE: Final = re.compile(r"<(?:style|script)\b", re.IGNORECASE)
_CODE_END: Final = re.compile(r"</(?:style|script)\b", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
_DATA: Final = re.compile(r"^data:(.*)$", re.MULTILINE)
_EXCEPTION: Final = "Exception"
_LEAST_STATUS, _LAST_STATUS = 400, 599
_MAX_DEPTH: Final = 5  # of nested errors
# Codes and types of errors that say that the account can't pay or is closed, without `_` and in lower case.
_FINAL: Final = re.compile(
    r"(?:insufficient|notenough|outof)\w{0,20}(?:quota|balance|credit|fund)|billing|arrear|paymentrequired"
    r"|exceededcurrentquota|accountdeactivated|accessterminated",
)
# Finish reasons of answers that broke off: `abort` of vLLM and SGLang, and those of DeepSeek, Zhipu and others.
_BROKEN_OFF: Final = frozenset(
    {
        "error", "failed", "failure", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error",
        "server_error", "internal_error", "insufficient_system_resource",
    }
)  # fmt: skip
_FAILED: Final = frozenset({"error", "failed", "failure", "fail"})
_FAILED_TYPES: Final = frozenset({"error", "response.failed", "response.error", "completion.failed"})
_OF_A_PART: Final = frozenset({"type", "name", "tool"})  # members of a note about a part of the work, such as a tool
_CODES: Final = ("code", "error_code", "errcode", "err_code", "status_code")
_GOOD_CODES: Final = frozenset({"", "0", "200", "none", "null", "ok", "success"})


def short(text: str) -> str:
    """Return the beginning of a text on one line. For HTML, return its title."""
    text = text[:LOOKED_AT_CHARS]
    if "<" in text:
        text = _TAG.sub(" ", _title(text) or _without_code(text))
    return " ".join(text.split())[:SHORT_CHARS]


def _title(html: str) -> str:
    start = _TITLE.search(html)
    end = _TITLE_END.search(html, start.end()) if start else None
    return html[start.end() : end.start()] if start and end else ""


def _without_code(html: str) -> str:
    """Return `html` without its styles and scripts."""
    kept, at = [], 0
    while (start := _CODE.search(html, at)) and (end := _CODE_END.search(html, start.end())):
        kept.append(html[at : start.start()])
        at = end.start()
    return " ".join([*kept, html[at:]])


def told_in(body: bytes) -> dict[str, Any]:
    """Return the body of a refusal as members of OpenAI's error object. Return {} if it says nothing."""
    text = text_in(body)
    for found in (text, "\n".join(_DATA.findall(text))):  # some upstreams send an event stream
        try:
            value = json.loads(found)
        except (ValueError, RecursionError):
            continue
        told = members_of(value)
        # A reason in a form that nobody foresaw is better than none.
        return {"message": short(written(value)), **told} if value and value is not True else told
    return {"message": short(text)} if text.strip() else {}


def members_of(error: object, depth: int = 0) -> dict[str, Any]:
    """Return the members of OpenAI's error object that an upstream's error contains."""
    if isinstance(error, list):
        return _of_list(error, depth)
    if not isinstance(error, dict):
        return {"message": str(cleaned(error))} if error and error is not True else {}
    own = _kept(error)
    for name in ("error", "errors", *(() if own.get("message") else _wrappers(error))):
        if error.get(name) and depth < _MAX_DEPTH:
            inner = members_of(error[name], depth + 1)
            if isinstance(error[name], str) and own.get("message"):  # a kind, beside a sentence
                inner = {"message": _both(error[name], str(own["message"]))}
            if name in ("error", "errors"):
                return {**own, **inner}
            if inner.get("message"):
                return {**inner, **own}
    return own


def _wrappers(error: dict[str, Any]) -> list[str]:
    """Return the members that may contain the error. Amazon Bedrock names one after the exception."""
    return [*_WRAPPERS, *[name for name in error if name.endswith(_EXCEPTION)]]


def _both(kind: str, sentence: str) -> str:
    """Return both texts, unless the sentence already contains the kind."""
    return sentence if kind in sentence else f"{kind}: {sentence}"


def _of_list(errors: list[Any], depth: int) -> dict[str, Any]:
    """Read a list of errors: Gemini's list of one error, or FastAPI's list of errors in fields."""
    if depth >= _MAX_DEPTH:
        return {}
    found = [members_of(error, depth + 1) for error in errors[:10]]
    messages = [str(error["message"]) for error in found if error.get("message")]
    return {**found[0], "message": "; ".join(messages)} if messages else {}


def _kept(error: dict[str, Any]) -> dict[str, Any]:
    kept = {name: cleaned(error[name]) for name in KEPT if error.get(name) is not None}
    message = _message(error)
    if message:
        kept["message"] = message
    return kept


def _message(error: dict[str, Any]) -> str:
    """Return the text for people: the message, its place within the request, and the underlying reason."""
    message = next((text for name in _MESSAGES if (text := _sentence(error.get(name)))), "") or _other_message(error)
    place = ".".join([str(part) for part in error["loc"]]) if isinstance(error.get("loc"), list) else ""
    raw = _raw(object_of(error.get("metadata")).get("raw"))
    parts = [f"{place}: {message}" if place and message else message, raw if raw not in message else ""]
    return str(cleaned(": ".join([part for part in parts if part])))


def _other_message(error: dict[str, Any]) -> str:
    """Return the text under a name that is rare, in any spelling."""
    named = {name.replace("_", "").replace("-", "").lower(): value for name, value in error.items()}
    return next((text for name in _RARE_MESSAGES if (text := _sentence(named.get(name)))), "")


def _sentence(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) or (isinstance(value, dict) and value):
        return str(members_of(value, 1).get("message") or written(value)[:SHORT_CHARS])
    return ""


def _raw(raw: object) -> str:
    """Return the message in OpenRouter's `metadata.raw`: the provider's own error, as text or JSON."""
    if isinstance(raw, dict):
        return str(members_of(raw).get("message", ""))
    return str(told_in(raw.encode(errors="replace")).get("message", "")) if isinstance(raw, str) and raw else ""


def failure_of(piece: Piece) -> dict[str, Any] | None:
    """Return the error in a piece of an answer with status 200, or None if the piece is not an error."""
    value = piece.value
    if value.get("error"):
        return members_of(value)
    if "base_resp" in value and _has_bad_code(object_of(value["base_resp"])):  # MiniMax's errors
        return members_of(value["base_resp"])
    choices = value.get("choices")
    if isinstance(choices, list):
        return _of_choices(choices)
    if piece.event == "error" or _is_named_error(value) or _is_flat_error(value):
        return {"message": short(written(value)), **members_of(value)} if value else {}
    return None


def doubt_of(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the error that an object without choices may be, or None.

    It may also be a note about a tool or a cache, so it is an error only if the answer does not complete.
    """
    failed = value.get("success") is False or value.get("ok") is False or str(value.get("status")).lower() in _FAILED
    if failed and not value.get("usage") and (_OF_A_PART.isdisjoint(value) or _says(value)):
        return {"message": short(written(value)), **members_of(value)}
    return None


def is_certain_around(value: dict[str, Any]) -> bool:
    """Return whether an object is an error, whatever it has beside the error."""
    if value.get("error") or _has_bad_code(object_of(value.get("base_resp"))) or _is_named_error(value):
        return True
    return _says(value) and status_of(value) is not None


def _is_named_error(value: dict[str, Any]) -> bool:
    return value.get("object") == "error" or str(value.get("type")) in _FAILED_TYPES


def _of_choices(choices: list[Any]) -> dict[str, Any] | None:
    """Return the error in the choices, where OpenRouter reports errors of providers, or None."""
    for choice in choices:
        if not isinstance(choice, dict):
            continue
        if choice.get("error"):
            return members_of(choice["error"])
        reason = reason_of(choice)
        if reason and reason.lower() in _BROKEN_OFF:
            said = text_of(object_of(choice.get("delta")).get("content")) if reason == "error" else ""
            told = f"Choice {place_of(choice)} of the answer broke off with the finish reason {reason!r}."
            return {"message": said or told}
    return None


def _has_bad_code(value: dict[str, Any]) -> bool:
    """Return whether it has a code of the upstream's own that stands for an error."""
    return any(name in value and str(value[name]).strip().lower() not in _GOOD_CODES for name in _CODES)


def _is_flat_error(value: dict[str, Any]) -> bool:
    """Return whether it is an error without a member `error`, as vLLM, FastAPI and others send.

    A note about progress is not an error.
    """
    if value.get("usage") or value.get("object") in ("chat.completion", "chat.completion.chunk"):
        return False
    if value.get("detail") or value.get("errors") or _has_exception(value):
        return True
    says = _says(value)
    if says and ("error" in str(value.get("type", "")).lower() or len(value) == 1):
        return True
    return says and (status_of(value) is not None or _has_bad_code(value))


def _says(value: dict[str, Any]) -> bool:
    """Return whether it has a sentence for people."""
    return any(_sentence(value.get(name)) for name in _MESSAGES)


def _has_exception(value: dict[str, Any]) -> bool:
    """Return whether a member has the name of an exception, as in Bedrock's errors."""
    return any(name.endswith(_EXCEPTION) and isinstance(value[name], dict) for name in value)


def status_of(told: dict[str, Any]) -> int | None:
    """Return the HTTP status that an error names, or None."""
    for name in ("status", "status_code", "code"):
        number = told.get(name)
        number = int(number) if isinstance(number, str) and number.isdecimal() and len(number) == 3 else number
        if isinstance(number, int) and _LEAST_STATUS <= number <= _LAST_STATUS:
            return number
    return None


def is_final(told: dict[str, Any]) -> bool:
    """Return whether a retry can't help, whatever the status is: the account has no money left."""
    names = [re.sub(r"[^a-z]", "", str(told.get(name)).lower()) for name in ("code", "type")]
    return any(map(_FINAL.search, names))


def failed(code: str, detail: str, told: dict[str, Any] | None = None) -> BelfryError:
    """Return the error for a failure under status 200. It is not retried, because it is paid for."""
    kept = told or {}
    error = BelfryError(code, str(kept.get("message") or detail), upstream=kept, retry=False)
    status = status_of(kept)
    if status and status != 401:  # a 401 would say that the client's own credential is wrong
        error.status = status
    return error


def openai_error(error: BelfryError) -> dict[str, Any]:
    """Return the error as OpenAI's clients expect it."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    told = {"message": error.detail, "type": kind, "param": error.extra.get("param"), "code": error.code}
    return {"error": {**told, **cleaned(error.extra.get("upstream", {}))}}


def in_stream(error: BelfryError) -> dict[str, Any]:
    """Return an error in the middle of a stream, with the status and the retry advice.

    They can no longer be in the head of the answer.
    """
    told = openai_error(error)
    advice = {name.replace("-", "_"): value for name, value in error.headers.items() if name.startswith("retry-after")}
    told["error"] = {**told["error"], "status": error.status, **advice}
    return told
