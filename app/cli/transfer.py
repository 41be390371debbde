"""`belfry export` and `import`: a user's feed as lines of JSON, to keep it, to hand it out, or to move the user.

Each line is a message as `GET /feed` answers it, oldest first: the message with its marks `read` and `archived`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import IO, Any, Final

import click

from ..client import Client, ClientError
from ..core.errors import BelfryError
from ..core.wire import strict_json
from . import foreign_feeds
from .signing import OPERATOR, client_of
from .words import listed, show_json

PAGE: Final = 100  # messages of one request
# What the server adds to a message. `publish` does not take it.
ADDED: Final = frozenset({"time", "expires_at", "read", "archived", "topic", "everyone"})
MARKS: Final = ("read", "archived")

Message = dict[str, Any]


@click.command("export")
@click.argument("user")
@click.option("--topics", default="", help="Topics to export as well, separated by commas.")
def export_feed(user: str, topics: str) -> None:
    """Print the feed of USER with its marks, one message per line as JSON, oldest first."""
    client = client_of(user, ["feed"], topics=listed(topics))
    for message in reversed(list(_pages(client, topics))):
        show_json(message)


@click.command("import")
@click.argument("user")
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--from",
    "service",
    type=click.Choice(sorted(foreign_feeds.SERVICES)),
    help="FILE holds answers of this service's API that lists a user's messages.",
)
def import_feed(user: str, file: IO[bytes], service: str | None) -> None:
    """Send the messages of FILE to USER again, with the marks. FILE is what `export` printed; `-` is the input.

    Messages keep their ids: a second import within a day sends nothing twice. They get the time of the import. Messages
    to topics and to everyone are not sent, but are marked if this server has them.
    """
    messages = foreign_feeds.read(_text(file), service) if service else list(_read(file))
    own = [message for message in messages if not {"topic", "everyone"} & message.keys()]
    sent = _send(client_of(OPERATOR, ["publish"]), user, own)
    reader = client_of(user, ["feed"])
    for mark in MARKS:
        ids = [str(message["id"]) for message in messages if message.get(mark)]
        for start in range(0, len(ids), PAGE):
            reader.mark(mark, ids[start : start + PAGE])
    click.echo(f"{sent} messages sent; {len(own) - sent} had been sent before or have expired")


def _pages(client: Client, topics: str) -> Iterator[Message]:
    """Yield the messages of the feed, also the archived ones, newest first."""
    before = ""
    while True:
        page = client.feed(PAGE, topics, before=before, archived="any")
        yield from page["messages"]
        if not page["next"]:
            return
        before = page["next"]


def _text(file: IO[bytes]) -> str:
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClientError(f"expected UTF-8: {error}") from None


def _read(lines: Iterable[bytes]) -> Iterator[Message]:
    """Yield the messages of an exported file. Raises `ClientError`, which names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            message = strict_json.read(line)
        except BelfryError as error:
            raise ClientError(f"line {number}: {error.detail}") from None
        if not isinstance(message, dict) or not isinstance(message.get("id"), str):
            raise ClientError(f"line {number}: expected an object with an id, as `belfry export` prints it")
        yield message


def _send(client: Client, user: str, messages: Iterable[Message]) -> int:
    """Publish the messages to the user, in their order. Return how many were new. Raises `ClientError`."""
    sent = 0
    for message in messages:
        seconds = _seconds_left(message.get("expires_at"))
        if seconds == 0:
            continue
        content = {name: value for name, value in message.items() if name not in ADDED}
        try:
            (delivery,) = client.publish({"to": user, **content, **({"ttl": seconds} if seconds else {})})["deliveries"]
        except ClientError as error:
            if error.code == "id_reused":  # an earlier import sent it, with another `ttl`
                continue
            raise ClientError(f"{sent} messages sent, then message {message['id']}: {error}") from None
        sent += not delivery["duplicate"]
    return sent


def _seconds_left(expires_at: str | None) -> int | None:
    """Return the life of a message from now, in seconds: 0 if it is over, None if it has no end."""
    if expires_at is None:
        return None
    left = datetime.fromisoformat(expires_at) - datetime.now(UTC)
    return max(math.ceil(left.total_seconds()), 0)
