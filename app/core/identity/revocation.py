"""Credentials that were revoked before they expired. Pure: `store.identity.revocations` stores them.

If a user is revoked, every credential issued to the user until then is revoked. Later credentials are valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ..wire.times import rfc3339
from .names import nfc
from .tokens import Claims


class RevocationKind(Enum):
    """The kind of object that a revocation names."""

    USER = "user"
    TOKEN = "token"  # noqa: S105 - a word, not a secret
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. `name` is a user id, a token id or a session's name. `at` is in Unix seconds."""

    kind: RevocationKind
    name: str
    at: float


class Revoked:
    """All revocations that still matter. Those of each kind are in the order in which they were made."""

    def __init__(self, revocations: Iterable[Revocation] = ()) -> None:
        self._users: dict[str, float] = {}
        self._tokens: dict[str, float] = {}
        self._sessions: dict[str, float] = {}
        self.add(revocations)

    def __len__(self) -> int:
        return len(self._users) + len(self._tokens) + len(self._sessions)

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Add revocations, in any order. If a name occurs twice, the latest time counts."""
        for revocation in revocations:
            moments = self._moments(revocation.kind)
            # Older versions stored a user's name as it was written.
            name = nfc(revocation.name) if revocation.kind is RevocationKind.USER else revocation.name
            moments[name] = max(revocation.at, moments.pop(name, revocation.at))

    def since(self, kind: RevocationKind, at: float) -> list[Revocation]:
        """Return the revocations of a kind that were made at `at` (Unix seconds) or later."""
        found = []
        for name, made in reversed(self._moments(kind).items()):
            if made < at:
                break
            found.append(Revocation(kind, name, made))
        return found

    def arrange(self) -> None:
        """Sort the revocations into the order that `forget` needs, if they were added without order."""
        for moments in (self._users, self._tokens, self._sessions):
            ordered = sorted(moments.items(), key=lambda each: each[1])
            moments.clear()
            moments.update(ordered)

    def covers(self, claims: Claims) -> bool:
        """Return whether the credential of `claims` was revoked.

        A token contains only the whole second of its issue. If that is the second of the user's revocation, the token
        counts as older.
        """
        return (
            claims.issued_at <= self._users.get(claims.user, -1.0)
            or claims.token_id in self._tokens
            or claims.session in self._sessions
        )

    def reason(self, claims: Claims) -> str:
        """Return why the credential was revoked, for the person who needs a new one, or "" if it was not."""
        withdrawn_at = self._users.get(claims.user, -1.0)
        if claims.issued_at <= withdrawn_at:
            told = f"Everything issued to this user until {rfc3339(withdrawn_at)} was withdrawn"
            if not claims.issued_at:
                return f"{told}, and this token has no 'iat' that says when it was issued. Issue one with an 'iat'"
            return f"{told}; this credential was issued at {rfc3339(claims.issued_at)}. Get a new one"
        if claims.token_id in self._tokens:
            return "This token was withdrawn. Get a new one"
        return "The session was ended. Sign in again" if claims.session in self._sessions else ""

    def forget(self, kind: RevocationKind, before: float) -> None:
        """Drop revocations older than `before` (Unix seconds). The credentials that they cover have expired by then."""
        moments = self._moments(kind)
        while moments:
            name, at = next(iter(moments.items()))
            if at >= before:
                return
            del moments[name]

    def _moments(self, kind: RevocationKind) -> dict[str, float]:
        return {
            RevocationKind.USER: self._users,
            RevocationKind.TOKEN: self._tokens,
            RevocationKind.SESSION: self._sessions,
        }[kind]
