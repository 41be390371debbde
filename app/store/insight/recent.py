"""The messages that were published last, with publisher and number of recipients, for administrators.

They are one capped stream for the whole deployment. Belfry writes it later, in batches. So the answer to a publisher
does not guarantee that the message is in this list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

import jiter

from ...core.settings import Settings
from ...core.wire.frames import compact, compact_bytes, stream_safe
from ...transport.connection import Commands, Script
from ..keys import EVERYONE, Keys
from ..logs.log import Status
from ..logs.publisher import Published
from .flights import record_of

MESSAGES_KEPT = 1_000
MESSAGES_PER_WRITE = 50
TEXT_MAX = 200  # characters of the title, and of the body
RECIPIENTS_SHOWN = 10

RECENT = Script("recent")
REWRITE = Script("rewrite")
SCRIPTS = (RECENT, REWRITE)

# A message as JSON: id, time, event, level, title, body, by, recipients (a number), to (the first recipients). Three
# further fields count recipients: those with a connection (reached), those that keep the message (stored), and those
# that had it already (duplicates).
Summary = dict[str, Any]


class RecentStore:
    """Reads and writes the list of recent messages."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._key = Keys(settings.redis_prefix, settings.redis_db).recent

    def write(self, published: Iterable[tuple[str, Published]]) -> None:
        """Add messages. Each item is the name of the publisher and the message."""
        rest = iter(published)
        while records := [_written(_summary(by, each)) for by, each in islice(rest, MESSAGES_PER_WRITE)]:
            self._commands.run([RECENT.call((self._key,), MESSAGES_KEPT, *records)])

    def all(self) -> list[Summary]:
        """Return all messages of the list, newest first."""
        return self.newest(2 * MESSAGES_KEPT)

    def newest(self, limit: int) -> list[Summary]:
        """Return up to `limit` messages, newest first."""
        return [summary for _, summary in self._entries(limit)]

    def forget(self, user: str) -> None:
        """Remove messages that went only to this user.

        Remove the user's name from messages that others received too.
        """
        changes = {id_: _without(summary, user) for id_, summary in self._entries(2 * MESSAGES_KEPT)}
        texts = [text for id_, change in changes.items() if change is not None for text in (id_, change)]
        if texts:
            self._commands.run([REWRITE.call((self._key,), *texts)])

    def _entries(self, limit: int) -> list[tuple[bytes, Summary]]:
        (entries,) = self._commands.run([("XREVRANGE", self._key, "+", "-", "COUNT", limit)])
        return [(id_, json.loads(record_of(fields))) for id_, fields in entries]


def _written(summary: Summary) -> bytes:
    return stream_safe(compact_bytes(summary))


def _without(summary: Summary, user: str) -> str | None:
    """Return the JSON of the entry without the user.

    Return "" if no recipient is left, None if the user is not in it.
    """
    # `to` names everyone and topics in the same way as users
    if user not in summary["to"] or user == EVERYONE or user.startswith("topic:"):
        return None
    others = [name for name in summary["to"] if name != user]
    return compact({**summary, "to": others}) if others else ""


def _summary(by: str, published: Published) -> Summary:
    event, _, text = published.message.record.partition(b" ")
    content = jiter.from_json(text, cache_mode="keys")
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
        "reached": sum([outcome.online for outcome in published.outcomes]),
        "stored": sum([outcome.position.offset > 0 for outcome in published.outcomes]),
        "duplicates": sum([outcome.status is Status.DUPLICATE for outcome in published.outcomes]),
    }
