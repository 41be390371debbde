"""The actions of one check on the deployment, as users of its own, and the removal of everything that it created."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import requests

from .credentials import PREFIX, Credentials
from .deployment import Deployment
from .stream import Stream
from .verdict import (
    FailedError,
    SkippedError,
    expect_header,
    expect_problem,
    expect_status,
    json_object,
)

# Every message would leave by itself if the run were cut off before it takes it back.
TTL_SECONDS: Final = 900
LOOK_SECONDS: Final = 0.05
NDJSON: Final = "application/x-ndjson"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """`patience` in seconds bounds each wait for something that has to come at once, `silence` that for a heartbeat.

    `forget` has the users that the run made forgotten. `origin` is one whose pages the deployment allows, `model` one
    that may be asked; empty: these are not tried.
    """

    patience: float = 5.0
    silence: float = 20.0
    forget: bool = False
    origin: str = ""
    model: str = ""


class Probe:
    """Holds what a check opened and sent, until `close`."""

    def __init__(self, url: str, credentials: Credentials, options: Options) -> None:
        self.options = options
        self.credentials = credentials
        self.deployment = Deployment(url, options.patience)
        self.user = credentials.user()
        self.prefix = f"{PREFIX}-{secrets.token_hex(8)}."
        self._sent: set[str] = set()
        self._open = ExitStack()

    def close(self) -> int:
        """Hang up and retract everything; the number of messages that could not be."""
        self._open.close()
        left = sum(not self._is_gone(message_id) for message_id in sorted(self._sent))
        self.deployment.close()
        return left

    def token(self, scope: str) -> str:
        return self.credentials.token(self.user, scope)

    def ask(self, method: str, path: str, scope: str = "", **options: Any) -> requests.Response:
        """An answer to the check's user, with a token of this scope."""
        return self.deployment.ask(method, path, self.token(scope) if scope else "", **options)

    def get(self, path: str, scope: str, *, seconds: float = 0, **params: object) -> dict[str, Any]:
        """The JSON of an answer that has to be 200."""
        answer = self.ask("GET", path, scope, params=params, seconds=seconds)
        expect_status(answer, 200)
        return json_object(answer)

    # Publishing

    def message(self, number: int, **fields: Any) -> dict[str, Any]:
        """A message whose `data` tells it from the check's others."""
        return {
            "to": self.user,
            "id": f"{self.prefix}{number}",
            "title": "Conformance check",
            "data": number,
            "ttl": TTL_SECONDS,
            **fields,
        }

    def publish(self, message: Mapping[str, Any]) -> requests.Response:
        """Whatever the deployment says to it."""
        self._sent.add(message["id"])
        return self.ask("POST", "/publish", "publish", json=message)

    def send(self, number: int, **fields: Any) -> dict[str, Any]:
        """Publish a message that has to be taken; its only delivery."""
        answer = self.publish(self.message(number, **fields))
        expect_status(answer, 201)
        return delivery(json_object(answer))

    def send_each(self, numbers: Iterable[int]) -> None:
        """Publish one by one over a connection of its own, for a thread beside the check; what failed, it will miss."""
        deployment = Deployment(self.deployment.url, self.options.patience)
        for number in numbers:
            message = self.message(number)
            self._sent.add(message["id"])
            with suppress(requests.RequestException):
                deployment.ask("POST", "/publish", self.token("publish"), json=message)
        deployment.close()

    def send_all(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """Publish a batch that has to be taken; one result each."""
        return self.batch([json.dumps(self.message(number)) for number in numbers])

    def batch(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """The results of NDJSON, which have to be as many as there are lines."""
        for line in lines:
            self._note(line)
        body = "\n".join(lines).encode()
        answer = self.ask("POST", "/publish", "publish", data=body, headers={"Content-Type": NDJSON})
        expect_status(answer, 200)
        expect_header(answer.headers, "Content-Type", NDJSON)
        results = [json.loads(line) for line in answer.content.split(b"\n") if line]
        if len(results) != len(lines):
            raise FailedError(f"{len(lines)} results", len(results))
        return results

    # Reading

    def stream(self, cursor: str = "", *, token: str = "", seconds: float = 0, **options: Any) -> Stream:
        """A connection of the check's user, which ends with the check."""
        headers = {"Last-Event-ID": cursor} if cursor else {}
        headers |= options.pop("headers", {})
        return self.events("/stream", token or self.token("feed"), seconds=seconds, headers=headers, **options)

    def events(self, path: str, token: str, *, seconds: float = 0, **options: Any) -> Stream:
        """An event stream that has to begin at once."""
        method = options.pop("method", "GET")
        answer = self.deployment.ask(method, path, token, stream=True, seconds=seconds, **options)
        self._open.callback(answer.close)
        expect_status(answer, 200)
        expect_header(answer.headers, "Content-Type", "text/event-stream")
        return Stream(answer, self.prefix, self.options.patience)

    def close_later(self, answer: requests.Response) -> None:
        """Have the answer hung up on when the check ends."""
        self._open.callback(answer.close)

    def resume(self, cursor: str, numbers: Sequence[int], **options: Any) -> None:
        """Come back at `cursor`: the last of `numbers` has to follow, with those before it, and nothing else."""
        with self.stream(cursor, **options) as stream:
            stream.expect_numbers(numbers)

    def feed(self, **params: object) -> dict[str, Any]:
        """A page of the feed."""
        answer = self.ask("GET", "/feed", "feed", params=params)
        expect_status(answer, 200)
        return json_object(answer)

    def numbers_in(self, page: Mapping[str, Any]) -> list[int]:
        """The `data` of this check's messages on a page of the feed."""
        return [message["data"] for message in page["messages"] if message["id"].startswith(self.prefix)]

    def look_until(self, look: Callable[[], T], fits: Callable[[T], bool]) -> T:
        """What `look` finds, again and again until it fits or patience ends: workers tell each other a moment later."""
        deadline = time.monotonic() + self.options.patience
        while not fits(found := look()) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return found

    def expect_withdrawn(self, token: str = "", **options: Any) -> None:
        """Raises `FailedError` unless the credential opens nothing any more, or not after a moment."""
        answer = self.look_until(
            lambda: self.deployment.ask("GET", "/feed", token, **options), lambda answer: not answer.ok
        )
        code = json_object(answer).get("code")
        expect_problem(answer, 401, "token_invalid" if code == "token_invalid" else "token_revoked")

    def model(self) -> str:
        """Raises `SkippedError` unless one may be asked."""
        if not self.options.model:
            raise SkippedError("needs --model, a model that may be asked for a few words")
        return self.options.model

    def forget_sent(self) -> None:
        """What was sent is gone already, with the user."""
        self._sent.clear()

    def _note(self, line: str) -> None:
        try:
            self._sent.add(json.loads(line)["id"])
        except (ValueError, KeyError):
            return  # a line that is meant to be refused

    def _is_gone(self, message_id: str) -> bool:
        try:
            return self.ask("DELETE", f"/messages/{message_id}", "publish").status_code in {200, 404}
        except (SkippedError, requests.RequestException):
            return False


def delivery(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The only delivery of a receipt."""
    deliveries = receipt.get("deliveries")
    if not isinstance(deliveries, list) or len(deliveries) != 1:
        raise FailedError("one delivery", deliveries)
    found: dict[str, Any] = deliveries[0]
    return found
