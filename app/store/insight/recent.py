"""The messages published last, with publisher and number of recipients, for administrators.

One capped stream for the whole deployment. It is written in batches, later, so the answer to a publisher does not
promise it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...core.settings import Settings
from ...core.wire.frames import compact
from ...transport.connection import Commands, Script
from ..keys import EVERYONE, Keys
from ..logs.log import Status
from ..logs.publisher import Published
from .flights import record_of

MESSAGES_KEPT = 1_000
MESSAGES_PER_WRITE = 50  # per write: a thousand at once would block other greenlets for 30 ms
TEXT_MAX = 200  # characters of title and body
RECIPIENTS_SHOWN = 10

REWRITE = Script("rewrite")
SCRIPTS = (REWRITE,)

# A message as JSON: id, time, event, level, title, body, by, recipients (a number), to (the first of them); and of how
# many recipients somebody was connected (reached), the message is kept (stored), or was there already (duplicates).
Summary = dict[str, Any]


class RecentStore:
    """The list."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._key = Keys(settings.redis_prefix, settings.redis_db).recent

    def write(self, published: Sequence[tuple[str, Published]]) -> None:
        """Add messages, each with the name of its publisher beside it."""
        latest = published[-MESSAGES_KEPT:]
        for at in range(0, len(latest), MESSAGES_PER_WRITE):
            self._commands.run(
                [
                    ("XADD", self._key, "MAXLEN", "~", MESSAGES_KEPT, "*", "e", compact(_summary(by, each)))
                    for by, each in latest[at : at + MESSAGES_PER_WRITE]
                ]
            )

    def all(self) -> list[Summary]:
        """All that are kept, newest first."""
        return self.newest(2 * MESSAGES_KEPT)

    def newest(self, limit: int) -> list[Summary]:
        """Up to `limit` messages, newest first."""
        return [summary for _, summary in self._entries(limit)]

    def forget(self, user: str) -> None:
        """Take out what went to a user alone, and the user's name of what went to others too."""
        changes = {id_: _without(summary, user) for id_, summary in self._entries(2 * MESSAGES_KEPT)}
        texts = [text for id_, change in changes.items() if change is not None for text in (id_, change)]
        if texts:
            self._commands.run([REWRITE.call((self._key,), *texts)])

    def _entries(self, limit: int) -> list[tuple[bytes, Summary]]:
        (entries,) = self._commands.run([("XREVRANGE", self._key, "+", "-", "COUNT", limit)])
        return [(id_, json.loads(record_of(fields))) for id_, fields in entries]


def _without(summary: Summary, user: str) -> str | None:
    """The entry's JSON without the user, "" where nothing is left of it, None where the user is not in it."""
    if user not in summary["to"] or user == EVERYONE or user.startswith("topic:"):  # `to` names these in the same way
        return None
    others = [name for name in summary["to"] if name != user]
    return compact({**summary, "to": others}) if others else ""


def _summary(by: str, published: Published) -> Summary:
    event, _, text = published.message.record.partition(b" ")
    content = json.loads(text)
    logs = published.message.logs
    return {
        "id": published.message.id,
        "time": content["time"],
        "event": event.decode(),
        "level": content.get("level"),
        "title": (content.get("title") or "")[:TEXT_MAX],
        "body": (content.get("body") or "")[:TEXT_MAX],
        "by": by,
        "recipients": len(logs),
        "to": [name.removeprefix("user:") for name in logs[:RECIPIENTS_SHOWN]],
        "reached": sum(outcome.online for outcome in published.outcomes),
        "stored": sum(outcome.position.offset > 0 for outcome in published.outcomes),
        "duplicates": sum(outcome.status is Status.DUPLICATE for outcome in published.outcomes),
    }
