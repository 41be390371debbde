"""What Belfry answers, as objects. Members that this version does not know are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one recipient got. `offset` is None for a message that is not kept."""

    to: str
    offset: int | None
    duplicate: bool
    online: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message is stored for all its recipients. `duplicate`: all of them had it before, so nothing was sent."""

    id: str
    deliveries: tuple[Delivery, ...]

    @property
    def duplicate(self) -> bool:
        return all(each.duplicate for each in self.deliveries)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one message of a batch. `code` and `detail` are empty if it was stored."""

    id: str
    status: int
    deliveries: tuple[Delivery, ...] = ()
    code: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.status in {200, 201}


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a user is connected, by how many connections, and since when (RFC 3339)."""

    online: bool
    connections: int
    since: str | None


def deliveries(told: Mapping[str, Any]) -> tuple[Delivery, ...]:
    return tuple(
        Delivery(each["to"], each["offset"], each["duplicate"], each["online"]) for each in told.get("deliveries", ())
    )


def receipt(told: Mapping[str, Any]) -> Receipt:
    return Receipt(told["id"], deliveries(told))


def result(told: Mapping[str, Any], message_id: str) -> Result:
    return Result(message_id, told["status"], deliveries(told), told.get("code", ""), told.get("detail", ""))


def presence(told: Mapping[str, Any]) -> dict[str, Presence]:
    users: Mapping[str, Any] = told["users"]
    return {user: Presence(each["online"], each["connections"], each["since"]) for user, each in users.items()}
