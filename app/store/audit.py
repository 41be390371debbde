"""The audit log: who signed in, and what was done by hand. A Redis Stream that keeps the newest entries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from app.core.settings import Settings
from app.store.connection import Commands
from app.store.keys import Keys


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody did.

    `time` is RFC 3339. `action` is `sign_in`, `sign_in_refused`, `publish`, `retract`, `disconnect`, `revoke` or
    `forget`. `target` is the log that a message went to, or whom or what it was done to; `message_id` is empty where
    there is none.
    """

    time: str
    user: str
    action: str
    target: str = ""
    message_id: str = ""
    address: str = ""


class Audit:
    """Appends and reads entries. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._key = Keys(settings.redis_prefix).audit
        self._length = settings.audit_length

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep `entries`, in one round trip."""
        self._commands.run(
            [
                ("XADD", self._key, "MAXLEN", "~", self._length, "*", "entry", json.dumps(asdict(entry)))
                for entry in entries
            ]
        )

    def newest(self, limit: int) -> list[Entry]:
        """Up to `limit` entries, newest first."""
        (found,) = self._commands.run([("XREVRANGE", self._key, "+", "-", "COUNT", limit)])
        return [Entry(**json.loads(fields[b"entry"])) for _, fields in found]
