"""`BELFRY_NEW_USERS_START_READ`: whichever way a new user comes, broadcasts from before are read."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.servers import Belfry


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_NEW_USERS_START_READ": "1"}


def test_a_new_user_starts_without_old_broadcasts_in_the_badge(belfry: Belfry, alice: str, bob: str) -> None:
    belfry.publish({"everyone": True, "title": "before"})
    with belfry.stream(alice) as stream:
        assert json.loads(stream.wait_for("ready").data)["unread"] == 0
    reader = belfry.reader(bob)
    page = reader.feed()
    assert page["unread"] == 0
    assert page["messages"][0]["read"], "the feed shows the broadcast as read"
    belfry.publish({"everyone": True, "title": "after"})
    assert reader.feed()["unread"] == 1
    assert belfry.reader(alice).feed()["unread"] == 1
