"""Keys of logs: what one name makes, another reads back."""

from __future__ import annotations

import pytest

from app.store.keys import EVERYONE, Keys, run_log, topic_log, user_log


@pytest.mark.parametrize(
    "name",
    [user_log("alice"), user_log("Zoë:live"), topic_log("a/b"), topic_log("run:x"), EVERYONE, run_log("a/b", "7")],
)
@pytest.mark.parametrize("prefix", ["belfry", "größe:1"])
def test_a_channel_tells_which_log_it_is_of(prefix: str, name: str) -> None:
    keys = Keys(prefix)
    assert keys.name_of(keys.live(name).encode()) == name
