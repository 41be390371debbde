"""What a request for a stream or a feed asks to read: whose logs, from which cursor."""

from __future__ import annotations

from flask import Request

from app.core import cursor
from app.core.cursor import MAX_LOGS, Vector
from app.core.errors import BelfryError
from app.core.names import check_topic
from app.core.tokens import Claims
from app.store.keys import EVERYONE, topic_log, user_log

MAX_TOPICS = MAX_LOGS - 2  # beside the user's own log and everyone's


def logs_of(claims: Claims, asked: Request) -> list[str]:
    """The logs that a connection reads: the user's own first, everyone's, and the topics of `?topics=a,b`.

    Without the parameter, the topics that the token grants by name. Raises `BelfryError` `bad_topic`,
    `topic_forbidden` or `too_many_topics`.
    """
    given = asked.args.get("topics")
    if given is None:
        topics = [topic for topic in claims.topics if not topic.endswith("*")]
    else:
        topics = [check_topic(topic) for topic in given.split(",") if topic]
    topics = list(dict.fromkeys(topics))
    for topic in topics:
        if not claims.may_read(topic):
            raise BelfryError("topic_forbidden", f"The token does not grant the topic {topic!r}.")
    if len(topics) > MAX_TOPICS:
        raise BelfryError("too_many_topics", f"A connection reads at most {MAX_TOPICS} topics, got {len(topics)}.")
    return [user_log(claims.user), EVERYONE, *map(topic_log, topics)]


def cursor_of(text: str | None) -> Vector | None:
    """A cursor out of a header or parameter; absent and empty mean none. Raises `BelfryError` `bad_cursor`."""
    return cursor.parse(text) if text else None


def number(asked: Request, name: str, default: float, least: float, most: float) -> float:
    """A number out of the query. Raises `BelfryError` `bad_parameter` unless it lies between the bounds."""
    text = asked.args.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise BelfryError("bad_parameter", f"{name}: expected a number from {least} to {most}, got {text[:40]!r}.")
    return value
