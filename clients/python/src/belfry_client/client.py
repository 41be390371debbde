"""The client for blocking code, on `requests`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, Self

import requests

from . import answers, wire
from .answers import Presence, Receipt, Result
from .errors import BelfryError, UnavailableError
from .events import Decoder, Event
from .retries import LATER, Retries
from .wire import Message, Token

CHUNK_BYTES = 65_536


class Belfry:
    """A Belfry server, and who calls it.

    `token` is a token, or a function that makes one for each request. Connections are kept and used again. A process
    that was forked, such as a Celery worker, gets connections of its own. Raises `RefusedError` and `UnavailableError`.
    """

    def __init__(
        self, url: str, token: Token, *, retries: Retries | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._retries = retries or Retries()
        self._sleep = sleep
        self._session: requests.Session | None = None
        self._process = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def publish(self, message: Message) -> Receipt:
        """Send one message. Give it the `id` of your own event; without one, an id is made up for its retries."""
        return answers.receipt(self._ask("POST", "/publish", json=wire.with_id(message)).json())

    def publish_many(self, messages: Iterable[Message]) -> list[Result]:
        """Send many messages, with one result per message in their order. Look at `ok` of each.

        Messages that Belfry could not take now are sent again. Raises `UnavailableError` if nothing was answered.
        """
        return [result for batch in wire.batches(messages) for result in self._publish_batch(batch)]

    def retract(self, message_id: str) -> list[str]:
        """Take a message back everywhere; from whom. Raises `RefusedError` `not_found` if nobody has it."""
        retracted: list[str] = self._ask("DELETE", wire.path_of(message_id)).json()["retracted"]
        return retracted

    def status(self, message_id: str) -> dict[str, Any]:
        """What became of a message: `recipients`, `kept`, `read` and `deliveries`."""
        told: dict[str, Any] = self._ask("GET", wire.path_of(message_id)).json()
        return told

    def presence(self, users: Iterable[str]) -> dict[str, Presence]:
        """Which of `users` are connected now."""
        found: dict[str, Presence] = {}
        for group in wire.groups(users):
            found |= answers.presence(self._ask("GET", "/presence", params={"user": group}).json())
        return found

    def stream(self, last_event_id: str = "", *, topics: Iterable[str] = ()) -> Generator[Event]:
        """The events of the token's user, over as many connections as it takes, each message once.

        Keep the `id` of the last event to go on from there after a restart. The token needs the scope `feed`.
        Ends when the server asks the client to stay away. Raises `RefusedError`, and `UnavailableError` if the server
        cannot be reached so often that the retries are used up.
        """
        cursor, failures, delay = last_event_id, 0, wire.RETRY_SECONDS
        while True:
            try:
                for event in self._events(cursor, topics):
                    failures = 0
                    cursor = event.id or cursor
                    delay = delay if event.retry_ms is None else event.retry_ms / 1_000
                    yield event
                    if event.is_final:
                        return
                self._sleep(delay)
            except UnavailableError:
                failures += 1
                again = self._retries.delay(failures)
                if again is None:
                    raise
                self._sleep(max(again, delay))

    def _events(self, cursor: str, topics: Iterable[str]) -> Generator[Event]:
        """The events of one connection until its end, whatever ended it."""
        decoder = Decoder()
        headers = {"Last-Event-ID": cursor} if cursor else {}
        sent = {"headers": headers, "params": {"topic": list(topics)}}
        with self._send("GET", "/stream", stream=True, seconds=wire.SILENCE_SECONDS, **sent) as answer:
            if answer.status_code in LATER:
                raise UnavailableError(f"{self._url} answered {answer.status_code}")
            if answer.status_code != requests.codes.ok:
                raise wire.refusal(answer.status_code, answer.text)
            try:
                # `read1` returns what is there; the iterators of requests wait until a chunk is full.
                while received := answer.raw.read1(CHUNK_BYTES):
                    yield from decoder.feed(received)
            except (requests.RequestException, OSError):
                return

    def _publish_batch(self, batch: list[tuple[str, bytes]]) -> list[Result]:
        under_way = wire.Undelivered(batch)
        for failures in range(1, self._retries.tries + 1):
            lines = b"".join([line for _, line in under_way.batch])
            answer = self._ask("POST", "/publish", data=lines, headers={"Content-Type": wire.NDJSON})
            again = self._retries.delay(failures)
            if not under_way.take(wire.results(answer.text, under_way.batch)) or again is None:
                break
            self._sleep(again)
        return under_way.results

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """The answer of a request that may be repeated, and is where it makes sense."""
        failures = 0
        while True:
            try:
                answer = self._send(method, path, seconds=wire.ANSWER_SECONDS, **options)
                failure: BelfryError = wire.refusal(answer.status_code, answer.text)
                if answer.ok:
                    return answer
                if answer.status_code not in LATER:
                    raise failure
                after = answer.headers.get("Retry-After")
            except UnavailableError as error:
                failure, after = error, None
            failures += 1
            delay = self._retries.delay(failures, after)
            if delay is None:
                raise UnavailableError(f"gave up after {failures} tries: {failure}") from failure
            self._sleep(delay)

    def _send(self, method: str, path: str, *, seconds: float, **options: Any) -> requests.Response:
        timeout = (wire.CONNECT_SECONDS, seconds)
        try:
            return self._connections().request(
                method, self._url + path, auth=self._authorize, timeout=timeout, allow_redirects=False, **options
            )
        except requests.RequestException as error:
            raise UnavailableError(f"no answer from {self._url}: {error}") from error

    def _connections(self) -> requests.Session:
        if self._session is None or self._process != os.getpid():
            self._session, self._process = requests.Session(), os.getpid()
        return self._session

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As `auth`, because requests would otherwise prefer an entry of ~/.netrc.
        request.headers["Authorization"] = wire.bearer(self._token)
        request.headers["Accept-Encoding"] = "identity"
        return request
