"""The feeds of Novu and Knock become the lines that `belfry import` reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.cli.foreign_feeds import read
from app.client import ClientError

HTML = "<p><strong>Hi</strong> you &amp; me</p><p>Bye</p>"
NOVU_2 = {
    "id": "65f1c0ffee65f1c0ffee0002", "subject": "Shipped", "body": "Your order is on its way.", "isRead": True,
    "isArchived": False, "createdAt": "2026-02-02T10:00:00.000Z", "tags": ["orders"], "data": {"order": 7},
    "primaryAction": {"label": "Track", "isCompleted": False, "redirect": {"url": "https://shop.example/7"}},
    "channelType": "in_app", "to": {"id": "1", "subscriberId": "alice"},
}  # fmt: skip
NOVU_1 = {
    "_id": "615c1f2f9b0c5b001f8e4e3b", "content": "An old one", "read": False, "seen": True, "archived": True,
    "createdAt": "2025-01-01T10:00:00.000Z", "payload": {"n": 1}, "cta": {"type": "redirect", "data": {"url": "/old"}},
}  # fmt: skip
KNOCK = {
    "__typename": "FeedItem", "id": "2FVHPWxRqNuXQ9krvNP5A6Z4qXe", "inserted_at": "2026-03-03T10:00:00Z",
    "read_at": None, "archived_at": "2026-03-04T10:00:00Z", "seen_at": None, "data": {"n": 2}, "activities": [],
    "blocks": [
        {"type": "markdown", "name": "body", "content": "**Hi** {{ x }}", "rendered": HTML},
        {"type": "text", "name": "action_url", "content": "{{ y }}", "rendered": "https://shop.example/k"},
    ],
}  # fmt: skip


def test_a_feed_of_novu_keeps_ids_texts_links_tags_data_and_marks() -> None:
    pages = json.dumps({"data": [NOVU_2], "hasMore": True}) + "\n" + json.dumps({"data": [NOVU_1]})
    old = {"id": NOVU_1["_id"], "body": "An old one", "url": "/old", "data": {"n": 1}, "read": False, "archived": True}
    new = {
        "id": NOVU_2["id"], "title": "Shipped", "body": "Your order is on its way.", "url": "https://shop.example/7",
        "tags": ["orders"], "data": {"order": 7}, "read": True, "archived": False,
    }  # fmt: skip
    assert read(pages, "novu") == [old, new]


def test_a_feed_of_knock_becomes_plain_text() -> None:
    assert read(json.dumps({"entries": [KNOCK], "page_info": {"after": None}}), "knock") == [
        {
            "id": KNOCK["id"], "body": "Hi you & me\nBye", "url": "https://shop.example/k", "data": {"n": 2},
            "read": False, "archived": True,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "service", "told"),
    [
        ("{", "novu", "expected JSON"),
        ('{"entries": []}', "novu", "novu's API: an object with a list 'data'"),
        ('{"data": [1]}', "novu", "an object with a list"),
        ("7", "knock", "knock's API"),
        ('{"entries": [{"blocks": null}]}', "knock", "expected an id"),
    ],
)
def test_a_file_of_another_form_is_told(text: str, service: str, told: str) -> None:
    with pytest.raises(ClientError, match=told):
        read(text, service)


def test_no_answer_is_no_message() -> None:
    empty: list[Any] = read("\n", "novu")
    assert empty == []


def test_messages_of_the_same_time_keep_their_order() -> None:
    text = json.dumps({"data": [{"id": each, "createdAt": "2026"} for each in ("newest", "older", "oldest")]})
    assert [message["id"] for message in read(text, "novu")] == ["oldest", "older", "newest"]
