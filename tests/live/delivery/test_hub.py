"""The hub and the store, without a link: what it does for open logs by itself."""

from __future__ import annotations

import time

import fakeredis

from app.core.errors import BelfryError
from app.core.message import parse
from app.core.settings import Settings
from app.live.delivery.hub import HOLDS_PER_LIFE, TAILS_PER_SECOND, Hub
from app.store.logs.log import SCRIPTS, LogStore
from app.transport.connection import Connection
from app.transport.subscription import Subscription
from tests.live.one_shard import LoneShard

LIFE = 3_600


def no_redis() -> Subscription:
    raise BelfryError("store_unavailable")


def test_a_quiet_log_with_readers_does_not_expire() -> None:
    settings = Settings(redis_url="redis://unused.invalid", history_seconds=LIFE)
    with fakeredis.FakeRedis() as client:
        store = LogStore(Connection(client, SCRIPTS), settings)
        store.append([("user:alice", parse(b'{"to":"alice"}', now=time.time(), new_id="m", max_recipients=1))])
        hub = Hub(store, LoneShard(no_redis), settings, time.time, examines=False)
        hub.join(["user:alice"])
        client.expire(store.keys.meta("user:alice"), 10)
        hub._hold()
        assert client.ttl(store.keys.meta("user:alice")) == 10, "it is not its time yet"
        hub._held_at -= LIFE / HOLDS_PER_LIFE
        hub._hold()
        assert client.ttl(store.keys.meta("user:alice")) == LIFE
        hub.stop()


def test_however_many_logs_are_open_only_so_many_are_compared_in_a_second() -> None:
    settings = Settings(redis_url="redis://unused.invalid", tail_check_seconds=5)
    with fakeredis.FakeRedis() as client:
        hub = Hub(
            LogStore(Connection(client, SCRIPTS), settings), LoneShard(no_redis), settings, time.time, examines=False
        )
        hub.join(["user:alice"])
        assert hub.check_seconds == 5
        crowd = hub.join([f"user:{number}" for number in range(7 * TAILS_PER_SECOND)])
        assert 7 <= hub.check_seconds < 8
        hub.leave(crowd)
        assert hub.check_seconds == 5
        hub.stop()
