"""Ids in addresses: every id that a user or a message may have can be named in one, whatever it holds.

An id is one segment of a path, percent-encoded: `/users/a%2Fb`. WSGI decodes the path before it can be cut into
segments, so the cut is made here, on the address as it was sent.

Some ids survive no path. Clients resolve `.` and `..` before they send anything, and some proxies decode `%2F`. So each
address has a second form, with the id in the query: `~` stands in the path where the id would, as in
`/messages/~/content?id=..`, and at the end it may be left out: `/messages?id=..`. The second id of a path is `message`:
`/users/~/messages/~?id=..&message=..`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from flask import Flask, Request, Response, request
from werkzeug.exceptions import BadRequest, NotFound

if TYPE_CHECKING:
    from werkzeug.routing import MapAdapter

# The paths below which a segment is an id.
COLLECTIONS: Final = (
    "/users",
    "/presence",
    "/messages",
    "/scheduled",
    "/feed",
    "/completions",
    "/conversations",
    "/chat",
)
STANDS_FOR: Final = "~"
# Where ids stand in a path that is cut at its slashes, and the parameters that may hold them instead.
PLACES: Final = ((2, "id"), (4, "message"))
# In place of a slash that belongs to an id. No id may hold it, for it is not printable.
_SLASH: Final = "\0"
_ENCODED: Final = re.compile("%2f", re.IGNORECASE)


class Site(Flask):
    """Flask, with routing that takes ids whole."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.url_value_preprocessor(_restore)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """As Flask's. A path with its ids whole is taken where a route answers the method there.

        A path with NUL leads nowhere: here NUL would be taken for a slash.
        """
        adapter = super().create_url_adapter(request)
        if adapter is None or request is None:
            return adapter
        if _SLASH in request.path:
            raise NotFound
        path = _undivided(request)
        for candidate in (path, _with_stand_in(path or request.path, request)):
            if candidate is not None and request.method in adapter.allowed_methods(candidate):
                path = adapter.path_info = candidate
        if request.environ.get("QUERY_STRING") and f"/{STANDS_FOR}" in adapter.path_info:
            adapter.path_info = _with_ids_of_query(adapter.path_info, request)
        return adapter

    def make_default_options_response(self) -> Response:
        """As Flask's, with the methods of the path's own route: `/feed/read` is no id of `/feed/<message_id>`."""
        answer = super().make_default_options_response()
        path = request.url_rule.rule if request.url_rule else ""
        answer.allow.clear()
        answer.allow.update(
            method for rule in self.url_map.iter_rules() if rule.rule == path for method in rule.methods or ()
        )
        return answer


def _restore(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Give the views the ids as they are."""
    if values:
        values |= {name: value.replace(_SLASH, "/") for name, value in values.items() if isinstance(value, str)}


def _undivided(request: Request) -> str | None:
    """The path with a mark for each slash that was sent as `%2F`; None without such a slash."""
    sent, _, _query = request.environ.get("RAW_URI", "").partition("?")
    if not _ENCODED.search(sent):
        return None
    path = unquote(_ENCODED.sub(_SLASH, sent))[-len(request.path) :]  # without the prefix of a mount or a host
    return path if path.replace(_SLASH, "/") == request.path else None


def _with_stand_in(path: str, request: Request) -> str | None:
    """The path of one entry of a collection whose id stands in the query; None for any other request."""
    return f"{path}/{STANDS_FOR}" if path in COLLECTIONS and "id" in request.args else None


def _with_ids_of_query(path: str, request: Request) -> str:
    """The path with the ids of the query where `~` stands. Raises `BadRequest` for a parameter that holds no id.

    Without its parameter, `~` is an id like any other.
    """
    segments = path.split("/")
    for at, name in PLACES:
        given = request.args.getlist(name)
        if segments[at : at + 1] == [STANDS_FOR] and given:
            if len(given) > 1 or not given[0] or _SLASH in given[0]:
                raise BadRequest(f"{name}: expected one id, got {len(given)}: {given[0][:40]!a}.")
            segments[at] = given[0].replace("/", _SLASH)
    return "/".join(segments)
