"""The audit log: who signed in, and which actions people took in the admin pages. A Redis Stream of limited length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

from ...core.settings import Settings
from ...transport.connection import Command, Commands
from ..keys import Keys

REFUSALS_READ = 1_000  # at most, for one listing
# Refused sign-ins take up to a quarter of a listing, and more if there is room.
REFUSED_SHARE = 4

_Place: TypeAlias = tuple[int, int]  # an entry's id in its stream: milliseconds, and a number within the millisecond


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of a person.

    `time` is RFC 3339. `action` is `sign_in`, `sign_in_refused`, `publish`, `retract`, `disconnect`, `revoke` or
    `forget`. `target` is the log of a message, or the user or thing that the action was applied to. `message_id` is
    empty if the action concerns no message. `count` is how often it happened, and `time` is then the time of the last
    occurrence.
    """

    time: str
    user: str
    action: str
    target: str = ""
    message_id: str = ""
    address: str = ""
    count: int = 1


class Audit:
    """Appends and reads entries. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        keys = Keys(settings.redis_prefix, settings.redis_db)
        self._done, self._refused = keys.audit, keys.refused_sign_ins
        self._length = settings.audit_length

    def append(self, entries: Sequence[AuditEntry]) -> None:
        """Append `entries` to the log of actions. Takes one round trip."""
        self._commands.run([self._kept(self._done, entry) for entry in entries])

    def refuse(self, entry: AuditEntry) -> None:
        """Append the entry of a refused sign-in."""
        self._commands.run([self._kept(self._refused, entry)])

    def newest(self, limit: int) -> list[AuditEntry]:
        """Return up to `limit` entries, newest first."""
        done, refused = map(
            _read,
            self._commands.run(
                [
                    ("XREVRANGE", self._done, "+", "-", "COUNT", limit),
                    ("XREVRANGE", self._refused, "+", "-", "COUNT", REFUSALS_READ),
                ]
            ),
        )
        told = _counted(refused)[: max(limit - len(done), limit // REFUSED_SHARE)]
        found = sorted([*done[: limit - len(told)], *told], key=_moment, reverse=True)
        return [entry for _, entry in found]

    def _kept(self, key: str, entry: AuditEntry) -> Command:
        fields = asdict(entry)
        del fields["count"]  # each entry of a stream stands for one occurrence
        return ("XADD", key, "MAXLEN", "~", self._length, "*", "entry", json.dumps(fields))


def _read(found: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[tuple[_Place, AuditEntry]]:
    return [(_place(name), AuditEntry(**json.loads(fields[b"entry"]))) for name, fields in found]


def _moment(placed: tuple[_Place, AuditEntry]) -> tuple[str, _Place]:
    place, entry = placed
    return entry.time, place  # entries of two streams may have the same id


def _place(name: bytes) -> _Place:
    milliseconds, _, number = name.partition(b"-")
    return int(milliseconds), int(number)


def _counted(refused: Iterable[tuple[_Place, AuditEntry]]) -> list[tuple[_Place, AuditEntry]]:
    """Return one entry for each name and address, newest first.

    Each has the fields of the newest entry, and a count.
    """
    found: dict[tuple[str, str], tuple[_Place, AuditEntry]] = {}
    for place, entry in refused:
        of = entry.user, entry.address
        first, newest = found.get(of, (place, replace(entry, count=0)))
        found[of] = first, replace(newest, count=newest.count + 1)
    return list(found.values())
