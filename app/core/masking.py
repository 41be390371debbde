"""What may stand in a log: no credential, and no character that could begin a line of its own."""

from __future__ import annotations

import re

MASK = "[masked]"

_SECRETS = (
    re.compile(r"()\beyJ[\w-]+\.[\w-]*\.?[\w-]*"),  # a JWT, also one that was cut off
    re.compile(r"(\bBearer\s+)[^\s\"',;]+", re.IGNORECASE),
    re.compile(r"((?:__Host-)?belfry_session=)[^\s\"',;]+"),
    re.compile(r"((?:Set-)?Cookie['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+", re.IGNORECASE),
    re.compile(r"((?:password|secret|ticket|token)['\"]?\s*[:=]\s*['\"]?)[^\s\"'&,;]+", re.IGNORECASE),
    re.compile(
        r"([?&][^\s=&\"'#]+=)[^\s&\"'#]+"
    ),  # every value of a query: ids, cursors and searches are nobody's business
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def mask(text: str) -> str:
    """`text` without tokens, tickets, cookies, passwords and values of queries."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text


def one_line(text: str) -> str:
    r"""`text` with line ends, terminal escapes and bidi controls spelled out (`\x1b`)."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def log_line(text: str) -> str:
    """`text` as it may be logged on one line."""
    return one_line(mask(text))


def log_block(text: str) -> str:
    """A traceback: its lines stay, each marked so that none can be taken for a record."""
    return "\n".join([f"  | {log_line(line)}" for line in text.split("\n")])
