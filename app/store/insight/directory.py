"""The known users: each user who visited or received a message, with the time when that last happened.

A user visits by opening a stream or reading the feed. A message may go to an id that nobody has, so a user who only
received messages is marked as such.

Belfry has no list of users: anybody with a token is a user. Administrators use this list to look for a user. Belfry
writes it later and limits its length, so a user may be missing from it. Publishing works for every id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ...core.settings import Settings
from ...transport.connection import Command, Commands, Script
from ..keys import Keys

USERS_PER_COMMAND = 500
USERS_PER_WRITE = 50
# Workers report users after a second or two. A user who was just forgotten is not added for this long.
FORGOTTEN_SECONDS = 10

REMEMBER = Script("known")
SCRIPTS = (REMEMBER,)


class KnownUser(NamedTuple):
    """A user, the time when it last visited or received a message, in Unix seconds, and whether it ever visited."""

    user: str
    seen: float
    visited: bool = True


class Directory:
    """Remembers users, and finds them by the beginning of their ids."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._names, self._seen = self._keys.user_names, self._keys.users_seen
        self._awaited = self._keys.users_awaited
        self._most = settings.known_users
        self._seconds = settings.history_seconds

    def remember(self, users: Sequence[str], now: float, *, visited: bool) -> Iterator[Command]:
        """Yield the commands that remember `users`, who `visited` or received a message. `now`: Unix seconds."""
        for at in range(0, len(users), USERS_PER_COMMAND):
            part = users[at : at + USERS_PER_COMMAND]
            keys = (self._names, self._seen, self._awaited, *map(self._keys.user_forgotten, part))
            yield REMEMBER.call(keys, self._most, int(now), self._seconds, int(visited), *part)

    def write(self, seen: Iterable[KnownUser]) -> None:
        """Remember the users of `seen`."""
        rest = iter(seen)
        while part := list(islice(rest, USERS_PER_WRITE)):
            now = part[-1].seen
            visitors = [user for user, _, visited in part if visited]
            recipients = [user for user, _, visited in part if not visited]
            self._commands.run(
                [*self.remember(visitors, now, visited=True), *self.remember(recipients, now, visited=False)]
            )

    def count(self) -> int:
        """Return the number of known users."""
        (count,) = self._commands.run([("ZCARD", self._names)])
        return int(count)

    def search(self, prefix: str, limit: int) -> list[KnownUser]:
        """Return up to `limit` users whose ids begin with `prefix`, in the order of their ids."""
        first, last = b"[" + prefix.encode(), b"(" + prefix.encode() + b"\xff"  # a byte that UTF-8 never uses
        (found,) = self._commands.run([("ZRANGEBYLEX", self._names, first, last, "LIMIT", 0, limit)])
        if not found:
            return []
        scores, awaited = self._commands.run([("ZMSCORE", self._seen, *found), ("ZMSCORE", self._awaited, *found)])
        return [
            KnownUser(user.decode(), float(score or 0), awaits is None)
            for user, score, awaits in zip(found, scores, awaited, strict=True)
        ]

    def newest(self, limit: int) -> list[str]:
        """Return the `limit` users that were seen last."""
        (found,) = self._commands.run([("ZRANGE", self._seen, 0, limit - 1, "REV")])
        return [user.decode() for user in found]

    def forget(self, user: str) -> None:
        """Forget a user. For a moment, `remember` ignores the user, because workers may still report it."""
        forgotten = ("SET", self._keys.user_forgotten(user), "", "EX", FORGOTTEN_SECONDS)
        sets = ("ZREM", self._names, user), ("ZREM", self._seen, user), ("ZREM", self._awaited, user)
        self._commands.run([forgotten, *sets])
