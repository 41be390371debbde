"""Publishing: one message into the logs of all its recipients, or many at once, in as few round trips as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from ...core.message import Message
from ...transport.connection import Command
from .log import Appended, LogStore, Status
from .recipients import Recipients

# The commands that store the pushes of messages; none if no message is to be pushed.
Pushing = Callable[[Sequence[Message]], Iterable[Command]]


class Published(NamedTuple):
    """The outcome of one message: one outcome for each recipient's log, in the order of `message.logs`."""

    message: Message
    outcomes: tuple[Appended, ...]

    @property
    def duplicate(self) -> bool:
        """Whether every recipient had the message already, so that nothing was sent now."""
        return not [outcome for outcome in self.outcomes if outcome.status is not Status.DUPLICATE]

    @property
    def reused(self) -> bool:
        """Whether a recipient has another message under this id."""
        return Status.REUSED in [outcome.status for outcome in self.outcomes]


# Waits for the outcomes of posted messages and returns them. Raises like `Publisher.publish`.
Posted = Callable[[], list[Published]]


class Publishes(Protocol):
    """Publishes messages, see `Publisher`."""

    def publish(self, messages: Sequence[Message]) -> list[Published]: ...
    def post(self, messages: Sequence[Message]) -> Posted: ...


class Publisher:
    """Publishes messages: appends them to the logs of their recipients."""

    def __init__(self, store: LogStore, recipients: Recipients, pushing: Pushing | None = None) -> None:
        """Make a publisher. Without `pushing`, no message is pushed."""
        self._store = store
        self._recipients = recipients
        self._pushing = pushing

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        """Append every message to each of its logs. The messages are durable when this returns.

        Raises `BelfryError` `store_unavailable`. Some messages may then have been appended. Publish them again under
        the same ids: this adds what is missing and repeats nothing.
        """
        return _published(messages, self._store.append(_appends(messages), self._before(messages)))

    def post(self, messages: Sequence[Message]) -> Posted:
        """Append the messages after all that were posted before, without waiting. Call the result to get the outcomes.

        If there are more than `ROUND_TRIP_COMMANDS` appends, no log may occur twice, see `LogStore.post`.
        """
        outcomes = self._store.post(_appends(messages), self._before(messages))
        return lambda: _published(messages, outcomes())

    def _before(self, messages: Sequence[Message]) -> list[Command]:
        commands = list(self._recipients.remember(messages))
        if self._pushing is not None:
            commands += self._pushing(messages)
        return commands


def _appends(messages: Sequence[Message]) -> list[tuple[str, Message]]:
    return [(name, message) for message in messages for name in message.logs]


def _published(messages: Sequence[Message], outcomes: Iterable[Appended]) -> list[Published]:
    rest = iter(outcomes)
    return [Published(message, tuple([next(rest) for _ in message.logs])) for message in messages]
