"""The push of a message fits its limit and has what a device shows."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.message import parse
from app.core.push import notification
from app.core.push.encryption import PLAINTEXT_MAX
from app.core.push.notification import Notification, of_record
from app.core.push.vapid import VapidKey
from app.core.wire.frames import compact_bytes
from app.launch.demo import new_push_key
from tests.examples import examples

NOW = 1_800_000_000.0
KEY = VapidKey(new_push_key())


def told(user: str = "alice", **fields: Any) -> Notification:
    message = parse(json.dumps({"to": "alice", "id": "m", **fields}).encode(), now=NOW, new_id="", max_recipients=1)
    return of_record(message.record, user, KEY, NOW + 10, 3_600)


def payload(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(**fields).payload)
    return found


def test_the_payload_has_what_a_notification_shows_and_nothing_else() -> None:
    actions = [{"label": "Track", "url": "/t"}, {"label": "Hide", "id": "hide"}, {"label": "More"}]
    found = payload(
        title="Shipped", body="Tuesday", url="/o/1", level="success", actions=actions, data={"a": 1}, tags=["x"]
    )
    assert found.pop("time").endswith("Z")
    assert found == {
        "id": "m", "user": "alice", "tag": "m", "proof": KEY.proof("alice", "m"),
        "title": "Shipped", "body": "Tuesday", "url": "/o/1", "level": "success", "actions": actions[:2],
    }  # fmt: skip


def test_a_key_is_the_tag_and_makes_the_topic() -> None:
    first, second = told(key="build-7", title="1"), told(key="build-7", title="2")
    assert json.loads(first.payload)["tag"] == "build-7"
    assert first.topic == second.topic != told(key="build-8").topic
    assert first.topic != told("bob", key="build-7").topic, "a push service can't see who shares a key"
    assert len(first.topic) == 32
    assert set(first.headers) == {"TTL", "Urgency", "Topic"}
    assert "Topic" not in told().headers


@pytest.mark.parametrize(
    ("level", "urgency"), [("error", "high"), ("warning", "high"), ("info", "normal"), ("success", "normal")]
)
def test_the_level_decides_the_urgency(level: str, urgency: str) -> None:
    assert told(level=level).urgency == urgency
    assert told().urgency == "normal"


def test_the_push_service_keeps_it_no_longer_than_the_message_lives() -> None:
    assert told().ttl == 3_600
    assert told(ttl=100).ttl == 90
    assert told(ttl=5).ttl == 0
    assert told(ttl=86_400).ttl == 3_600


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "t", "body": "x" * 60_000},
        {"title": "t", "body": '\n"\\' * 10_000},
        {"title": "ü" * 30_000},
        {"title": "t", "body": "😀" * 9_000, "url": "/" + "u" * 2_000},
        {
            "title": "t" * 9_000,
            "url": "/" + "u" * 2_000,
            "actions": [{"label": "l" * 128, "url": "/" + "a" * 2_000}] * 2,
        },
        {"title": "t" * 5_000, "body": "hello"},
        {"title": "t" * 5_000, "body": "abc…"},
    ],
)
def test_a_long_message_is_cut_to_fit(fields: dict[str, Any]) -> None:
    told_bytes = told(**fields).payload
    assert len(told_bytes) <= PLAINTEXT_MAX
    found = json.loads(told_bytes)
    assert found["title"][0] == fields["title"][0]
    assert any(str(found.get(name, "")).endswith("…") for name in ("title", "body"))


def test_a_message_that_fits_is_not_cut() -> None:
    body = "x" * 3_500
    assert payload(title="t", body=body)["body"] == body


TEXT = st.text(min_size=1, max_size=12).map(str.strip).filter(bool)
LONG = st.builds(lambda text, times: text * times, TEXT, st.sampled_from([1, 20, 400, 4_000]))
URL = st.builds(
    lambda text, times: "/" + text * times, st.sampled_from(["a", "ü", "x/"]), st.sampled_from([1, 50, 1_000])
)
ACTION = st.builds(lambda label, url: {"label": label, "url": url}, TEXT, URL)


@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "title": LONG,
            "body": LONG,
            "url": URL,
            "actions": st.lists(ACTION, min_size=1, max_size=3),
            "key": st.sampled_from(["k", "k" * 128]),
            "id": st.sampled_from(["i", "i" * 128]),
            "level": st.sampled_from(["info", "error"]),
        },
    )
)
@settings(deadline=None, max_examples=examples(50))
def test_every_message_fits_after_a_few_steps(fields: dict[str, Any]) -> None:
    text = json.dumps({"to": "alice", "id": "m", **fields}).encode()
    try:
        message = parse(text, now=NOW, new_id="", max_recipients=1)
    except BelfryError:  # a publish with it is refused
        return
    with mock.patch.object(notification, "compact_bytes", wraps=compact_bytes) as step:
        told = of_record(message.record, "😀" * 32, KEY, NOW, 60)
    assert len(told.payload) <= PLAINTEXT_MAX
    assert step.call_count < 100
