"""What both clients have in common and what does no I/O: bodies, batches, and what an answer means."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from . import answers
from .answers import Result
from .errors import BelfryError, RefusedError
from .retries import LATER

NDJSON: Final = "application/x-ndjson"
LINES: Final = 1_000  # of one batch; Belfry takes 100,000 by default
BATCH_BYTES: Final = 4_194_304  # Belfry takes 16 MiB by default
USERS: Final = 500  # of one question about presence, so that the address stays short enough
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 60.0  # a stream has a heartbeat every 15 seconds by default
RETRY_SECONDS: Final = 2.0

Token = str | Callable[[], str]
Message = Mapping[str, Any]


def bearer(token: Token) -> str:
    return f"Bearer {token if isinstance(token, str) else token()}"


def with_id(message: Message) -> dict[str, Any]:
    """The message with an id, so that it can be sent again. Raises `ValueError` for an id that is no text."""
    given = message.get("id")
    if given is not None and not isinstance(given, str):
        raise ValueError(f"id: expected text, got {given!r}. Use the id of your event, such as 'order-17-shipped'.")
    return {**message, "id": given or secrets.token_hex(12)}


def path_of(message_id: str) -> str:
    return f"/messages/~?id={quote(message_id, safe='')}"


def batches(messages: Iterable[Message]) -> Iterator[list[tuple[str, bytes]]]:
    """Ids and lines, as many at once as fit into one request."""
    batch: list[tuple[str, bytes]] = []
    size = 0
    for message in messages:
        named = with_id(message)
        line = json.dumps(named, ensure_ascii=False).encode() + b"\n"
        if batch and (len(batch) >= LINES or size + len(line) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((named["id"], line))
        size += len(line)
    if batch:
        yield batch


def groups(users: Iterable[str]) -> Iterator[Sequence[str]]:
    names = list(dict.fromkeys(users))
    return (names[at : at + USERS] for at in range(0, len(names), USERS))


def results(text: str, batch: Sequence[tuple[str, bytes]]) -> list[Result]:
    """One result per line. Raises `BelfryError` if the answer was cut."""
    told = [json.loads(line) for line in text.split("\n") if line]
    if len(told) != len(batch):
        raise BelfryError(f"expected {len(batch)} results, got {len(told)}")
    return [answers.result(each, message_id) for each, (message_id, _) in zip(told, batch, strict=True)]


class Undelivered:
    """A batch on its way: which results are final, and which lines go out again."""

    def __init__(self, batch: Sequence[tuple[str, bytes]]) -> None:
        self._results: list[Result | None] = [None] * len(batch)
        self._batch = batch
        self._open = list(range(len(batch)))

    @property
    def batch(self) -> list[tuple[str, bytes]]:
        """What has no final result yet."""
        return [self._batch[at] for at in self._open]

    def take(self, found: Sequence[Result]) -> bool:
        """Note the results of `batch`. Whether some lines may succeed later."""
        for at, each in zip(self._open, found, strict=True):
            self._results[at] = each
        self._open = [at for at, each in zip(self._open, found, strict=True) if each.status in LATER]
        return bool(self._open)

    @property
    def results(self) -> list[Result]:
        return [each for each in self._results if each is not None]


def refusal(status: int, text: str) -> RefusedError:
    try:
        problem = json.loads(text)
    except ValueError:
        problem = None
    known: Mapping[str, Any] = problem if isinstance(problem, dict) else {"detail": text[:200]}
    return RefusedError(status, known.get("error", known) if "code" not in known else known)
