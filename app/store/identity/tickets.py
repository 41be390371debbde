"""Tickets: a credential for one use within a minute, for an address where neither header nor cookie can travel.

Redis knows only a digest. GETDEL reads and removes in one step, so of many who come with one ticket, one wins.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace

from ...core.identity.tokens import Claims
from ...core.settings import Settings
from ...transport.connection import Commands
from ..keys import Keys

LIFE_SECONDS = 60
ID_BYTES = 32


class Tickets:
    """Issues and redeems tickets. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    def issue(self, claims: Claims, now: float) -> str:
        """A ticket that allows once what `claims` allow."""
        ticket = secrets.token_urlsafe(ID_BYTES)
        held = replace(claims, issued_at=min(claims.issued_at, now))  # see `Sessions.start`
        self._commands.run([("SET", self._key(ticket), held.to_json(), "EX", LIFE_SECONDS)])
        return ticket

    def redeem(self, ticket: str) -> Claims | None:
        """What the ticket allows, to the first who asks; None for everybody else."""
        (text,) = self._commands.run([("GETDEL", self._key(ticket))])
        return None if text is None else Claims.of_json(text)

    def _key(self, ticket: str) -> str:
        return self._keys.ticket(hashlib.sha256(ticket.encode()).hexdigest())
