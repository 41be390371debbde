"""Publishing: one message into the logs of all its recipients, or many at once, in as few round trips as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app import metrics
from app.core.message import Message
from app.store.log import Appended, LogStore, Status
from app.store.recipients import Recipients


@dataclass(frozen=True, slots=True)
class Published:
    """What became of one message: an outcome per recipient's log, in the order of `message.logs`."""

    message: Message
    outcomes: tuple[Appended, ...]

    @property
    def duplicate(self) -> bool:
        """Whether everyone had it already: nothing was sent now."""
        return all(outcome.status is Status.DUPLICATE for outcome in self.outcomes)

    @property
    def reused(self) -> bool:
        """Whether somebody has another message under this id."""
        return any(outcome.status is Status.REUSED for outcome in self.outcomes)


class Publishes(Protocol):
    """What publishes messages, see `Publisher`."""

    def publish(self, messages: Sequence[Message]) -> list[Published]: ...


class Publisher:
    """Appends messages."""

    def __init__(self, store: LogStore, recipients: Recipients) -> None:
        self._store = store
        self._recipients = recipients

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        """Append every message to each of its logs; durable when this returns.

        Raises `BelfryError` `store_unavailable`: then any of them may have been appended, and publishing them again
        under the same ids completes what is missing and repeats nothing.
        """
        appends = [(name, message) for message in messages for name in message.logs]
        outcomes = iter(self._store.append(appends, list(self._recipients.remember(messages))))
        published = [Published(message, tuple([next(outcomes) for _ in message.logs])) for message in messages]
        metrics.TALLY.messages += sum(not each.duplicate for each in published)
        return published
