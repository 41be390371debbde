"""Keys of logs: what one name makes, another reads back."""

from __future__ import annotations

import pytest

from app.store.keys import EVERYONE, Keys, run_log, topic_log, user_log


@pytest.mark.parametrize(
    "name",
    [user_log("alice"), user_log("Zoë:live"), topic_log("a/b"), topic_log("run:x"), EVERYONE, run_log("a/b", "7")],
)
@pytest.mark.parametrize("prefix", ["belfry", "größe:1"])
@pytest.mark.parametrize("db", [0, 3])
def test_a_channel_tells_which_log_it_is_of(prefix: str, name: str, db: int) -> None:
    keys = Keys(prefix, db)
    assert keys.name_of(keys.live(name).encode()) == name
    assert keys.of_log(name)[-1] == keys.of_append(name, "id")[5] == keys.live(name)


def test_channels_differ_between_databases_and_keys_do_not() -> None:
    """In database 0 they are named as they always were: an upgrade worker by worker changes nothing there."""
    first, third = Keys("belfry"), Keys("belfry", 3)
    assert first.live("user:a") == "belfry:{user:a}:live"
    assert third.live("user:a") == "belfry:{user:a}:live@3"
    assert first.of_log("user:a")[:-1] == third.of_log("user:a")[:-1]
