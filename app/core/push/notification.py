"""Makes the push of a message: the payload for the service worker, and the headers for the push service."""

from __future__ import annotations

import json
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from .. import jws
from ..wire.frames import compact_bytes
from .encryption import PLAINTEXT_MAX

ACTIONS_MAX: Final = 2  # no browser shows more
TOPIC_CHARS: Final = 32  # RFC 8030 section 5.4
_SHOWN: Final = ("title", "body", "url", "level", "time")
_URGENT: Final = frozenset({"warning", "error"})
_CUT: Final = "…"


class Notification(NamedTuple):
    """One message for one user. `topic` is empty if it replaces nothing. `ttl` is in seconds."""

    payload: bytes
    topic: str
    urgency: str
    ttl: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers of RFC 8030 for the push service, except its authorization."""
        topic = {"Topic": self.topic} if self.topic else {}
        return {"TTL": str(self.ttl), "Urgency": self.urgency, **topic}


def of_record(record: bytes, user: str, proof: str, now: float, ttl_seconds: int) -> Notification:
    """Return the notification for a message's record, see `Message.record`.

    It is kept at the push service for `ttl_seconds` at most, and not after the message has expired.
    """
    message: dict[str, Any] = json.loads(record.partition(b" ")[2])
    told = {"id": message["id"], "user": user, "tag": message.get("key") or message["id"], "proof": proof}
    told |= {name: message[name] for name in _SHOWN if message.get(name)}
    if message.get("actions"):
        told["actions"] = message["actions"][:ACTIONS_MAX]
    left = _seconds_left(message, now)
    return Notification(
        _fitting(told),
        _topic(message.get("key")),
        "high" if message.get("level") in _URGENT else "normal",
        max(0, int(ttl_seconds if left is None else min(left, ttl_seconds))),
    )


def _seconds_left(message: dict[str, Any], now: float) -> float | None:
    at = message.get("expires_at")
    return datetime.fromisoformat(at).timestamp() - now if at else None


def _topic(key: str | None) -> str:
    """Return a name that a later message with the same key shares. The push service replaces the earlier one."""
    return jws.encoded(sha256(key.encode()).digest())[:TOPIC_CHARS] if key else ""


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
