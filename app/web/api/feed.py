"""`GET /feed`: the messages that are kept for a user, newest first. As a long poll: the messages after a cursor."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Blueprint, Request, Response, request

from ...core.errors import BelfryError
from ...core.identity.names import nfc
from ...core.identity.tokens import Claims
from ...core.log import cursor
from ...core.log.cursor import Vector
from ...core.message import LEVELS
from ...core.settings import Settings
from ...live.streams.streams import Streams
from ...store.logs.feed import Feed, FeedPage, Filter, oldest
from ...store.logs.newcomers import Newcomers
from ..edge.auth import Authenticator
from ..edge.limits import RateLimits
from ..edge.reading import cursor_of, flag, logs_of, number, resumed_from, whole_number
from .stream import require_room

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
REVISION_MAX = 2**53  # the largest exact integer in JavaScript
UNKNOWN = -1  # replaces the revision if a client knows none


def blueprint(
    auth: Authenticator,
    feed: Feed,
    newcomers: Newcomers,
    streams: Streams,
    limits: RateLimits,
    settings: Settings,
    clock: Callable[[], float],
    visit: Callable[[str], None],
) -> Blueprint:
    views = Blueprint("feed", __name__)

    @views.get("/feed")
    def read() -> Response:
        claims = auth.require(request, "feed")
        names = logs_of(claims, request)
        limit = whole_number(request, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        after = after_of(request)
        newcomers.welcome(claims.user, names)
        visit(claims.user)
        if after is None:
            before = cursor_of(request.args.get("before"))
            return answer(feed.newest(claims.user, names, before, limit, wanted(request), now_ms()))
        wait_seconds = number(request, "wait", 0, 0, settings.max_wait_seconds)
        if wait_seconds:
            require_room(request)
        known = whole_number(request, "revision", UNKNOWN, UNKNOWN, REVISION_MAX)
        return answer(poll(claims, names, after, known, limit, wait_seconds))

    def poll(claims: Claims, names: list[str], after: Vector, known: int, limit: int, wait_seconds: float) -> FeedPage:
        """Wait for messages after the cursor `after`, or for a revision other than `known`. Return a page.

        Waits at most `wait_seconds`. Raises `BelfryError` `history_lost`.
        """
        limits.connect(claims.user)
        with streams.polling(claims.user, wait_seconds):
            deadline = time.monotonic() + wait_seconds
            opening = streams.open(claims.user, names, after, stays=wait_seconds > 0)
            vector, lost, pages = opening.vector, opening.lost, opening.pages
            while True:
                page, gone = oldest(vector, pages, limit, now_ms())
                if lost or gone:
                    raise BelfryError("history_lost", "Fetch /feed again and go on from its cursor.")
                if page.messages or page.counts.revision != (opening.counts.revision if known < 0 else known):
                    return page
                if not streams.wait_changed(opening, page.cursor, deadline - time.monotonic()):
                    return page
                auth.check(claims)
                vector = page.cursor
                pages = streams.read_again(opening, vector)

    def now_ms() -> int:
        return int(clock() * 1_000)

    return views


def answer(page: FeedPage) -> Response:
    """Return the page as JSON. Its messages are JSON already."""
    following = f'"{cursor.encode(page.next)}"' if page.next else "null"
    text = (
        f'{{"messages":[{",".join(page.messages)}],"next":{following},"unread":{page.counts.unread},'
        f'"revision":{page.counts.revision},"cursor":"{cursor.encode(page.cursor)}"}}\n'
    )
    return Response(text, mimetype="application/json", headers={"Cache-Control": "no-store"})


def after_of(asked: Request) -> Vector | None:
    """Return the cursor of a long poll, or None for a request for a page. Raises `BelfryError` `bad_cursor`.

    A client that falls back from a stream to polling may name the cursor as for a stream. Its `wait` shows that it
    polls.
    """
    after = cursor_of(asked.args.get("after"))
    return resumed_from(asked) if after is None and "wait" in asked.args else after


def wanted(asked: Request) -> Filter:
    """Return the filters of the query. Raises `BelfryError` `bad_parameter`."""
    level = asked.args.get("level", "")
    if level and level not in LEVELS:
        raise BelfryError("bad_parameter", f"level: expected one of {', '.join(LEVELS)}, got {level[:40]!r}.")
    return Filter(
        unread=flag(asked, "unread"),
        archived=flag(asked, "archived", absent=False, either="any"),
        level=level,
        tag=asked.args.get("tag", ""),
        topic=nfc(asked.args.get("only_topic", "")),
    )
