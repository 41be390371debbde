"""The head of a request that was parsed once: the same bytes need no second parse.

Who publishes over a connection that stays open sends one head again and again, but for the digits of its length. Known
is only what gunicorn's parser has accepted on the very same connection; whatever differs by more than those digits goes
to that parser. So no head is ever read in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\nContent-Length: ?([0-9]{1,7})(?=\r\n)", re.IGNORECASE)
_DIGITS_MAX = 7
# With these a body has another end, or is not sent before it was asked for.
_OTHER_WAYS = frozenset({"TRANSFER-ENCODING", "EXPECT"})


class KnownHead:
    """One head, cut in two where the digits of its length are."""

    __slots__ = ("_after", "_before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after

    @classmethod
    def of(cls, sent: bytes, fields: Sequence[tuple[str, str]]) -> KnownHead | None:
        """The head that `sent` begins with, None where its body doesn't end by a length written the usual way.

        `fields` is what the parser made of it, names in capitals.
        """
        head = sent[: sent.find(_END) + len(_END)]
        found = list(_LENGTH.finditer(head))
        lengths = [value for name, value in fields if name == "CONTENT-LENGTH"]
        if len(found) != 1 or lengths != [found[0][1].decode()] or any(name in _OTHER_WAYS for name, _ in fields):
            return None
        return cls(head[: found[0].start(1)], head[found[0].end(1) :])

    def body(self, sent: bytes) -> tuple[int, int] | None:
        """Where the body of a request with this head begins and ends, None where `sent` doesn't begin with this head.

        The end may lie behind that of `sent`: the rest is still to come.
        """
        if not sent.startswith(self._before):
            return None
        at = len(self._before)
        end = sent.find(b"\r", at, at + _DIGITS_MAX + 1)
        digits = sent[at:end] if end > 0 else b""
        if not digits.isdigit() or not sent.startswith(self._after, end):
            return None
        begin = end + len(self._after)
        return begin, begin + int(digits)
