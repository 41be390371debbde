"""Ids in URLs: every id of a user or a message can be part of a URL, whatever characters it has.

An id is one segment of a path, percent-encoded: `/users/a%2Fb`. WSGI decodes the path before it can be split into
segments. So this module splits the URL as it was sent.

Some ids can't be sent in a path. Clients resolve `.` and `..` before they send anything, and some proxies decode `%2F`.
So each URL has a second form, with the id in the query. `~` replaces the id in the path, as in
`/messages/~/content?id=..`. At the end of the path, `~` may be omitted: `/messages?id=..`. The second id of a path is
`message`: `/users/~/messages/~?id=..&message=..`.

Azure's clients call OpenAI's API below `/openai` or `/openai/v1`. Both lead to `/v1`. Only `/openai/deployments` has
routes of its own, because its paths name the model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import unquote

from flask import Flask, Request, Response, request
from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound

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
# The positions of ids in a path that is split at its slashes, and the parameters that may replace them.
PLACES: Final = ((2, "id"), (4, "message"))
# Replaces a slash that belongs to an id. No id may contain it, because it is not printable.
_SLASH: Final = "\0"
_AZURE: Final = re.compile(r"/openai(?:/v1)?/(?!deployments(?:/|$))")
_ENCODED: Final = re.compile("%2f", re.IGNORECASE)


class Site(Flask):
    """Flask, with routing that keeps ids with slashes whole."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.url_value_preprocessor(_restore)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Make Flask's adapter. If a route accepts the path with its ids whole, use that path.

        A path with NUL is not found, because NUL stands for a slash here.
        """
        adapter = super().create_url_adapter(request)
        if adapter is None or request is None:
            return adapter
        if _SLASH in request.path:
            raise NotFound
        if azure := _AZURE.match(request.path):
            adapter.path_info = f"/v1/{request.path[azure.end() :]}"
        path = _undivided(request)
        for candidate in (path, _with_stand_in(path or request.path, request)):
            if candidate is not None and request.method in adapter.allowed_methods(candidate):
                path = adapter.path_info = candidate
        if request.environ.get("QUERY_STRING") and f"/{STANDS_FOR}" in adapter.path_info:
            adapter.path_info = _with_ids_of_query(adapter.path_info, request)
        return adapter

    def make_default_options_response(self) -> Response:
        """Answer like Flask, but with the methods of the path's own route.

        `/feed/read` is not an id of `/feed/<message_id>`.
        """
        answer = super().make_default_options_response()
        answer.allow.clear()
        answer.allow.update(self._methods(request.url_rule.rule if request.url_rule else ""))
        return answer

    def raise_routing_exception(self, request: Request) -> NoReturn:
        """Raise like Flask. A refused method gets the methods that `OPTIONS` gives for the path."""
        refused = request.routing_exception
        if isinstance(refused, MethodNotAllowed):
            own = self._methods(request.path)
            raise MethodNotAllowed(own) if own else refused
        super().raise_routing_exception(request)

    def _methods(self, path: str) -> list[str]:
        """Return the methods of the route that is written like `path`, which may be none."""
        return sorted(
            {method for rule in self.url_map.iter_rules() if rule.rule == path for method in rule.methods or ()}
        )


def _restore(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Put the slashes back into the ids that views get."""
    if values:
        values |= {name: value.replace(_SLASH, "/") for name, value in values.items() if isinstance(value, str)}


def _undivided(request: Request) -> str | None:
    """Return the path with a mark for each slash that was sent as `%2F`, or None without such a slash."""
    sent, _, _query = request.environ.get("RAW_URI", "").partition("?")
    if not _ENCODED.search(sent):
        return None
    path = unquote(_ENCODED.sub(_SLASH, sent))[-len(request.path) :]  # without the prefix of a mount or a host
    return path if path.replace(_SLASH, "/") == request.path else None


def _with_stand_in(path: str, request: Request) -> str | None:
    """Return the path of one entry of a collection whose id is in the query, or None for any other request."""
    return f"{path}/{STANDS_FOR}" if path in COLLECTIONS and "id" in request.args else None


def _with_ids_of_query(path: str, request: Request) -> str:
    """Return the path with each `~` replaced by the id of the query.

    Raises `BadRequest` if a parameter has no single, valid id. Without its parameter, `~` is an ordinary id.
    """
    segments = path.split("/")
    for at, name in PLACES:
        given = request.args.getlist(name)
        if segments[at : at + 1] == [STANDS_FOR] and given:
            if len(given) > 1 or not given[0] or _SLASH in given[0]:
                raise BadRequest(f"{name}: expected one id, got {len(given)}: {given[0][:40]!a}.")
            segments[at] = given[0].replace("/", _SLASH)
    return "/".join(segments)
