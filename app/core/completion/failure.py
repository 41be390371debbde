"""Translates errors of upstreams to OpenAI's shape: `message`, `type`, `param`, `code`, and the upstream's reason."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ..errors import BelfryError
from .json_text import cleaned, written
from .pieces import Piece
from .tolerant import object_of, place_of, text_of

SHORT_CHARS: Final = 500  # of a text that is no JSON
LOOKED_AT_CHARS: Final = 65_536  # of such a text, to find what to tell
KEPT: Final = ("message", "type", "param", "code", "status", "innererror", "metadata", "details")
_MESSAGES: Final = (
    "message",
    "msg",
    "detail",
    "error_msg",
    "error_message",
    "errorMessage",
    "error_description",
    "title",
)
# An upstream's text is a stranger's too: each of these expressions takes time in proportion to the text's length.
_TITLE: Final = re.compile(r"<(?:title|h1)\b[^<>]{0,200}>", re.IGNORECASE)
_TITLE_END: Final = re.compile(r"</(?:title|h1)\b", re.IGNORECASE)
_CODE: Final = re.compile(r"<(?:style|script)\b", re.IGNORECASE)
_CODE_END: Final = re.compile(r"</(?:style|script)\b", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
_LEAST_STATUS, _LAST_STATUS = 400, 599
_MAX_DEPTH: Final = 5  # of errors within errors
_QUOTA: Final = "insufficient_quota"


def short(text: str) -> str:
    """The beginning of a text on one line; of HTML, its title."""
    text = text[:LOOKED_AT_CHARS]
    if "<" in text:
        text = _TAG.sub(" ", _title(text) or _without_code(text))
    return " ".join(text.split())[:SHORT_CHARS]


def _title(html: str) -> str:
    start = _TITLE.search(html)
    end = _TITLE_END.search(html, start.end()) if start else None
    return html[start.end() : end.start()] if start and end else ""


def _without_code(html: str) -> str:
    """`html` without its styles and scripts."""
    kept, at = [], 0
    while (start := _CODE.search(html, at)) and (end := _CODE_END.search(html, start.end())):
        kept.append(html[at : start.start()])
        at = end.start()
    return " ".join([*kept, html[at:]])


def told_in(body: bytes) -> dict[str, Any]:
    """What the body of a refusal says, as members of OpenAI's error object; empty where it says nothing."""
    text = body.decode("utf-8-sig", errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"message": short(text)} if text.strip() else {}
    return members_of(value)


def members_of(error: object, depth: int = 0) -> dict[str, Any]:
    """The members of OpenAI's error object, found in what some upstream calls an error."""
    if isinstance(error, list):
        return _of_list(error, depth)
    if not isinstance(error, dict):
        return {"message": str(cleaned(error))} if error else {}
    for name in ("error", "errors"):
        if error.get(name) and depth < _MAX_DEPTH:
            inner = members_of(error[name], depth + 1)
            return {**_kept(error), **inner} if inner else _kept(error)
    return _kept(error)


def _of_list(errors: list[Any], depth: int) -> dict[str, Any]:
    """Gemini's list of one error; FastAPI's list of what is wrong with which field."""
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
    """What a person reads: the message, where the error came from within the request, and the reason behind it."""
    message = next((text for name in _MESSAGES if (text := _sentence(error.get(name)))), "")
    place = ".".join([str(part) for part in error["loc"]]) if isinstance(error.get("loc"), list) else ""
    raw = _raw(object_of(error.get("metadata")).get("raw"))
    parts = [f"{place}: {message}" if place and message else message, raw if raw not in message else ""]
    return str(cleaned(": ".join([part for part in parts if part])))


def _sentence(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) or (isinstance(value, dict) and value):
        return str(members_of(value, 1).get("message") or written(value)[:SHORT_CHARS])
    return ""


def _raw(raw: object) -> str:
    """OpenRouter's `metadata.raw`: what the provider behind it said, as text or JSON."""
    if isinstance(raw, dict):
        return str(members_of(raw).get("message", ""))
    return str(told_in(raw.encode(errors="replace")).get("message", "")) if isinstance(raw, str) and raw else ""


def failure_of(piece: Piece) -> dict[str, Any] | None:
    """What a piece of an answer under status 200 says went wrong; None where it is no error."""
    value = piece.value
    if value.get("error"):
        return members_of(value)
    choices = value.get("choices")
    if isinstance(choices, list):
        return _of_choices(choices)
    if piece.event == "error" or "error" in (value.get("object"), value.get("type")):
        return members_of(value)
    return members_of(value) if _is_flat_error(value) else None


def _of_choices(choices: list[Any]) -> dict[str, Any] | None:
    """OpenRouter tells errors of providers in the choice."""
    for choice in choices:
        if not isinstance(choice, dict):
            continue
        if choice.get("error"):
            return members_of(choice["error"])
        if choice.get("finish_reason") == "error":
            said = text_of(object_of(choice.get("delta")).get("content"))
            return {"message": said or f"Choice {place_of(choice)} of the answer ended with an error."}
    return None


def _is_flat_error(value: dict[str, Any]) -> bool:
    """vLLM's, FastAPI's and other errors without a member `error`. A note about progress is none."""
    if value.get("usage") or value.get("object") in ("chat.completion", "chat.completion.chunk"):
        return False
    if value.get("detail") or value.get("errors"):
        return True
    says = any(_sentence(value.get(name)) for name in _MESSAGES)
    return says and (status_of(value) is not None or len(value) == 1 or "error" in str(value.get("type", "")).lower())


def status_of(told: dict[str, Any]) -> int | None:
    """The HTTP status that an error names, if it names one."""
    for name in ("status", "status_code", "code"):
        number = told.get(name)
        number = int(number) if isinstance(number, str) and number.isdecimal() and len(number) == 3 else number
        if isinstance(number, int) and _LEAST_STATUS <= number <= _LAST_STATUS:
            return number
    return None


def is_final(told: dict[str, Any]) -> bool:
    """Whether no repetition helps, however the status looks: the account has no money left."""
    return _QUOTA in (told.get("code"), told.get("type"))


def failed(code: str, detail: str, told: dict[str, Any] | None = None) -> BelfryError:
    """A failure under status 200: it is paid for, so it is not asked for again."""
    kept = told or {}
    error = BelfryError(code, str(kept.get("message") or detail), upstream=kept, retry=False)
    status = status_of(kept)
    if status and status != 401:  # the client's own credential is in order
        error.status = status
    return error


def openai_error(error: BelfryError) -> dict[str, Any]:
    """The error as OpenAI's clients expect it."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    told = {"message": error.detail, "type": kind, "param": error.extra.get("param"), "code": error.code}
    return {"error": {**told, **cleaned(error.extra.get("upstream", {}))}}


def in_stream(error: BelfryError) -> dict[str, Any]:
    """An error in mid-stream, with the status and the advice that can't stand in the head any more."""
    told = openai_error(error)
    advice = {name.replace("-", "_"): value for name, value in error.headers.items() if name.startswith("retry-after")}
    told["error"] = {**told["error"], "status": error.status, **advice}
    return told
