"""The users that a run acts as: new ones if it can sign tokens, otherwise those of the given tokens."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol

from .verdict import SkippedError

PREFIX: Final = "conformance"
TOKEN_SECONDS: Final = 900

# user, scopes, seconds, `topics` and `token_id` → a signed token
Sign = Callable[..., str]


class Credentials(Protocol):
    """`separate`: every check has users of its own, so that several can run at the same time. `made`: all of them."""

    separate: bool
    made: list[str]

    def user(self) -> str:
        """Whose feed the next check reads."""
        ...

    def token(self, user: str, scope: str) -> str:
        """A token of `user` with this scope. Raises `SkippedError` if there is none."""
        ...

    def sign(self, user: str, *scopes: str, seconds: int = ..., **grants: Any) -> str:
        """A token made to order. Raises `SkippedError` where none can be signed."""
        ...


@dataclass
class SignedCredentials:
    """Tokens signed here, with the deployment's secret."""

    signer: Sign
    name: str = field(default_factory=lambda: f"{PREFIX}-{secrets.token_hex(6)}")
    separate: bool = True
    made: list[str] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def user(self) -> str:
        user = f"{self.name}-{next(self._numbers)}"
        self.made.append(user)
        return user

    def token(self, user: str, scope: str) -> str:
        return self.sign(user, scope)

    def sign(self, user: str, *scopes: str, seconds: int = TOKEN_SECONDS, **grants: Any) -> str:
        return self.signer(user, list(scopes), seconds, **grants)


@dataclass
class GivenCredentials:
    """Tokens as they are; what is in them is read, not checked: that is for the deployment."""

    tokens: Sequence[str]
    separate: bool = False
    made: list[str] = field(default_factory=list)  # stays empty: they are somebody's

    def user(self) -> str:
        """The user of the token that may read a feed, or of the first token."""
        users = [self._claims(token)["sub"] for token in self._with("feed") or self.tokens]
        return str(users[0]) if users else ""

    def token(self, user: str, scope: str) -> str:
        """One with the scope. Publishers and administrators may be anyone, feeds and runs are the user's own."""
        personal = scope in {"feed", "complete"}
        for token in self._with(scope):
            if not personal or self._claims(token)["sub"] == user:
                return token
        raise SkippedError(f"needs a token with the scope {scope}" + (f" of {user}" if personal and user else ""))

    def sign(self, user: str, *scopes: str, seconds: int = TOKEN_SECONDS, **grants: Any) -> str:  # noqa: ARG002 - the Protocol's
        raise SkippedError("needs the secret, to sign tokens of other users")

    def _with(self, scope: str) -> list[str]:
        return [token for token in self.tokens if scope in str(self._claims(token).get("scope", "")).split()]

    @staticmethod
    def _claims(token: str) -> dict[str, Any]:
        """Raises `ValueError` for what is no JWT."""
        body = token.split(".")[1] if token.count(".") == 2 else ""
        try:
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except ValueError:
            claims = None
        if not isinstance(claims, dict) or "sub" not in claims:
            raise ValueError(f"not a token: {token[:12]}…")
        return claims
