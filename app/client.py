"""Belfry from the outside, over HTTP: publish a message, read a feed, follow a stream that reconnects by itself.

Used by the command line. Knows nothing of the server's own parts but the wire format and the names of its events.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import requests
import urllib3

from .core.completion import DONE
from .core.wire.sse import Decoder, Event

CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 60.0  # a stream says something every 15 seconds by default; after this long it is dead
CHUNK_BYTES: Final = 65_536
RETRY_SECONDS: Final = 2.0  # until the server tells another delay
BACKOFF_FIRST_SECONDS: Final = 1.0
BACKOFF_MOST_SECONDS: Final = 30.0
COMPLETION_TRIES: Final = 10  # to reach a server again before an answer is given up: about two minutes
FINAL_REASONS: Final = frozenset({"replaced", "revoked"})  # goodbyes after which coming back would be wrong


class ClientError(Exception):
    """The server refused, or did not answer. The text is one line for a person; `code` is the server's error code."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class UnavailableError(ClientError):
    """No answer, or one that says: later. `retry_after` is in seconds."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def backoff(attempt: int) -> float:
    """Seconds to wait after the given number of failures: full jitter, so that clients don't all come back at once."""
    most = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(attempt, 16))
    return random.uniform(0, most)  # noqa: S311 - spreads, hides nothing


@dataclass(frozen=True, slots=True)
class Client:
    """A server's address, and `mint`, which makes a fresh token for each request: a stream outlives any one of them."""

    url: str
    mint: Callable[[], str]
    sleep: Callable[[float], None] = time.sleep

    def publish(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send one message; the server's answer. Raises `ClientError`."""
        answer: dict[str, Any] = self._send("POST", "/publish", json=message).json()
        return answer

    def feed(self, limit: int, topics: str = "", **filters: str) -> dict[str, Any]:
        """Return a page of the feed, newest first, with the `cursor` to go on from.

        `filters` are further parameters of `GET /feed`; an empty one is left out. Raises `ClientError`.
        """
        answer: dict[str, Any] = self._send("GET", "/feed", params=_given(limit=limit, topics=topics, **filters)).json()
        return answer

    def mark(self, mark: str, ids: Sequence[str]) -> None:
        """Set a mark, `read` or `archived`, on up to 1,000 messages of the feed. Raises `ClientError`."""
        self._send("POST", {"read": "/feed/read", "archived": "/feed/archive"}[mark], json={"ids": list(ids)})

    def revoke(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Withdraw a `user`, a `token` or a `token_id`; what that meant. Raises `ClientError`."""
        answer: dict[str, Any] = self._send("POST", "/admin/revocations", json=names).json()
        return answer

    def sessions(self, user: str) -> list[dict[str, str]]:
        """The sessions of `user`: `name` and `expires_at`. Raises `ClientError`."""
        found: list[dict[str, str]] = self._send("GET", "/admin/sessions", params={"user": user}).json()["sessions"]
        return found

    def users(self, prefix: str, limit: int) -> dict[str, Any]:
        """Return `users` (`user`, `online`, `seen`) whose ids begin with `prefix`, and how many are `known`.

        Raises `ClientError`.
        """
        answer: dict[str, Any] = self._send("GET", "/users", params=_given(prefix=prefix, limit=limit)).json()
        return answer

    def trace(self, user: str, message_id: str) -> dict[str, Any]:
        """Return what happened to a message on its way to a user. Raises `ClientError`."""
        named = {"id": user, "message": message_id}  # in the query, because `.` and `..` do not survive in a path
        answer: dict[str, Any] = self._send("GET", "/users/~/messages/~", params=named).json()
        return answer

    def presence(self) -> dict[str, Any]:
        """Return every connected user with `connections`, `since` and `list`. Raises `ClientError`."""
        users: dict[str, Any] = self._send("GET", "/presence").json()["users"]
        return users

    def disconnect(self, user: str, connection: str = "") -> None:
        """End one connection of the user, or all of them. Raises `ClientError`."""
        self._send("DELETE", "/presence", params=_given(id=user, connection=connection))

    def figures(self) -> dict[str, Any]:
        """Return the last hour as `points`, oldest first, one every `seconds`. Raises `ClientError`."""
        answer: dict[str, Any] = self._send("GET", "/admin/figures").json()
        return answer

    def follow(self, cursor: str = "", topics: str = "") -> Iterator[Event]:
        """Every event after `cursor`, over as many connections as it takes, each message once.

        Ends when the server says that coming back would be wrong. Raises `ClientError` when it refuses, and
        `UnavailableError` only if it could not be reached in the first place.
        """
        connected, failures, delay = False, 0, RETRY_SECONDS
        while True:
            try:
                for event in self._events(cursor, topics):
                    connected, failures = True, 0
                    cursor = event.id or cursor
                    delay = delay if event.retry is None else event.retry / 1_000
                    yield event
                    if event.event == "goodbye":
                        if _reason(event) in FINAL_REASONS:
                            return
                        break
                self.sleep(delay)
            except UnavailableError as error:
                if not connected:
                    raise
                self.sleep(max(error.retry_after, backoff(failures)))
                failures += 1

    def complete(self, prompt: str, model: str) -> Iterator[Event]:
        """Ask for a completion; every event of the run until its end, over as many connections as it takes.

        Raises `ClientError` when the server refuses.
        """
        # The id is ours, so that asking again after a cut starts nothing new.
        body = {"id": secrets.token_hex(16), "model": model, "messages": [{"role": "user", "content": prompt}]}
        stream: str = self._send("POST", "/completions", json=body).json()["stream"]
        cursor, failures, delay = "", 0, RETRY_SECONDS
        while True:
            try:
                for event in self._heard(stream, _given(last_event_id=cursor)):
                    failures = 0
                    cursor = event.id or cursor
                    delay = delay if event.retry is None else event.retry / 1_000
                    if event.data == DONE:
                        return
                    yield event
                self.sleep(delay)
            except UnavailableError as error:
                if failures >= COMPLETION_TRIES:
                    raise
                self.sleep(max(error.retry_after, backoff(failures)))
                failures += 1

    def _events(self, cursor: str, topics: str) -> Iterator[Event]:
        return self._read("/stream", _given(last_event_id=cursor, topics=topics))

    def _heard(self, path: str, params: dict[str, str | int]) -> Iterator[Event]:
        """As `_read`. Raises `UnavailableError` after no event at all: so a proxy answers for a server that is away."""
        event = None
        for event in self._read(path, params):
            yield event
        if event is None:
            raise UnavailableError(f"{self.url} ended the stream without an event")

    def _read(self, path: str, params: dict[str, str | int]) -> Iterator[Event]:
        """The events of one connection, until it ends for whatever reason."""
        decoder = Decoder()
        with self._send("GET", path, params=params, stream=True) as answer:
            try:
                # read1() answers with what is there; requests' own iterators wait until a chunk is full.
                while chunk := answer.raw.read1(CHUNK_BYTES):
                    yield from decoder.feed(chunk)
            except (urllib3.exceptions.HTTPError, OSError):
                return  # cut, or silent for too long: the caller comes back with its cursor

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        timeout = (CONNECT_SECONDS, SILENCE_SECONDS)
        try:
            answer = requests.request(method, self.url + path, auth=self._authorize, timeout=timeout, **options)
        except requests.RequestException:
            raise UnavailableError(f"no answer from {self.url}: is the server running there?") from None
        if answer.status_code >= requests.codes.bad_request:
            raise _refusal(answer)
        return answer

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # This is `auth` and not a header, because requests lets an entry of ~/.netrc replace a header.
        request.headers["Authorization"] = f"Bearer {self.mint()}"
        request.headers["Accept-Encoding"] = "identity"
        return request


def _given(**params: str | int) -> dict[str, str | int]:
    return {name: value for name, value in params.items() if value}


def _reason(event: Event) -> str:
    return str(json.loads(event.data).get("reason"))


def _refusal(answer: requests.Response) -> ClientError:
    try:
        problem = answer.json()
        code = str(problem["code"])
        text = f"refused with {answer.status_code} {code}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        code, text = "", f"refused with {answer.status_code} {answer.reason}"
    if answer.status_code in {requests.codes.too_many_requests, requests.codes.service_unavailable}:
        after = answer.headers.get("Retry-After", "")
        return UnavailableError(text, float(after) if after.isdecimal() else 0.0)
    return ClientError(text, code)
