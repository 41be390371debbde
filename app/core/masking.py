"""Makes text safe for a log line: without credentials, without characters that could begin another line, and short.

Strangers choose a part of the logged text. So the text is cut before it is masked, and the time of each pattern grows
only in proportion to the text: no character is tried as the beginning of more than one long match.
"""

from __future__ import annotations

import re

MASK = "[masked]"
LINE_BYTES = 2_048  # of one record, and of one line of a traceback
BLOCK_LINES = 64  # of one traceback; Python itself shortens it if a function calls itself

_CUT = "… [cut]"
_SECRETS = (
    # A JWT, also one that was cut off. The match includes everything after `eyJ`, so no part of it is searched again.
    re.compile(r"()\beyJ[\w-]{5,}+(?:\.[\w-]*+){0,2}"),
    re.compile(r"(\bBearer\s++)[^\s\"',;]+", re.IGNORECASE),
    re.compile(r"((?:__Host-)?belfry_session(?:_[0-9]{1,5})?=)[^\s\"',;]+"),
    re.compile(r"((?:Set-)?Cookie['\"]?\s*+[:=]\s*+['\"]?)[^'\"\r\n]+", re.IGNORECASE),
    re.compile(r"((?:password|secret|ticket|token)['\"]?\s*+[:=]\s*+['\"]?)[^\s\"'&,;]+", re.IGNORECASE),
    # Every value of a query, because ids, cursors and searches are private. A name has no `?`, so names do not overlap.
    re.compile(r"([?&][^\s=&?\"'#]+=)[^\s&\"'#]+"),
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def mask(text: str) -> str:
    """Return `text` without tokens, tickets, cookies, passwords and values of queries."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text


def one_line(text: str) -> str:
    r"""Return `text` with line ends, terminal escapes and bidi controls as escapes (`\x1b`)."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def escaped(json_text: str) -> str:
    """Return the same JSON with unsafe characters escaped that its encoder does not escape."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


def cut(text: str, most_bytes: int) -> str:
    """Return `text` if it has at most `most_bytes` of UTF-8, otherwise its beginning and a mark."""
    if len(text) * 4 <= most_bytes:  # a character has at most four bytes
        return text
    sent = text[:most_bytes].encode(errors="backslashreplace")
    if len(text) <= most_bytes and len(sent) <= most_bytes:
        return text
    return sent[: most_bytes - len(_CUT.encode())].decode(errors="ignore") + _CUT


def log_line(text: str, most_bytes: int = LINE_BYTES) -> str:
    """Return `text` in a safe form for one log line of at most `most_bytes`.

    The text is cut first, so that a long text costs no more than a short one. It is cut again at the end, because a
    mask or an escape may be longer than what it replaces.
    """
    return cut(one_line(mask(cut(text, most_bytes))), most_bytes)


def log_block(text: str, most_bytes: int = LINE_BYTES, most_lines: int = BLOCK_LINES) -> str:
    """Return a traceback with its lines, each marked so that it can't be confused with a record.

    The middle of a long one is left out. The beginning shows where it started, and the end shows what failed.
    """
    lines = text.split("\n")
    if len(lines) > most_lines:
        left_out = len(lines) - most_lines
        half = most_lines // 2
        lines = [*lines[:half], f"… [{left_out} lines left out]", *lines[half - most_lines :]]
    return "\n".join([f"  | {log_line(line, most_bytes)}" for line in lines])
