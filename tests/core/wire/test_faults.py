"""A refusal of a JSON value names what was expected and what came, in JSON's terms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core import message
from app.core.errors import BelfryError
from app.core.log import change
from app.web.api import admin, scheduled

WRONG: dict[str, tuple[Any, str]] = {
    "a list": ([{"to": "a"}], "Expected one JSON object, got a list."),
    "a text": ('{"to":"a"}', "Expected one JSON object, got a string."),
    "nothing": (None, "Expected one JSON object, got null."),
    "a number": (17, "Expected one JSON object, got 17."),
    "a field of another type": ({"to": "a", "title": 5}, "title: Expected a string, got 5."),
    "a fraction": ({"to": "a", "ttl": 1.5}, "ttl: Expected a whole number, got 1.5."),
    "a truth value": ({"to": "a", "ttl": True}, "ttl: Expected a whole number, got true."),
    "a list of other things": ({"to": "a", "tags": ["x", {}]}, "tags.1: Expected a string, got an object."),
    "no list": ({"to": "a", "tags": "x"}, "tags: Expected a list, got a string."),
    "a flag as a text": ({"to": "a", "transient": "yes"}, "transient: Expected true or false, got a string."),
    "a number that is too small": ({"to": "a", "ttl": -1}, "ttl: Expected 1 or more, got -1."),
    "a number that is too large": ({"to": "a", "ttl": 10**9}, "ttl: Expected 31536000 or less, got 1000000000."),
    "none of the words": (
        {"to": "a", "level": "WARN"}, "level: Expected 'info', 'success', 'warning' or 'error', got 'WARN'."
    ),
    "a long text in place of a word": (
        {"to": "a", "level": "x" * 99}, "level: Expected 'info', 'success', 'warning' or 'error', got a string."
    ),
    "a flag that can only be true": ({"everyone": False}, "everyone: Expected true, got false."),
    "another value of such a flag": ({"everyone": "yes"}, "everyone: Expected true, got 'yes'."),
    "a text that is too long": ({"to": "a", "tags": ["x" * 65]}, "tags.0: Expected 64 or fewer characters, got 65."),
    "a text that is too short": ({"to": "a", "tags": [""]}, "tags.0: Expected 1 or more characters, got 0."),
    "too many entries": ({"to": "a", "tags": ["x"] * 33}, "tags: Expected 32 or fewer entries, got 33."),
    "a missing field": (
        {"to": "a", "actions": [{"url": "/"}]},
        "actions.0.label: Expected this field, got an object without it.",
    ),
    "an unknown field": ({"To": "a"}, "To: Belfry does not know this field."),
    "an unknown field of an action": (
        {"to": "a", "actions": [{"label": "x", "href": "/"}]}, "actions.0.href: Belfry does not know this field."
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "told"), WRONG.values(), ids=WRONG)
def test_a_message_is_refused_in_terms_of_json(sent: Any, told: str) -> None:
    with pytest.raises(BelfryError) as caught:
        message.parse(json.dumps(sent).encode(), now=0.0, new_id="x", max_recipients=1)
    assert caught.value.detail == told


@pytest.mark.parametrize("sent", [b"[1]", b"null", b'"x"', b"7"])
def test_no_refusal_names_a_class(sent: bytes) -> None:
    for read in (change.parse_read, change.parse_archive, change.parse_remove, admin._order, scheduled._read):
        with pytest.raises(BelfryError, match="Expected one JSON object, got") as caught:
            read(sent)
        assert "instance" not in caught.value.detail


def test_an_order_that_names_nobody_is_refused_without_words_of_python() -> None:
    for sent, told in (
        (b"{}", "give exactly one of user, token and token_id."),
        (b'{"user":7}', "user: Expected a string, got 7."),
    ):
        with pytest.raises(BelfryError) as caught:
            admin._order(sent)
        assert caught.value.detail == told


def test_a_long_number_is_not_repeated() -> None:
    with pytest.raises(BelfryError) as caught:
        change.parse_read(b"9" * 900)
    assert caught.value.detail == "body: Expected one JSON object, got a long number."
