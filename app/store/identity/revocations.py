"""The revocations of a deployment. Every worker holds a copy of them.

A sorted set holds each revoked user and token with the time of the latest revocation, for `BELFRY_REVOCATION_SECONDS`.
Revoking a user again takes no more room. A stream carries the same revocations to the running workers: each worker
reads on from its position. The stream is short. A worker that starts, or whose position was trimmed away, reads the
set.

Ended sessions have a stream of their own. Only open streams and unused tickets need it, because the store has already
deleted the session's record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...core.identity.revocation import Revocation, RevocationKind
from ...core.settings import Settings
from ...transport.connection import Command, Commands, Reply
from ..keys import Keys

ENDED_KEPT_SECONDS = 3_600
KEPT_ENTRIES = 100_000  # of each stream, about 7 MB; workers read it every second
PAGE_ENTRIES = 1_000
RESTORED_ENTRIES = 50  # per round trip; each takes four commands
START = "-"


class StreamPositions(NamedTuple):
    """The positions of a reader in both streams."""

    revoked: str = START
    ended: str = START


class Revocations:
    """Records and reads revocations. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self.kept_seconds = {
            RevocationKind.USER: settings.revocation_seconds,
            RevocationKind.TOKEN: settings.revocation_seconds,
            RevocationKind.SESSION: ENDED_KEPT_SECONDS,
        }

    def revoke(self, kind: RevocationKind, name: str, now: float) -> None:
        """Revoke a user or a token. Every worker learns of it at its next poll. Takes one round trip.

        This writes the set before the stream. So a worker that misses an entry of the stream finds it in the set.
        """
        self._commands.run(self._remember(Revocation(kind, name, now)))

    def _remember(self, revocation: Revocation) -> list[Command]:
        kind, name, at = revocation.kind, revocation.name, revocation.at
        seconds = self.kept_seconds[kind]
        withdrawn = self._keys.withdrawn
        return [
            ("ZADD", withdrawn, "GT", at, _member(kind, name)),
            ("EXPIRE", withdrawn, seconds),
            *_append(self._keys.revoked, kind, name, at, seconds),
            ("ZREMRANGEBYSCORE", withdrawn, "-inf", f"({at - seconds}"),
        ]

    def after(self, place: StreamPositions) -> tuple[list[Revocation], StreamPositions, bool]:
        """Read the entries after `place`. Takes one round trip.

        Returns the revocations, the next position, and whether there may be more. The position goes back to `START` if
        revocations after `place` are no longer in the stream. The reader must then read `remembered` as well.
        """
        # Read the entry at the position as well. If it is gone, entries after it may be gone too.
        revoked, ended = self._commands.run(
            [
                ("XRANGE", self._keys.revoked, place.revoked, "+", "COUNT", PAGE_ENTRIES + 1),
                ("XRANGE", self._keys.ended, _start(place.ended), "+", "COUNT", PAGE_ENTRIES),
            ]
        )
        if place.revoked != START:
            if not revoked or revoked[0][0].decode() != place.revoked:
                return [], StreamPositions(START, place.ended), True
            del revoked[0]
        self._adopt([fields for _, fields in revoked if b"kept" not in fields])
        following = StreamPositions(_last(revoked, place.revoked), _last(ended, place.ended))
        found = [_revocation(fields) for _, fields in (*revoked, *ended)]
        return found, following, len(revoked) >= PAGE_ENTRIES or len(ended) >= PAGE_ENTRIES

    def remembered(self) -> Iterator[list[Revocation]]:
        """Yield all revoked users and tokens, one page for each round trip.

        They are in no order, and one may come twice. SCAN guarantees that this yields everything that is in the set
        during the whole reading.
        """
        cursor = 0
        while True:
            ((cursor, found),) = self._commands.run([("ZSCAN", self._keys.withdrawn, cursor, "COUNT", PAGE_ENTRIES)])
            yield [_remembered(member, at) for member, at in found]
            if not cursor:
                return

    def count(self) -> int:
        """Return how many revoked users and tokens the store remembers."""
        (count,) = self._commands.run([("ZCARD", self._keys.withdrawn)])
        return int(count)

    def restore(self, known: Sequence[Revocation]) -> int:
        """Remember those of `known` that the store has lost, and tell every worker. Return how many were lost."""
        restored = 0
        for start in range(0, len(known), RESTORED_ENTRIES):
            page = known[start : start + RESTORED_ENTRIES]
            members = [_member(each.kind, each.name) for each in page]
            (scores,) = self._commands.run([("ZMSCORE", self._keys.withdrawn, *members)])
            lost = [each for each, score in zip(page, scores, strict=True) if score is None or float(score) < each.at]
            if lost:
                self._commands.run([command for each in lost for command in self._remember(each)])
            restored += len(lost)
        return restored

    def _adopt(self, found: Sequence[Mapping[bytes, bytes]]) -> None:
        """Add revocations to the set that an older version of Belfry wrote only to the stream."""
        if found:
            pairs = [
                part for fields in found for part in (float(fields[b"at"]), fields[b"kind"] + b":" + fields[b"name"])
            ]
            seconds = self.kept_seconds[RevocationKind.USER]
            self._commands.run(
                [("ZADD", self._keys.withdrawn, "GT", *pairs), ("EXPIRE", self._keys.withdrawn, seconds)]
            )


def ended(keys: Keys, session: str, now: float) -> list[Command]:
    """Return the commands that tell every worker that a session ended."""
    return _append(keys.ended, RevocationKind.SESSION, session, now, ENDED_KEPT_SECONDS)


def _append(key: str, kind: RevocationKind, name: str, now: float, kept_seconds: int) -> list[Command]:
    entry = ("kind", kind.value, "name", name, "at", now, "kept", 1)
    return [("XADD", key, "MAXLEN", "~", KEPT_ENTRIES, "*", *entry), ("EXPIRE", key, kept_seconds)]


def _member(kind: RevocationKind, name: str) -> str:
    return f"{kind.value}:{name}"


def _remembered(member: bytes, at: float) -> Revocation:
    kind, _, name = member.decode().partition(":")
    return Revocation(RevocationKind(kind), name, float(at))


def _start(place: str) -> str:
    return place if place == START else f"({place}"


def _last(entries: Sequence[Reply], place: str) -> str:
    return entries[-1][0].decode() if entries else place


def _revocation(fields: Mapping[bytes, bytes]) -> Revocation:
    return Revocation(RevocationKind(fields[b"kind"].decode()), fields[b"name"].decode(), float(fields[b"at"]))
