"""The state of a message at each recipient: kept, read, archived, removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.log.catch_up import Page
from ...core.log.cursor import Position
from ...core.log.marks import Marks
from .log import LogStore

USER = "user:"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One recipient's log, and the message in it. `offset` is None where the log does not keep it any more.

    What single users did with a message to a topic or to everyone is not told: nobody knows who they are.
    """

    log: str
    offset: int | None
    read: bool
    archived: bool
    removed: bool


def deliveries(store: LogStore, message_id: str, names: Sequence[str]) -> list[Delivery]:
    """What has become of the message in each of the logs `names`."""
    users = [(name.removeprefix(USER), (name,)) for name in names if name.startswith(USER)]
    _, marks = store.survey((), users)
    marks_of = {name: mark for (_, (name,)), (mark,) in zip(users, marks, strict=True)}
    found = zip(names, store.find(names, [message_id]), strict=True)
    return [_delivery(name, page, offsets, marks_of.get(name)) for name, (page, offsets) in found]


def content_of(store: LogStore, message_id: str, names: Sequence[str]) -> bytes | None:
    """The message's record, out of the first of the logs `names` that keeps it; None where none does."""
    for name, (page, offsets) in zip(names, store.find(names, [message_id]), strict=True):
        if offsets:
            (found,) = store.read_back([(name, (Position(page.epoch, offsets[0] + 1),))], 1)
            if found.entries and found.entries[0].offset == offsets[0]:
                return found.entries[0].record
    return None


def _delivery(name: str, page: Page, offsets: list[int], marks: Marks | None) -> Delivery:
    if not offsets or marks is None:
        return Delivery(name, offsets[0] if offsets else None, read=False, archived=False, removed=False)
    (offset,), marks = offsets, page._replace(marks=marks).own_marks
    return Delivery(name, offset, marks.read.has(offset), marks.archived.has(offset), marks.removed.has(offset))
