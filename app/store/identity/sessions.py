"""Sessions: what a cookie stands for, held here and nowhere else, so that a session can be listed and ended.

Redis knows only a digest of what the cookie says: who reads the store can't sign in with it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace

from app.core.identity.tokens import Claims
from app.core.settings import Settings
from app.store.identity import revocations
from app.store.keys import Keys
from app.transport.connection import Commands

ID_BYTES = 32
NAME_LENGTH = 32  # hex digits of the digest: 128 bits
FRESH_SECONDS = 1.0  # how long a worker believes what it read: a page's burst of requests costs one round trip
CACHE_SIZE = 4_096


@dataclass(frozen=True, slots=True)
class Session:
    """One entry of a user's list. `name` is what ends it; it can't be used as a cookie. Times in unix seconds."""

    name: str
    expires_at: float


class Sessions:
    """Starts, finds, lists and ends sessions. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix)
        self._longest_seconds = settings.session_seconds
        self._fresh: OrderedDict[str, tuple[float, Claims]] = OrderedDict()

    def start(self, claims: Claims, now: float) -> str:
        """Begin a session that allows what `claims` allow, as long as they do; answers the cookie's value."""
        value = secrets.token_urlsafe(ID_BYTES)
        name = _name(value)
        mine = self._keys.sessions(claims.user)
        self._commands.run(
            [
                ("SET", self._keys.session(name), replace(claims, session=name).to_json(), *_until(claims.expires_at)),
                ("ZREMRANGEBYSCORE", mine, "-inf", now),
                ("ZADD", mine, claims.expires_at, name),
                ("EXPIRE", mine, self._longest_seconds),
            ]
        )
        return value

    def find(self, value: str, now: float) -> Claims | None:
        """What the cookie's value stands for, at most `FRESH_SECONDS` ago; None for an unknown or ended session."""
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
        """End one session of `user`, wherever it is used: workers hear of it within their poll."""
        self._fresh.pop(name, None)
        self._commands.run(
            [
                ("DEL", self._keys.session(name)),
                ("ZREM", self._keys.sessions(user), name),
                *revocations.ended(self._keys, name, now),
            ]
        )

    def end_all(self, user: str, now: float) -> int:
        """End every session of `user`; answers how many there were."""
        sessions = self.of_user(user, now)
        for session in sessions:
            self.end(user, session.name, now)
        return len(sessions)

    def of_user(self, user: str, now: float) -> list[Session]:
        """The sessions of `user` that last, the one that ends first at the front."""
        (found,) = self._commands.run(
            [("ZRANGE", self._keys.sessions(user), f"({now}", "+inf", "BYSCORE", "WITHSCORES")]
        )
        return [Session(name.decode(), float(until)) for name, until in zip(found[::2], found[1::2], strict=True)]

    def _remember(self, name: str, now: float, claims: Claims) -> None:
        self._fresh[name] = (now, claims)
        self._fresh.move_to_end(name)
        if len(self._fresh) > CACHE_SIZE:
            self._fresh.popitem(last=False)


def _name(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:NAME_LENGTH]


def _until(expires_at: float) -> tuple[str, int]:
    return "EXAT", int(expires_at) + 1  # the claims themselves say the very moment
