"""A change of a user's own feed: it sets or removes a mark on messages.

The `parse_…` functions read one from a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import BelfryError
from ..message import OnlyTrue
from ..wire import faults, strict_json
from ..wire.frames import compact
from .marks import Mark

IDS_MAX = 1_000

# For each mark, the member of the body that sets it on or off, and the event that notifies the user's connections.
_FLAG = {Mark.READ: "read", Mark.ARCHIVED: "archived"}
_EVENT = {Mark.READ: "read", Mark.ARCHIVED: "updated", Mark.REMOVED: "removed"}


@dataclass(frozen=True, slots=True)
class Change:
    """Set `mark` on messages, or remove it. `ids` None means all messages that are kept now."""

    mark: Mark
    on: bool
    ids: tuple[str, ...] | None

    def record(self) -> str:
        """Return the record that announces the change: event type and JSON, like the record of a message."""
        what: dict[str, object] = {"all": True} if self.ids is None else {"ids": self.ids}
        if self.mark in _FLAG:
            what[_FLAG[self.mark]] = self.on
        if self.mark is Mark.REMOVED and not self.on:
            return f"updated {compact({**what, 'removed': False})}"
        return f"{_EVENT[self.mark]} {compact(what)}"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ids: (
        Annotated[list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]], Field(max_length=IDS_MAX)] | None
    ) = None
    all: OnlyTrue | None = None


class _Read(_Body):
    read: bool = True


class _Archive(_Body):
    archived: bool = True


class _Remove(_Body):
    removed: bool = True


def parse_read(body: bytes) -> Change:
    """Read the body of `POST /feed/read`.

    Raises `BelfryError` `malformed_json`, `unknown_field` or `invalid_change`.
    """
    given = _parse(_Read, body)
    return Change(Mark.READ, given.read, _ids(given))


def parse_archive(body: bytes) -> Change:
    """Read the body of `POST /feed/archive`. Raises like `parse_read`."""
    given = _parse(_Archive, body)
    return Change(Mark.ARCHIVED, given.archived, _ids(given))


def parse_remove(body: bytes) -> Change:
    """Read the body of `POST /feed/remove`. Raises like `parse_read`."""
    given = _parse(_Remove, body)
    ids = _ids(given)
    if ids is None:  # undoing it would bring back every message that was ever removed
        raise BelfryError("invalid_change", 'Messages are removed one by one: give "ids".')
    return Change(Mark.REMOVED, given.removed, ids)


def _parse(model: type[Any], body: bytes) -> Any:
    sent = strict_json.read(body)
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        code = "unknown_field" if first["type"] == "extra_forbidden" else "invalid_change"
        raise BelfryError(code, f"{'.'.join(map(str, first['loc'])) or 'body'}: {faults.told(first)}.") from None


def _ids(given: _Body) -> tuple[str, ...] | None:
    if (given.ids is None) == (given.all is None):
        raise BelfryError("invalid_change", 'Give either "ids" or "all": true.')
    return None if given.ids is None else tuple(dict.fromkeys(given.ids))
