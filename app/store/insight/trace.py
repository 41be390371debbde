"""Answers administrators' questions about one user and one message: whether it arrived, and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...core.insight.trace import Sent, steps
from ...core.log.catch_up import Page
from ...core.log.cursor import Position
from ...core.message import published_at
from ...core.wire.times import rfc3339
from ..keys import EVERYONE, user_log
from ..logs.delivery import content_of
from ..logs.log import LogStore
from ..logs.recipients import Recipients
from .flights import FlightStore
from .presence import PresenceStore
from .recent import RecentStore

Told = dict[str, Any]


class Tracing:
    """Answers from the data that the stores keep. Belfry writes nothing extra for this."""

    def __init__(
        self,
        store: LogStore,
        recipients: Recipients,
        recent: RecentStore,
        flights: FlightStore,
        presence: PresenceStore,
    ) -> None:
        self._store = store
        self._recipients = recipients
        self._recent = recent
        self._flights = flights
        self._presence = presence

    def latest(self, user: str, limit: int) -> list[Told]:
        """Return up to `limit` newest messages of the user and of everyone, newest first, with the user's marks."""
        names = [user_log(user), EVERYONE]
        pages = self._store.read_back([(name, ()) for name in names], limit, user)
        found = [message for name, page in zip(names, pages, strict=True) for message in _messages(name, page)]
        return sorted(found, key=lambda message: str(message["time"]), reverse=True)[:limit]

    def of(self, user: str, message_id: str) -> Told | None:
        """Return what happened to a message on its way to a user.

        Return None if no message with this id went to the user.
        """
        events, (connections,) = self._flights.of(user)[::-1], self._presence.connections([user])
        log = self._log_of(user, message_id, events + connections)
        if log is None:
            return None
        ((page, offsets),) = self._store.find([log], [message_id])
        offset, page = (offsets[0], page) if offsets else _former(page, self._store.place(log, message_id))
        sent = Sent(message_id, log, offset, page, self._published(message_id, log))
        ((marks,),) = self._store.survey((), [(user, (log,))])[1]
        return {
            "user": user,
            "id": message_id,
            "log": log,
            "offset": offset,
            **_state(page._replace(marks=marks), offsets[0] if offsets else None),
            "steps": steps(sent, events, connections),
        }

    def _log_of(self, user: str, message_id: str, seen: Sequence[Told]) -> str | None:
        """Return the log that brought the message to the user.

        This is the user's own log, everyone's log, or a topic that the user has read.
        """
        reads = {name for each in seen for name in each.get("places", ())}
        names = self._recipients.of(message_id)
        own = [name for name in (user_log(user), EVERYONE) if name in names]
        # The message was retracted, or is older than its list of recipients. The log may still remember its id.
        if not names:
            own = [name for name in (user_log(user), EVERYONE) if self._store.place(name, message_id)]
        return next(iter([*own, *[name for name in names if name in reads]]), None)

    def _published(self, message_id: str, log: str) -> str:
        record = content_of(self._store, message_id, [log])
        time = published_at(record) if record is not None else None
        if time is not None:
            return rfc3339(time)
        return next((str(each["time"]) for each in self._recent.all() if each["id"] == message_id), "")


def _messages(name: str, page: Page) -> list[Told]:
    found = []
    for offset, record, _ in page.entries:
        content = json.loads(record.partition(b" ")[2])
        shown = {key: content.get(key) for key in ("id", "time", "title", "body", "level")}
        found.append({**shown, "log": name, "offset": offset, **_state(page, offset)})
    return found


def _former(page: Page, place: Position | None) -> tuple[int | None, Page]:
    """Return the offset of a message that is no longer kept, and the page to compare its place with.

    The log may have a new history since then. The page then stands for the history of the message.
    """
    if place is None:
        return None, page
    is_of_page = place.epoch == (page.history or page.epoch)
    return place.offset, page if is_of_page else page._replace(epoch=place.epoch, history="", former=())


def _state(page: Page, offset: int | None) -> Told:
    """Return whether a message is kept, and how the user marked it."""
    marks = page.own_marks
    if offset is None:
        return {"kept": False, "read": False, "archived": False, "removed": False}
    return {
        "kept": True,
        "read": marks.read.has(offset),
        "archived": marks.archived.has(offset),
        "removed": marks.removed.has(offset),
    }
