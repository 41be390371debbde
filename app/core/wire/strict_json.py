"""Reads JSON of clients by RFC 8259, and refuses JSON that two readers could understand differently.

The refusals name the reason: a compressed body, a byte order mark, half of a surrogate pair, a repeated member.
"""

from __future__ import annotations

import re
from typing import Any, Final

import jiter

from ..errors import BelfryError

DEPTH_MAX: Final = 200  # the parser's own limit; Python's JSON writer allows more
LINES_MAX: Final = 1_000  # lines in which a refusal looks for the place: a long text of short lines would take seconds
TOLD_MAX: Final = 160  # characters of the parser's reason, which may repeat a member's name

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"x\x9c": "deflate",
    b"x\x01": "deflate",
    b"x^": "deflate",
    b"x\xda": "deflate",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
}
# The beginning of a body in another form → the form's name.
_FORMS = {
    re.compile(rb"--[^\r\n]+\r?\nContent-Disposition:", re.IGNORECASE): "multipart/form-data",
    re.compile(rb"[\w.%+*\[\]-]+=[^\s{]*\s*\Z", re.ASCII): "a form (name=value)",
    re.compile(rb"\s*<[!?a-zA-Z]"): "HTML or XML",
    re.compile(rb"\x1e"): "a JSON text sequence (RFC 7464)",
    re.compile(rb"(?:data|event|id): ?"): "a stream of events",
    re.compile(rb"[\x00-\x08\x0e-\x1f\x80-\xc1]"): "bytes that are no text",
}
# What other languages write and JSON does not know, at the place where the parser stopped → what to write instead.
_FOREIGN = (
    (re.compile(rb"NaN|[+-]?Infinity|-?inf\b|nan\b"), "a number that JSON does not have: send null or a string"),
    (re.compile(rb"None\b|undefined\b|nil\b"), "a word that JSON does not have: write null"),
    (re.compile(rb"True\b|TRUE\b"), "a word that JSON does not have: write true"),
    (re.compile(rb"False\b|FALSE\b"), "a word that JSON does not have: write false"),
    (re.compile(rb"'"), "a single quote: write strings and names in double quotes"),
    (re.compile(rb"/[/*]"), "a comment, which JSON does not have"),
    (re.compile(rb"[A-Za-z_$][\w$]*\s*:"), "a name without quotes: write it in double quotes"),
)
_PLACE = re.compile(r"line (\d+) column (\d+)\Z")
_UTF8_MARK = b"\xef\xbb\xbf"
# UTF-32 comes first, because its mark begins with that of UTF-16.
_MARKS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# Where the first four bytes are zero. JSON begins with two ASCII characters (RFC 4627, section 3).
_ZEROS = {(0, 1, 2): "UTF-32", (1, 2, 3): "UTF-32", (0, 2): "UTF-16", (1, 3): "UTF-16"}
# The escapes of a text. A surrogate pair counts as one.
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u([dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def read(text: bytes, *, lone_surrogate: str = "malformed_json") -> Any:
    """Return the value of `text`.

    Raises `BelfryError` `malformed_json`, `unsupported_media_type` for a compressed body, and `lone_surrogate` as the
    code for half of a surrogate pair.
    """
    try:
        return jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise _refusal(text, str(error), lone_surrogate) from None


def _refusal(text: bytes, reason: str, lone_surrogate: str) -> BelfryError:
    for magic, coding in _MAGIC.items():
        if text.startswith(magic):
            return BelfryError("unsupported_media_type", f"Expected plain JSON, got a body compressed by {coding}.")
    if text.startswith(_UTF8_MARK):
        return _malformed("Expected UTF-8 without a byte order mark, got one: leave out the first three bytes")
    encoding = _other_encoding(text)
    if encoding:
        return _malformed(f"Expected UTF-8, got {encoding}: encode the text as UTF-8")
    if not text.strip():
        return _malformed("Expected one JSON object, got an empty body")
    half = next((found[1] for found in _ESCAPES.finditer(text) if found[1]), None)
    if half is not None:
        told = f"Expected Unicode text, got the lone surrogate U+{half.decode().upper()}: send both halves of the pair."
        return BelfryError(lone_surrogate, told)
    return _malformed(_other_form(text) or _explained(reason) + _foreign(text, reason))


def _other_form(text: bytes) -> str:
    """Return the refusal of a body that is no JSON at all; empty if there is no sign of another form."""
    form = next((name for beginning, name in _FORMS.items() if beginning.match(text)), "")
    return form and f"Expected JSON, got {form}"


def _foreign(text: bytes, reason: str) -> str:
    """Return what another language wrote at the place that the parser names; empty if nothing is known there."""
    place = _PLACE.search(reason)
    line, column = (int(place[1]), int(place[2])) if place else (0, 0)
    if not 0 < line <= LINES_MAX:
        return ""
    start = sum(len(each) + 1 for each in text.split(b"\n", line)[: line - 1]) + max(column - 1, 0)
    # The parser stops at the first character that does not fit, which may be the one after a sign or a slash.
    for at in (start, max(start - 1, 0)):
        told = next((told for written, told in _FOREIGN if written.match(text, at)), "")
        if told:
            return f", got {told}"
    return ""


def _other_encoding(text: bytes) -> str:
    """Return the encoding of Unicode that `text` has instead of UTF-8; empty if there is no sign of one."""
    for mark, encoding in _MARKS.items():
        if text.startswith(mark):
            return encoding
    zeros = tuple([at for at, byte in enumerate(text[:4]) if not byte])
    return _ZEROS.get(zeros, "")


def _explained(reason: str) -> str:
    if "recursion limit" in reason:
        return f"Expected at most {DEPTH_MAX} lists and objects inside each other, got more"
    if "unicode code point" in reason:
        return f"Expected UTF-8, got other bytes: {reason}"
    if "duplicate key" in reason:
        return f"Expected each member of an object once: {_cut(reason)}"
    if reason.startswith("EOF"):
        return f"Expected one JSON object, got its beginning; a line of NDJSON is a whole object: {_cut(reason)}"
    if reason.startswith("trailing characters"):
        told = "got something after it; `POST /publish` takes several as application/x-ndjson, one on each line"
        return f"Expected one JSON object, {told}: {reason}"
    return f"Expected one JSON object: {_cut(reason)}"


def _malformed(told: str) -> BelfryError:
    return BelfryError("malformed_json", f"{told}.")


def _cut(reason: str) -> str:
    """Return the parser's text. The middle of a long one is cut out, because its end shows the place."""
    return reason if len(reason) <= TOLD_MAX else f"{reason[: TOLD_MAX // 2]}…{reason[-TOLD_MAX // 2 :]}"
