"""A regular: a connection over which one request comes again and again, with another body each time.

From the third time on it is neither parsed nor taken through the WSGI application: `KnownHead` tells that it is the
same, and the `Repeat` that came with its answer does what is to be done. Imported in gunicorn's master, before anything
is patched: it opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.errors import BelfryError
from .head import KnownHead
from .in_time import InTime
from .parking import Answered, Repeat

MISSES_MAX = 8  # heads in a row that were new: one with an id for each request is never the same again


class Regular:
    """What is known of such a connection.

    `offered` repeats the request that gunicorn parsed last. `came` is all that came in of the one being answered.
    """

    __slots__ = ("_known", "_misses", "_sent", "came", "offered")

    def __init__(self) -> None:
        self.offered: Repeat | None = None
        self.came = b""
        self._known: tuple[KnownHead, Repeat] | None = None  # they belong together: a head says who may do it
        self._sent = b""
        self._misses = 0

    def next_parsed(self) -> bytes:
        """What the next request that gunicorn parses was parsed from, where that was read here. Asked once for each."""
        sent, self._sent = self._sent, b""
        return sent

    def learn(self, sent: bytes, fields: Sequence[tuple[str, str]]) -> None:
        """Know the request again that was answered now: parsed from `sent`, which made `fields` of its head."""
        repeat, self.offered = self.offered, None
        head = KnownHead.of(sent, fields) if sent and self._misses < MISSES_MAX else None
        if head is not None and repeat is not None:
            self._known = head, repeat

    def answer(self, sent: bytes, receive: Callable[[int], bytes]) -> Answered | None:
        """The answer to what came in, `sent` or more of it; None where gunicorn has to parse that (`came`)."""
        self.came = sent
        if self._known is not None:
            head, repeat = self._known
            span = head.body(sent)
            if span is not None:
                self._misses = 0
                return self._repeated(repeat, *span, receive)
        self._sent = sent
        self._misses += 1
        return None

    def _repeated(self, repeat: Repeat, begin: int, end: int, receive: Callable[[int], bytes]) -> Answered | None:
        if end - begin > repeat.max_bytes:
            return None
        try:
            if len(self.came) < end:
                with InTime(repeat.seconds):
                    self._read_on(end, receive)
        except BelfryError as failure:
            self.came = b""
            return repeat.failed(failure)
        if len(self.came) != end:
            return None
        answered = repeat.answer(self.came[begin:])
        if answered is not None:
            self.came = b""  # else each idle connection would hold its last message
        return answered

    def _read_on(self, end: int, receive: Callable[[int], bytes]) -> None:
        """Most clients send a body after its head: it comes a moment later. Short where they hang up."""
        while len(self.came) < end and (more := receive(end - len(self.came))):
            self.came += more
