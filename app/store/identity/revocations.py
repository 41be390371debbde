"""The withdrawals of a deployment: two Redis Streams that every worker reads on from where it stands.

Streams instead of a channel: a worker that was cut off for a while misses nothing. Sessions have a stream of their own,
since a logout only matters to streams that are open and to tickets not yet used: their record is gone anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.core.identity.revocation import Kind, Revocation
from app.core.settings import Settings
from app.store.keys import Keys
from app.transport.connection import Command, Commands, Reply

ENDED_KEPT_SECONDS = 3_600
KEPT_ENTRIES = 100_000  # of each stream; a worker's copy is as long at most
PAGE_ENTRIES = 1_000


class Place(NamedTuple):
    """How far a reader came in both streams."""

    revoked: str = "-"
    ended: str = "-"


class Revocations:
    """Appends withdrawals and reads them in order."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix)
        self.kept_seconds = {
            Kind.USER: settings.revocation_seconds,
            Kind.TOKEN: settings.revocation_seconds,
            Kind.SESSION: ENDED_KEPT_SECONDS,
        }

    def revoke(self, kind: Kind, name: str, now: float) -> None:
        """Withdraw a user or a token; every worker hears of it within its poll. Raises `store_unavailable`."""
        self._commands.run(_append(self._keys.revoked, kind, name, now, self.kept_seconds[kind]))

    def after(self, place: Place) -> tuple[list[Revocation], Place, bool]:
        """What came after `place`, where that leads, and whether there may be more. One round trip."""
        revoked, ended = self._commands.run(
            [
                ("XRANGE", self._keys.revoked, _start(place.revoked), "+", "COUNT", PAGE_ENTRIES),
                ("XRANGE", self._keys.ended, _start(place.ended), "+", "COUNT", PAGE_ENTRIES),
            ]
        )
        following = Place(_last(revoked, place.revoked), _last(ended, place.ended))
        found = [_revocation(fields) for _, fields in (*revoked, *ended)]
        return found, following, PAGE_ENTRIES in (len(revoked), len(ended))


def ended(keys: Keys, session: str, now: float) -> list[Command]:
    """The commands that tell every worker of a session's end."""
    return _append(keys.ended, Kind.SESSION, session, now, ENDED_KEPT_SECONDS)


def _append(key: str, kind: Kind, name: str, now: float, kept_seconds: int) -> list[Command]:
    return [
        ("XADD", key, "MAXLEN", "~", KEPT_ENTRIES, "*", "kind", kind.value, "name", name, "at", now),
        ("EXPIRE", key, kept_seconds),
    ]


def _start(place: str) -> str:
    return place if place == "-" else f"({place}"


def _last(entries: Sequence[Reply], place: str) -> str:
    return entries[-1][0].decode() if entries else place


def _revocation(fields: Mapping[bytes, bytes]) -> Revocation:
    return Revocation(Kind(fields[b"kind"].decode()), fields[b"name"].decode(), float(fields[b"at"]))
