"""Converts the feeds of Novu and Knock, as their APIs answer them, to the lines that `belfry import` reads.

Neither service documents a file format for exports. These are the answers of the calls that list a user's messages:

    novu    `GET /v2/subscribers/{id}/notifications` and `GET /v1/subscribers/{id}/notifications/feed`: `data`
    knock   `GET /v1/users/{id}/feeds/{channel}`: `entries`

A file may hold several answers, one after the other, because both services answer in pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Any, Final

from ..client import ClientError

Message = dict[str, Any]
Given = Mapping[str, Any]


def read(text: str, service: str) -> list[Message]:
    """Return the messages of `text`, oldest first, with their marks. Raises `ClientError`."""
    member, convert = SERVICES[service]
    found: list[tuple[str, Message]] = []
    for answer in _answers(text):
        items = answer.get(member) if isinstance(answer, dict) else answer
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ClientError(f"expected an answer of {service}'s API: an object with a list {member!r}")
        found += [convert(item) for item in items]
    found.reverse()  # the services list the newest first, and several may have the same time
    return [message for _, message in sorted(found, key=lambda each: each[0])]


def _answers(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            answer, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise ClientError(f"expected JSON: {error}") from None
        yield answer


def _novu(item: Given) -> tuple[str, Message]:
    """Convert a notification. The names of API v2 come first, then those of v1."""
    action = _object(_object(item.get("primaryAction")).get("redirect"))
    target = _object(item.get("redirect")) or action or _object(_object(item.get("cta")).get("data"))
    message = {
        "id": item.get("id") or item.get("_id"),
        "title": item.get("subject"),
        "body": item.get("body") or item.get("content"),
        "url": target.get("url"),
        "tags": item.get("tags"),
        "data": item.get("data") or item.get("payload"),
    }
    read_mark, archived = item.get("isRead", item.get("read")), item.get("isArchived", item.get("archived"))
    return str(item.get("createdAt", "")), _named(message, read=read_mark, archived=archived)


def _knock(item: Given) -> tuple[str, Message]:
    """Convert an item of a feed. Its text is a block of rendered HTML, which becomes plain text."""
    blocks = [block for block in item.get("blocks") or () if isinstance(block, dict)]
    texts = [
        _plain(str(block["rendered"])) for block in blocks if block.get("name") != "action_url" and "rendered" in block
    ]
    targets = [str(block["rendered"]) for block in blocks if block.get("name") == "action_url" and "rendered" in block]
    message = {
        "id": item.get("id"),
        "body": "\n\n".join(filter(None, texts)),
        "url": next(iter(targets), None),
        "data": item.get("data"),
    }
    return str(item.get("inserted_at", "")), _named(message, read=item.get("read_at"), archived=item.get("archived_at"))


SERVICES: Final[Mapping[str, tuple[str, Callable[[Given], tuple[str, Message]]]]] = {
    "novu": ("data", _novu),
    "knock": ("entries", _knock),
}


def _named(message: Message, **marks: Any) -> Message:
    """Return the message without empty members, and with its marks. Raises `ClientError` if it has no id."""
    if not isinstance(message["id"], str):
        raise ClientError("expected an id for each message")
    return {
        **{name: value for name, value in message.items() if value},
        **{name: bool(set_) for name, set_ in marks.items()},
    }


def _object(value: Any) -> Given:
    return value if isinstance(value, dict) else {}


class _Text(HTMLParser):
    """Collects the text of HTML. Blocks end with a line break."""

    BLOCKS: Final = frozenset({"p", "div", "br", "li", "h1", "h2", "h3", "h4", "h5", "h6", "tr"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        if tag == "br":
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.BLOCKS:
            self.parts.append("\n")


def _plain(html: str) -> str:
    reader = _Text()
    reader.feed(html)
    reader.close()
    return "\n".join(filter(None, [line.strip() for line in "".join(reader.parts).splitlines()]))
