"""One completion asked of an upstream, from the first try to the last byte, by a greenlet of its own.

Who refuses is asked again where that helps. Whatever was answered with status 200 is read once, and never asked for
again. What to do with the pieces is for those who derive from this.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import random
import time
from typing import Any

import gevent
import requests
import urllib3

from ...core.completion import Answer, Body, CompletionRequest, Piece
from ...core.completion.patience import Patience
from ...core.errors import BelfryError
from .caller import Caller, wait_of

READ_BYTES = 65_536
BACKOFF_SECONDS = 0.25  # before the first repetition; doubles with each
LONGEST_BACKOFF_SECONDS = 10.0  # what an upstream asks for beyond it is the client's to wait for
CLOSE_SECONDS = 1.0  # that an upstream gets to end its answer after [DONE], so that the connection can be used again
BROKEN = (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException)

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

log = logging.getLogger("belfry.upstream")


class _OverdueError(Exception):
    """Thrown into the greenlet that reads when the upstream's time is over."""


class Call:
    """Asks and reads. `is_streamed`: the upstream is asked for a stream."""

    is_streamed = True

    def __init__(self, caller: Caller, request: CompletionRequest) -> None:
        self._caller = caller
        self._request = request
        self._patience = self._new_patience()
        self._failure: BelfryError | None = None
        self._opened_once = False
        self._timer: Any = None
        self._looks_at = 0.0
        self.headers: dict[str, str] = {}  # of the upstream's answer, for the client
        self.ended = False
        self.answer = self._new_answer()
        self._greenlet = gevent.spawn(self._run)

    # For those who derive from this

    def _opened(self) -> None:
        """The upstream agreed to answer."""

    def _put(self, piece: Piece) -> None:
        """One piece as the upstream sent it."""
        raise NotImplementedError

    def _finish(self, noise: str, *, was_cut: bool) -> None:
        """The body has ended. Raises `BelfryError` unless the answer is whole."""
        raise NotImplementedError

    def _ended(self) -> None:
        """It is over, well or not."""

    # For those who own it

    def close(self) -> None:
        """Close the connection to the upstream at once, unless its answer was read to the end."""
        if not self.ended:
            self._greenlet.kill(block=False)
            self._end()

    def abandon(self, error: BelfryError) -> None:
        """End it now by an error of our own, which is raised behind what came."""
        if not self.ended:
            self._failure = error
            self.close()

    @property
    def tokens(self) -> int:
        """What counts against a limit of what came so far; nothing where the upstream did not begin to answer."""
        return self.answer.tokens if self._opened_once or self.answer.started else 0

    def _new_answer(self) -> Answer:
        request = self._request
        return Answer(choices=request.choices, wants_usage=request.wants_usage, prompt_tokens=request.prompt_tokens)

    def _new_patience(self) -> Patience:
        return Patience(self._caller.limits, time.monotonic(), whole=not self.is_streamed)

    # The time

    def _watch(self) -> None:
        """Look at the deadline when it comes: a token before it moved it."""
        self._unwatch()
        self._looks_at = self._patience.deadline
        seconds = max(0.0, self._looks_at - time.monotonic())
        self._timer = gevent.get_hub().loop.timer(seconds + 0.001)
        self._timer.start(self._look)

    def _hasten(self) -> None:
        """Look earlier, where the deadline is earlier now."""
        if self._patience.deadline < self._looks_at:
            self._watch()

    def _look(self) -> None:
        if self.ended:
            return
        if time.monotonic() < self._patience.deadline:
            self._watch()
        else:
            self._greenlet.kill(_OverdueError, block=False)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    # The greenlet

    def _run(self) -> None:
        try:
            self._watch()
            self._try()
        except BelfryError as error:
            self._fail(error)
        except _OverdueError:
            self._fail(BelfryError("upstream_timeout", self._patience.complaint(time.monotonic())))
        except Exception:
            log.exception("reading from an upstream failed")
            self._failure = BelfryError("internal_error")
        finally:
            self._end()

    def _fail(self, error: BelfryError) -> None:
        self._failure = self._caller.masked(error)
        if self._opened_once or error.code == "upstream_timeout":
            name, code, detail = self._caller.upstream.name, error.code, self._failure.detail
            log.warning("upstream %s: %s (%d): %s", name, code, error.status, detail)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._unwatch()
            self._ended()

    def _try(self) -> None:
        tries = self._tries()
        for attempt in range(tries):
            try:
                reply = self._caller.complete(self._request, stream=self.is_streamed)
            except BelfryError as error:
                delay = _delay(error, attempt)
                if delay is None or attempt + 1 == tries:
                    if attempt and "retry-after" not in error.headers:
                        error.headers["x-should-retry"] = "false"  # enough was tried for the client too
                    raise
                log.info("upstream %s is tried again in %.1f s", self._caller.upstream.name, delay)
                gevent.sleep(delay)
            else:
                with reply:
                    self._read(reply)
                return

    def _tries(self) -> int:
        """A client that repeats by itself, as OpenAI's say, is not helped further."""
        repeats = self._request.headers.get("x-stainless-retry-count", "0") != "0"
        return 1 if repeats else self._caller.retries + 1

    def _read(self, reply: requests.Response) -> None:
        content_type = reply.headers.get("Content-Type", "")
        self.headers = self._caller.passed_back(reply)
        self._opened_once = True
        is_stream = "event-stream" in content_type or (self.is_streamed and "json" not in content_type)
        self._patience.opened(time.monotonic(), is_stream=is_stream)
        self._hasten()
        self._opened()
        body = Body(content_type, self._caller.settings.max_answer_bytes)
        was_cut = False
        try:
            self._take_all(reply, body)
        except BROKEN:
            was_cut = True
        except _OverdueError:
            if not self.answer.may_end:
                raise
        self._finish(body.noise, was_cut=was_cut)
        self._end()
        if self.answer.ended and not was_cut:
            _drain(reply)

    def _take_all(self, reply: requests.Response, body: Body) -> None:
        """Read to the end, which the upstream may tell before its connection does."""
        # read1() answers with what is there; requests' own iterators wait for a full chunk.
        while received := reply.raw.read1(READ_BYTES, decode_content=True):
            now = time.monotonic()
            self._patience.heard(now)
            for piece in body.feed(received):
                self._take(piece, now)
                if self.answer.ended:
                    return
        for piece in body.end():
            self._take(piece, time.monotonic())

    def _take(self, piece: Piece, now: float) -> None:
        is_first = not self.answer.started
        self._put(piece)
        if self.answer.may_end:
            self._patience.finished()
            self._hasten()
        elif piece.is_chunk:
            self._patience.said(now)
            if is_first:  # from here on it may pause for less long
                self._hasten()


def _drain(reply: requests.Response) -> None:
    """Read what follows [DONE], which is nothing: a connection that was read to the end is used again."""
    with gevent.Timeout(CLOSE_SECONDS, _QUIETLY), contextlib.suppress(*BROKEN):
        while reply.raw.read1(READ_BYTES, decode_content=True):
            pass


def _delay(error: BelfryError, attempt: int) -> float | None:
    """Seconds until it is worth another try; None: it is not."""
    if not error.extra.get("retry", error.code == "upstream_unreachable"):
        return None
    asked = wait_of(error)
    if asked is not None:
        return asked if asked <= LONGEST_BACKOFF_SECONDS else None
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - spreads, hides nothing
    return BACKOFF_SECONDS * float(2**attempt) * spread
