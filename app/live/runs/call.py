"""One request to an upstream, from the first try to the last byte, in a greenlet of its own.

A refused request is repeated if that can help. An answer with status 200 is read once, and the request is not repeated.
Subclasses decide what to do with the answer.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

import gevent
import requests
import urllib3

from ...core.completion.answer_deadline import AnswerDeadline
from ...core.errors import BelfryError
from .body_bytes import READ_BYTES
from .upstream_client import UpstreamClient, wait_of

BACKOFF_SECONDS = 0.25  # before the first repetition; doubles with each
LONGEST_BACKOFF_SECONDS = 10.0  # what an upstream asks for beyond it is the client's to wait for
CLOSE_SECONDS = 1.0  # that an upstream gets to end its answer after [DONE], so that the connection can be used again
BROKEN = (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException)

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

logger = logging.getLogger("belfry.upstream")


class UpstreamTimeoutError(Exception):
    """Thrown into the greenlet that reads when the upstream's time is over."""


class Call:
    """Asks an upstream on behalf of a client that sent `headers`, and reads; `whole`: an answer in one piece.

    It starts when its maker first waits.
    """

    def __init__(self, client: UpstreamClient, headers: Mapping[str, str], *, whole: bool) -> None:
        self._client = client
        self._repeats = headers.get("x-stainless-retry-count", "0") != "0"
        self._patience = AnswerDeadline(client.limits, time.monotonic(), whole=whole)
        self._failure: BelfryError | None = None
        self._opened_once = False
        self._timer: Any = None
        self._looks_at = 0.0
        self.headers: dict[str, str] = {}  # of the upstream's answer, for the client
        self.ended = False
        self._greenlet = gevent.spawn(self._run)

    # For those who derive from this

    def _ask(self) -> requests.Response:
        """The upstream's answer, not yet read. Raises `BelfryError` where it refuses."""
        raise NotImplementedError

    def _opened(self) -> None:
        """The upstream agreed to answer."""

    def _read_body(self, reply: requests.Response) -> None:
        """Read it to the end. Raises `BelfryError` unless it is whole."""
        raise NotImplementedError

    def _ended(self) -> None:
        """The call has ended, with or without an error."""

    @property
    def tokens(self) -> int:
        """The tokens so far, as they count against a limit. 0 if the upstream did not begin to answer."""
        raise NotImplementedError

    # For those who own it

    def close(self) -> None:
        """Close the connection to the upstream at once, unless its answer was read to the end."""
        if not self.ended:
            self._greenlet.kill(block=False)
            self._end()

    def abandon(self, error: BelfryError) -> None:
        """End the call with an error of our own, which is raised after the received chunks."""
        if not self.ended:
            self._failure = error
            self.close()

    # The time

    def _watch(self) -> None:
        """Check the deadline when its time comes, since a token may have moved it."""
        self._unwatch()
        self._looks_at = self._patience.deadline
        seconds = max(0.0, self._looks_at - time.monotonic())
        self._timer = gevent.get_hub().loop.timer(seconds + 0.001)
        self._timer.start(self._look)

    def _hasten(self) -> None:
        """Check earlier if the deadline became earlier."""
        if self._patience.deadline < self._looks_at:
            self._watch()

    def _look(self) -> None:
        if self.ended:
            return
        if time.monotonic() < self._patience.deadline:
            self._watch()
        else:
            self._greenlet.kill(UpstreamTimeoutError, block=False)

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
        except UpstreamTimeoutError:
            self._fail(BelfryError("upstream_timeout", self._patience.timeout_text(time.monotonic())))
        except Exception:
            logger.exception("reading from an upstream failed")
            self._failure = BelfryError("internal_error")
        finally:
            self._end()

    def _fail(self, error: BelfryError) -> None:
        self._failure = self._client.masked(error)
        if self._opened_once or error.code == "upstream_timeout":
            name, code, detail = self._client.upstream.name, error.code, self._failure.detail
            logger.warning("upstream %s: %s (%d): %s", name, code, error.status, detail)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._unwatch()
            self._ended()

    def _try(self) -> None:
        tries = self._tries()
        for attempt in range(tries):
            try:
                reply = self._ask()
            except BelfryError as error:
                delay = _delay(error, attempt)
                if delay is None or attempt + 1 == tries:
                    if attempt and (attempt + 1 == tries or "retry-after" not in error.headers):
                        error.headers["x-should-retry"] = "false"  # enough was tried for the client too
                    raise
                logger.info("upstream %s is tried again in %.1f s", self._client.upstream.name, delay)
                gevent.sleep(delay)
            else:
                with reply:
                    self._read(reply)
                return

    def _tries(self) -> int:
        """How often to try. A client that says it repeats requests itself, as OpenAI's do, gets one try."""
        return 1 if self._repeats else self._client.retries + 1

    def _read(self, reply: requests.Response) -> None:
        content_type = reply.headers.get("Content-Type", "")
        self.headers = self._passed_back(reply)
        self._opened_once = True
        self._patience.opened(time.monotonic(), is_stream=self._is_stream(content_type))
        self._hasten()
        self._opened()
        self._read_body(reply)

    def _passed_back(self, reply: requests.Response) -> dict[str, str]:
        """The headers of the answer that the client gets."""
        return self._client.passed_back(reply)

    def _is_stream(self, content_type: str) -> bool:
        """Whether the body comes token by token."""
        return "event-stream" in content_type


def drain(reply: requests.Response) -> None:
    """Read to the end of the body after [DONE], because only then the connection can be used again."""
    with gevent.Timeout(CLOSE_SECONDS, _QUIETLY), contextlib.suppress(*BROKEN):
        while reply.raw.read1(READ_BYTES, decode_content=False):
            pass


def _delay(error: BelfryError, attempt: int) -> float | None:
    """Seconds until another try makes sense; None if none does."""
    if not error.extra.get("retry", error.code == "upstream_unreachable"):
        return None
    asked = wait_of(error)
    if asked is not None:
        return asked if asked <= LONGEST_BACKOFF_SECONDS else None
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - spreads, hides nothing
    return BACKOFF_SECONDS * float(2**attempt) * spread
