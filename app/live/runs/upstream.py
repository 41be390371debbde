"""One completion asked of an upstream: a greenlet reads the answer into a bounded buffer, someone else takes it out.

So a slow store or client delays no read beyond the buffer, and whoever takes can wait for a while only, to send a
heartbeat. Failures before the first token are retried; a stream that ends too soon is reported as such.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import gevent
import requests
import urllib3
from gevent.event import Event
from requests.adapters import HTTPAdapter

from app.core.completion import DONE, Answer, CompletionRequest, error_members, tokens_of
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstream
from app.core.wire.sse import Decoder

READ_BYTES = 65_536
BUFFER_BYTES = 262_144
IDLE_CONNECTIONS = 1_000  # kept to each upstream; one more is closed after its answer
BACKOFF_SECONDS = 0.25  # before the first repetition; doubles with each
LONGEST_BACKOFF_SECONDS = 10.0  # a `Retry-After` beyond it is the client's to wait for
ERROR_BODY_BYTES = 65_536
MARGIN_SECONDS = 1.0  # who waits for the tokens gives up first, and knows for which; this is for a whole answer
CLOSE_SECONDS = 1.0  # that an upstream gets to end its answer after [DONE], so that the connection can be used again
# Whose credentials are wrong, and what of theirs failed, is not the client's business.
_OUR_FAULT = {401, 403, 407}
_RETRIED = {408, 409, 425, 429}

# gevent's way to leave a `with` block without an error when its time is over (its stubs don't know it).
_QUIETLY: Any = False

log = logging.getLogger("belfry.upstream")


def open_session() -> requests.Session:
    """The connections to upstreams, kept open between requests. One per worker."""
    session = requests.Session()
    session.trust_env = False  # ~/.netrc would take the key's place
    # An upstream's cookies would go from one user's request to another's.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_maxsize=IDLE_CONNECTIONS)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class Exchange:
    """One request and its streamed answer. Raises in `take` what went wrong, as `BelfryError`.

    Who doesn't wait in `take` is called by `notify` whenever there is something to take, or the end has come.
    """

    def __init__(
        self,
        session: requests.Session,
        upstream: Upstream,
        request: CompletionRequest,
        settings: Settings,
        notify: Callable[[], None] | None = None,
    ) -> None:
        self._session = session
        self._upstream = upstream
        self._request = request
        self._settings = settings
        self._notify = notify
        self._chunks: list[str] = []
        self._size = 0
        self._opened = Event()
        self._filled = Event()
        self._room = Event()
        self._failure: BelfryError | None = None
        self._deadline = time.monotonic() + settings.upstream_first_token_seconds
        self.answer = Answer()
        self.started = False
        self.ended = False
        self._greenlet = gevent.spawn(self._run)

    def wait_opened(self, seconds: float) -> None:
        """Wait until the upstream has agreed to answer, or won't; at most `seconds`."""
        self._opened.wait(seconds)

    def take(self, seconds: float) -> list[str]:
        """The chunks that came, waiting at most `seconds` for the first; none at the end, or when nothing came."""
        if not self._chunks and not self.ended:
            self._filled.wait(max(0.0, min(seconds, self.seconds_left)))
            self.check()
        chunks = self.take_now()
        if not chunks and self._failure is not None:
            raise self._failure
        return chunks

    def take_now(self) -> list[str]:
        """The chunks that wait to be taken, if any."""
        self._filled.clear()
        chunks, self._chunks, self._size = self._chunks, [], 0
        self._room.set()
        if chunks:  # counted from here, since a slow taker is not the upstream's fault
            self._deadline = time.monotonic() + self._settings.upstream_idle_seconds
        return chunks

    @property
    def seconds_left(self) -> float:
        """Until the next token must have come."""
        return self._deadline - time.monotonic()

    def check(self) -> None:
        """Give up on an upstream that let the time pass. Raises `BelfryError` `upstream_timeout`."""
        if self.seconds_left <= 0 and not self._chunks and not self.ended:
            self.close()
            what = "token" if self.started else "first token"
            raise BelfryError("upstream_timeout", f"The upstream sent no {what} in time.")

    @property
    def over(self) -> bool:
        """Whether the answer came to its end, and all of it was taken."""
        return self.ended and not self._chunks and self._failure is None

    def close(self) -> None:
        """Close the connection to the upstream at once, unless its answer was read to the end."""
        if not self.ended:
            self._greenlet.kill(block=False)
            self._end()

    def abandon(self, error: BelfryError) -> None:
        """End it now by an error of our own, which `take` raises behind what came."""
        if not self.ended:
            self._failure = error
            self.close()

    @property
    def tokens(self) -> int:
        """What counts against a limit of what came so far."""
        return self.answer.tokens

    def _run(self) -> None:
        try:
            self._try_until_started()
        except BelfryError as error:
            self._failure = error
        except Exception:
            log.exception("reading from an upstream failed")
            self._failure = BelfryError("internal_error")
        finally:
            self._end()

    def _try_until_started(self) -> None:
        for attempt in range(self._settings.upstream_retries + 1):
            try:
                self._attempt()
            except BelfryError as error:
                delay = _delay(error, attempt)
                if self.started or delay is None or attempt == self._settings.upstream_retries:
                    raise
                log.info("the upstream is tried again in %.1f s: %s", delay, error.detail)
                gevent.sleep(delay)
            else:
                return

    def _attempt(self) -> None:
        """Ask once, and read the answer to its end."""
        try:
            with post(self._session, self._upstream, self._request, self._settings, stream=True) as reply:
                self._opened.set()
                for data in _events(reply):
                    if data == DONE:
                        self._end()
                        _drain(reply)
                        return
                    self._put(data)
        except (urllib3.exceptions.HTTPError, OSError):
            if not self.answer.finished:
                raise BelfryError("upstream_truncated", "The connection to the upstream broke in mid-answer.") from None
        if not self.answer.finished:
            raise BelfryError("upstream_truncated")

    def _put(self, data: str) -> None:
        chunk = self.answer.take(self._upstream.masked(data), wants_usage=self._request.wants_usage)
        self.started = True
        if chunk is None:
            return
        while self._size >= BUFFER_BYTES:
            self._room.clear()
            self._room.wait()
        self._chunks.append(chunk)
        self._size += len(chunk)
        self._fill()

    def _end(self) -> None:
        self.ended = True
        self._opened.set()
        self._fill()

    def _fill(self) -> None:
        self._filled.set()
        if self._notify is not None:
            self._notify()


def post(
    session: requests.Session, upstream: Upstream, request: CompletionRequest, settings: Settings, *, stream: bool
) -> requests.Response:
    """Ask an upstream; its answer, not yet read, if it is a success.

    Raises `BelfryError` `upstream_unreachable`, `upstream_timeout`, or what the upstream's refusal comes to.
    """
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **upstream.credentials}
    wait = max(settings.upstream_first_token_seconds, settings.upstream_idle_seconds) + MARGIN_SECONDS
    try:
        reply = session.post(
            upstream.completions_url,
            data=request.body(stream=stream),
            headers=headers,
            timeout=(settings.upstream_connect_seconds, wait),
            stream=True,
            allow_redirects=False,
        )
    except requests.ReadTimeout:
        raise BelfryError("upstream_timeout", "The upstream did not answer in time.") from None
    except requests.RequestException as error:
        log.warning("an upstream can't be reached: %s", upstream.masked(str(error)))
        raise BelfryError("upstream_unreachable") from None
    if reply.status_code != requests.codes.ok:
        with reply:
            raise _refusal(upstream, reply)
    return reply


class WholeAnswer:
    """One request and its answer in one piece, which someone waits for."""

    def __init__(
        self, session: requests.Session, upstream: Upstream, request: CompletionRequest, settings: Settings
    ) -> None:
        self._ask = partial(_complete_once, session, upstream, request, settings)
        self._attempts = settings.upstream_retries + 1
        self._over = Event()
        self._text = b""
        self._failure: Exception | None = None
        self.tokens = 0
        self._greenlet = gevent.spawn(self._run)

    def wait(self) -> bytes:
        """The answer as it came. Raises `BelfryError`."""
        self._over.wait()
        if self._failure is not None:
            raise self._failure
        return self._text

    def abandon(self, error: BelfryError) -> None:
        """Close the connection to the upstream, and have `wait` raise this."""
        if not self._over.is_set():
            self._greenlet.kill(block=False)
            self._failure = error
            self._over.set()

    def _run(self) -> None:
        try:
            self._try()
        except Exception as error:  # noqa: BLE001 - raised again by `wait`
            self._failure = error
        finally:
            self._over.set()

    def _try(self, attempt: int = 0) -> None:
        try:
            self._text, usage = self._ask()
        except BelfryError as error:
            delay = _delay(error, attempt)
            if delay is None or attempt + 1 == self._attempts:
                raise
        else:
            self.tokens = tokens_of(usage)
            return
        gevent.sleep(delay)
        self._try(attempt + 1)


def _complete_once(
    session: requests.Session, upstream: Upstream, request: CompletionRequest, settings: Settings
) -> tuple[bytes, dict[str, Any] | None]:
    try:
        with post(session, upstream, request, settings, stream=False) as reply:
            text = reply.raw.read(settings.max_answer_bytes + 1)
    except (urllib3.exceptions.HTTPError, OSError):
        raise BelfryError("upstream_truncated") from None
    if len(text) > settings.max_answer_bytes:
        raise BelfryError("answer_too_large")
    try:
        return upstream.masked(text.decode()).encode(), json.loads(text).get("usage")
    except (ValueError, AttributeError):
        raise BelfryError("upstream_malformed", "The upstream's answer is not a JSON object.") from None


def _events(reply: requests.Response) -> Iterator[str]:
    """The data of each block. read1() answers with what is there; requests' own iterators wait for a full chunk."""
    decoder = Decoder()
    while received := reply.raw.read1(READ_BYTES):
        for event in decoder.feed(received):
            yield event.data
    for event in decoder.feed(b"\n\n"):  # some end without the last blank line
        yield event.data


def _drain(reply: requests.Response) -> None:
    """Read what follows [DONE], which is nothing: a connection that was read to the end is used again."""
    with (
        gevent.Timeout(CLOSE_SECONDS, _QUIETLY),
        contextlib.suppress(urllib3.exceptions.HTTPError, OSError),
    ):
        while reply.raw.read1(READ_BYTES):
            pass


def _delay(error: BelfryError, attempt: int) -> float | None:
    """Seconds until it is worth another try; None: it is not."""
    if not error.extra.get("retry", error.code in {"upstream_unreachable", "upstream_truncated"}):
        return None
    asked = error.headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked) if int(asked) <= LONGEST_BACKOFF_SECONDS else None
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - spreads, hides nothing
    return BACKOFF_SECONDS * float(2**attempt) * spread


def _refusal(upstream: Upstream, reply: requests.Response) -> BelfryError:
    """What a client gets to hear of an upstream's refusal: what it did wrong itself, and nothing of our own affairs."""
    status = reply.status_code
    told = _told(upstream, reply)
    retry = status in _RETRIED or status >= requests.codes.internal_server_error
    if status in _OUR_FAULT or not 400 <= status < 500:
        log.warning("an upstream answered %d: %s", status, told.get("message", ""))
        detail = f"The upstream answered with status {status}."
        return BelfryError("upstream_failed", detail, headers=_retry_after(reply), retry=retry)
    code = "upstream_rate_limited" if status == requests.codes.too_many_requests else "upstream_refused"
    error = BelfryError(code, told.get("message") or "", headers=_retry_after(reply), retry=retry, upstream=told)
    error.status = status  # a client of OpenAI's API tells refusals apart by it
    return error


def _told(upstream: Upstream, reply: requests.Response) -> dict[str, Any]:
    """The members of OpenAI's error object, as far as there are any."""
    try:
        text = reply.raw.read(ERROR_BODY_BYTES).decode(errors="replace")
        error = json.loads(upstream.masked(text))["error"]
        return error_members(error)
    except (ValueError, KeyError, TypeError, AttributeError, urllib3.exceptions.HTTPError, OSError):
        return {}


def _retry_after(reply: requests.Response) -> dict[str, str]:
    after = reply.headers.get("Retry-After", "")
    return {"Retry-After": after} if after.isdecimal() else {}
