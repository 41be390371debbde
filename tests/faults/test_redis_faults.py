"""Each thing that can happen to Redis and to the link to it: delays, refusals, resets, never a loss."""

from __future__ import annotations

import pytest

from tests.faults import redis_faults
from tests.faults.conftest import StartSite, Strike
from tests.faults.traffic import Traffic

ERASES = "Redis is flushed"
ON_THE_LINK = [name for name in redis_faults.FAULTS if name.startswith("the link")]
IN_REDIS = [name for name in redis_faults.FAULTS if name not in (*ON_THE_LINK, ERASES)]
PAUSE_SECONDS = 0.001
LATENCY_SECONDS = 0.05  # each way
BATCH_BYTES = 8_000  # more than a single message takes
CUTS = 6
MESSAGES = 15

pytestmark = pytest.mark.timeout(180)  # limits within tell more than this one


@pytest.mark.parametrize("name", IN_REDIS)
def test_nothing_is_lost_while(strike: Strike, name: str) -> None:
    verdict = strike(redis_faults.FAULTS[name], workers=2, cuts_nobody=True)
    assert verdict.kept, verdict
    assert verdict.resets == 0


@pytest.mark.parametrize("name", ON_THE_LINK)
def test_nothing_is_lost_while_between_belfry_and_redis(strike: Strike, name: str) -> None:
    verdict = strike(redis_faults.FAULTS[name], workers=2, proxied=True, cuts_nobody=True)
    assert verdict.kept, verdict
    assert verdict.resets == 0


def test_batches_keep_their_order_while_their_round_trips_are_cut(start_site: StartSite) -> None:
    """Each cut takes a batch's first round trip, and mostly a second one that was written behind it."""
    deployment = start_site(proxied=True)
    proxy = deployment.proxy
    assert proxy is not None
    with Traffic(deployment.belfry, pause_seconds=PAUSE_SECONDS) as traffic:
        traffic.run(MESSAGES)
        proxy.latency_seconds = LATENCY_SECONDS
        for _ in range(CUTS):
            traffic.wait(lambda: proxy.largest_held > BATCH_BYTES, what="a batch to be under way")
            proxy.cut()
            traffic.run(MESSAGES)
        proxy.latency_seconds = 0.0
        verdict = traffic.finish()
    assert verdict.kept, verdict
    assert verdict.resets == 0


def test_every_subscriber_is_told_when_the_history_was_erased(strike: Strike) -> None:
    verdict = strike(redis_faults.FAULTS[ERASES], workers=2, cuts_nobody=True)
    assert verdict.kept, verdict
    assert not verdict.untold
