"""The known users: who was connected or was sent a message, and when that happened last.

Belfry has no list of users: anybody with a token is a user. This list is for administrators who look for somebody. It
is written later and has a limit, so a user may be missing in it. Publishing works for every id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...core.settings import Settings
from ...transport.connection import Command, Commands, Script
from ..keys import Keys

USERS_PER_COMMAND = 500
FORGOTTEN_SECONDS = 10  # workers tell within a second or two what they know of a user; for so long nothing is taken in

REMEMBER = Script("known")
SCRIPTS = (REMEMBER,)


class KnownUser(NamedTuple):
    """A user, and when it was last connected or sent something, Unix seconds."""

    user: str
    seen: float


class Directory:
    """Remembers users, and finds them by the beginning of their ids."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._names, self._seen = self._keys.user_names, self._keys.users_seen
        self._most = settings.known_users
        self._seconds = settings.history_seconds

    def remember(self, users: Sequence[str], now: float) -> Iterator[Command]:
        """The commands that do."""
        for at in range(0, len(users), USERS_PER_COMMAND):
            part = users[at : at + USERS_PER_COMMAND]
            keys = (self._names, self._seen, *map(self._keys.user_forgotten, part))
            yield REMEMBER.call(keys, self._most, int(now), self._seconds, *part)

    def write(self, seen: Sequence[KnownUser]) -> None:
        """Remember users."""
        if seen:
            self._commands.run(list(self.remember([user for user, _ in seen], seen[-1].seen)))

    def count(self) -> int:
        """How many are known."""
        (count,) = self._commands.run([("ZCARD", self._names)])
        return int(count)

    def search(self, prefix: str, limit: int) -> list[KnownUser]:
        """Up to `limit` users whose ids begin with `prefix`, in the order of their ids."""
        first, last = b"[" + prefix.encode(), b"(" + prefix.encode() + b"\xff"  # a byte that no UTF-8 has
        (found,) = self._commands.run([("ZRANGEBYLEX", self._names, first, last, "LIMIT", 0, limit)])
        if not found:
            return []
        (scores,) = self._commands.run([("ZMSCORE", self._seen, *found)])
        return [KnownUser(user.decode(), float(score or 0)) for user, score in zip(found, scores, strict=True)]

    def newest(self, limit: int) -> list[str]:
        """The `limit` users that were seen last."""
        (found,) = self._commands.run([("ZRANGE", self._seen, 0, limit - 1, "REV")])
        return [user.decode() for user in found]

    def forget(self, user: str) -> None:
        """Forget a user, also what workers still tell of before: `remember` passes the user over for a moment."""
        forgotten = ("SET", self._keys.user_forgotten(user), "", "EX", FORGOTTEN_SECONDS)
        self._commands.run([forgotten, ("ZREM", self._names, user), ("ZREM", self._seen, user)])
