"""Makes the push of a message: the payload for the service worker, and the headers for the push service."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final, NamedTuple

from ..wire.frames import compact_bytes
from .encryption import PLAINTEXT_MAX
from .vapid import VapidKey

ACTIONS_MAX: Final = 2  # no browser shows more
_SHOWN: Final = ("title", "body", "url", "level", "time")
_URGENT: Final = frozenset({"warning", "error"})
_CUT: Final = "…"


class Notification(NamedTuple):
    """One message for one user. `topic` is empty if it replaces nothing. `ttl` is in seconds.

    `published_at` is when the message was published, in Unix seconds.
    """

    payload: bytes
    topic: str
    urgency: str
    ttl: int
    published_at: float

    @property
    def headers(self) -> dict[str, str]:
        """The headers of RFC 8030 for the push service, except its authorization."""
        topic = {"Topic": self.topic} if self.topic else {}
        return {"TTL": str(self.ttl), "Urgency": self.urgency, **topic}


def of_record(record: bytes, user: str, key: VapidKey, now: float, ttl_seconds: int) -> Notification:
    """Return the notification for a message's record, see `Message.record`.

    `key` makes the proof and the topic. The notification is kept at the push service for `ttl_seconds` at most, and not
    after the message has expired.
    """
    message: dict[str, Any] = json.loads(record.partition(b" ")[2])
    message_id, replaces = message["id"], message.get("key")
    proof = key.proof(user, message_id)
    told = {"id": message_id, "user": user, "tag": replaces or message_id, "proof": proof}
    told |= {name: message[name] for name in _SHOWN if message.get(name)}
    if message.get("actions"):
        told["actions"] = message["actions"][:ACTIONS_MAX]
    left = _seconds_left(message, now)
    return Notification(
        _fitting(told),
        key.topic(user, replaces) if replaces else "",
        "high" if message.get("level") in _URGENT else "normal",
        max(0, int(ttl_seconds if left is None else min(left, ttl_seconds))),
        datetime.fromisoformat(message["time"]).timestamp(),
    )


def _seconds_left(message: dict[str, Any], now: float) -> float | None:
    at = message.get("expires_at")
    return datetime.fromisoformat(at).timestamp() - now if at else None


def _fitting(told: dict[str, Any]) -> bytes:
    """Return the payload. Of a message that is too long, the body is cut, then the actions, the title and the URL."""
    for name in ("body", "actions", "title", "url"):
        payload = compact_bytes(told)
        while len(payload) > PLAINTEXT_MAX and told.get(name):
            told[name] = _shorter(told[name]) if name in ("body", "title") else ""
            payload = compact_bytes(told)
        if not told.get(name):
            told.pop(name, None)
    return compact_bytes(told)


def _shorter(text: str) -> str:
    """Return three quarters of `text`, and an ellipsis that replaces the one of the last cut. A short text goes."""
    kept = text.removesuffix(_CUT)
    kept = kept[: min(len(kept) * 3 // 4, PLAINTEXT_MAX)]
    return f"{kept}{_CUT}" if len(kept) > 1 else ""
