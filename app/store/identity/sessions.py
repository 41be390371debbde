"""Sessions and tickets: the claims behind a cookie or a ticket, which only the store holds.

A session can be listed and ended. A ticket is a credential for one use within a minute, for a URL that is requested
without headers and cookies. GETDEL reads and removes the ticket in one step, so only one client can use it. Redis
stores only digests of sessions and tickets, so nobody can sign in with a copy of the store.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...core.identity.tokens import Claims
from ...core.settings import Settings
from ...transport.connection import Command, Commands
from ..keys import Keys
from . import revocations

ID_BYTES = 32
TICKET_SECONDS = 60
NAME_LENGTH = 32  # hex digits of the digest: 128 bits
# The time for which a worker trusts what it read. A page's burst of requests then costs one round trip.
FRESH_SECONDS = 1.0
CACHE_SIZE = 4_096
ENDED_AT_ONCE = 500  # sessions per round trip; they keep Redis busy for about 2 ms


@dataclass(frozen=True, slots=True)
class Session:
    """One entry of a user's list of sessions. `expires_at` is in Unix seconds.

    `name` identifies the session for ending it. It can't be used as a cookie.
    """

    name: str
    expires_at: float


class Sessions:
    """Starts, finds, lists and ends sessions. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._longest_seconds = settings.session_seconds
        self._most = settings.max_sessions_per_user
        self._fresh: OrderedDict[str, tuple[float, Claims]] = OrderedDict()
        # Each gets the user, the name of a session that ends, and the name of the one that replaces it, '' without one.
        self.listeners: list[Callable[[str, str, str], None]] = []

    def start(self, claims: Claims, now: float) -> str:
        """Begin a session with the rights and the lifetime of `claims`. Return the value of the cookie.

        If the user has too many sessions, the oldest one ends. Takes one round trip, or three if a session must end.
        """
        value = secrets.token_urlsafe(ID_BYTES)
        name = _name(value)
        # The credential is in use now, so it cannot have been issued later than now, even if its issuer's clock says
        # so. A later revocation then covers it.
        held = replace(claims, session=name, issued_at=min(claims.issued_at, now))
        ends, begun = self._keys.sessions(claims.user), self._keys.begun(claims.user)
        replies = self._commands.run(
            [
                ("SET", self._keys.session(name), held.to_json(), *_until(claims.expires_at)),
                ("ZREMRANGEBYSCORE", ends, "-inf", now),
                ("ZADD", ends, claims.expires_at, name),
                ("ZADD", begun, now, name),
                ("ZREMRANGEBYRANK", begun, 0, -2 * self._most - 1),  # most of the remaining sessions have expired
                ("EXPIRE", ends, self._longest_seconds),
                ("EXPIRE", begun, self._longest_seconds),
                ("ZCARD", ends),
            ]
        )
        if replies[-1] > self._most:
            self._end_oldest(claims.user, replies[-1] - self._most, now)
        return value

    def find(self, value: str, now: float) -> Claims | None:
        """Return the claims of a session, or None if the session is unknown or ended.

        `value` is the value of the cookie. The claims may be up to `FRESH_SECONDS` old.
        """
        name = _name(value)
        read_at, claims = self._fresh.get(name, (0.0, None))
        if claims is not None and 0 <= now - read_at < FRESH_SECONDS:
            return claims
        (text,) = self._commands.run([("GET", self._keys.session(name))])
        if text is None:
            self._fresh.pop(name, None)
            return None
        claims = Claims.of_json(text)
        self._remember(name, now, claims)
        return claims

    def end(self, user: str, name: str, now: float) -> None:
        """End one session of `user` on all workers. Each worker learns of it at its next poll.

        The listeners hear of it first. If one of them fails, the session is still there, so the call can be repeated.
        """
        for listener in self.listeners:
            listener(user, name, "")
        self._drop(user, [name], revocations.ended(self._keys, name, now))

    def renew(self, old: Claims, claims: Claims, now: float) -> str:
        """End the session of `old`, and begin another one of the same user. Return the value of its cookie."""
        self._drop(old.user, [old.session], revocations.ended(self._keys, old.session, now))
        value = self.start(claims, now)
        for listener in self.listeners:
            listener(old.user, old.session, _name(value))
        return value

    def end_all(self, user: str, now: float) -> int:
        """Remove every session of `user`. Return how many there were.

        The caller has revoked the user before. The revocation covers all these sessions, so this does not announce them
        one by one.
        """
        names = [session.name for session in self.of_user(user, now)]
        for at in range(0, len(names), ENDED_AT_ONCE):
            self._drop(user, names[at : at + ENDED_AT_ONCE], ())
        self._commands.run([("DEL", self._keys.begun(user))])
        return len(names)

    def _end_oldest(self, user: str, count: int, now: float) -> None:
        """End the `count` oldest sessions of `user`, but at most one batch. The next start ends further ones."""
        ends, begun = self._keys.sessions(user), self._keys.begun(user)
        *_, oldest = self._commands.run(
            [
                # Sessions in `ends` that `begun` lacks began before Belfry wrote `begun`. They count as the oldest.
                ("ZUNIONSTORE", begun, 2, ends, begun, "WEIGHTS", 0, 1, "AGGREGATE", "MAX"),
                ("ZINTERSTORE", begun, 2, ends, begun, "WEIGHTS", 0, 1, "AGGREGATE", "MAX"),  # removes the expired ones
                ("EXPIRE", begun, self._longest_seconds),
                ("ZRANGE", begun, 0, min(count, ENDED_AT_ONCE) - 1),
            ]
        )
        names = [name.decode() for name in oldest]
        self._drop(user, names, [command for name in names for command in revocations.ended(self._keys, name, now)])

    def _drop(self, user: str, names: Sequence[str], told: Sequence[Command]) -> None:
        """Remove sessions of `user`, and run the commands `told` in the same round trip."""
        for name in names:
            self._fresh.pop(name, None)
        if names:
            self._commands.run(
                [
                    ("DEL", *[self._keys.session(name) for name in names]),
                    ("ZREM", self._keys.sessions(user), *names),
                    ("ZREM", self._keys.begun(user), *names),
                    *told,
                ]
            )

    def of_user(self, user: str, now: float) -> list[Session]:
        """Return the sessions of `user` that have not expired. The one that expires first comes first."""
        (found,) = self._commands.run(
            [("ZRANGE", self._keys.sessions(user), f"({now}", "+inf", "BYSCORE", "WITHSCORES")]
        )
        return [Session(name.decode(), float(until)) for name, until in zip(found[::2], found[1::2], strict=True)]

    def _remember(self, name: str, now: float, claims: Claims) -> None:
        self._fresh[name] = (now, claims)
        self._fresh.move_to_end(name)
        if len(self._fresh) > CACHE_SIZE:
            self._fresh.popitem(last=False)


class Tickets:
    """Issues and redeems tickets. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    def issue(self, claims: Claims, now: float) -> str:
        """Return a new ticket. It allows once what `claims` allow."""
        ticket = secrets.token_urlsafe(ID_BYTES)
        held = replace(claims, issued_at=min(claims.issued_at, now))  # see `Sessions.start`
        self._commands.run([("SET", self._key(ticket), held.to_json(), "EX", TICKET_SECONDS)])
        return ticket

    def redeem(self, ticket: str) -> Claims | None:
        """Return the claims of a ticket and remove it. Return None if the ticket is unknown or was used before."""
        (text,) = self._commands.run([("GETDEL", self._key(ticket))])
        return None if text is None else Claims.of_json(text)

    def _key(self, ticket: str) -> str:
        return self._keys.ticket(hashlib.sha256(ticket.encode()).hexdigest())


def _name(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:NAME_LENGTH]


def _until(expires_at: float) -> tuple[str, int]:
    return "EXAT", int(expires_at) + 1  # the claims contain the exact time
