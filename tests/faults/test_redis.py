from __future__ import annotations

import pytest

from tests.faults.traffic import Traffic
from tests.servers import Belfry, RedisServer


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
def test_connections_of_one_kind_are_killed_again_and_again(
    belfry_of_two: Belfry, own_redis: RedisServer, kind: str
) -> None:
    with Traffic(belfry_of_two) as traffic, own_redis.client() as client:
        for _ in range(10):
            traffic.run(20)
            assert client.client_kill_filter(_type=kind, skipme=True)
        verdict = traffic.finish()
    assert verdict.kept, verdict
    assert verdict.resets == 0
    print(verdict, traffic.book.answers)
