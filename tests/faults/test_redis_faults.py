"""Each thing that can happen to Redis and to the link to it: delays, refusals, resets, never a loss."""

from __future__ import annotations

import pytest

from tests.faults import redis_faults
from tests.faults.conftest import Strike

ERASES = "Redis is flushed"
ON_THE_LINK = [name for name in redis_faults.FAULTS if name.startswith("the link")]
IN_REDIS = [name for name in redis_faults.FAULTS if name not in (*ON_THE_LINK, ERASES)]

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


def test_every_subscriber_is_told_when_the_history_was_erased(strike: Strike) -> None:
    verdict = strike(redis_faults.FAULTS[ERASES], workers=2, cuts_nobody=True)
    assert verdict.kept, verdict
    assert verdict.resets >= verdict.subscribers
