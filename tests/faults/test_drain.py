"""Workers are replaced under load, and nobody notices more than a pause."""

from __future__ import annotations

import pytest

from tests.faults import worker_faults
from tests.faults.conftest import StartSite
from tests.faults.traffic import Traffic

RELOADS = 3
PUBLISHERS = 8  # each on a connection that it keeps open, so that one is about to send at any moment
ANSWER_SECONDS = 60.0  # a busy machine may be slow to answer, and a publisher that gives up would look like a failure
STORE_SECONDS = 20  # the same for Redis
UNSOUND = {"409", "422"}  # the traffic has some on purpose

pytestmark = pytest.mark.timeout(180)


def test_reloads_of_two_workers_fail_no_publish_and_lose_and_double_nothing(start_site: StartSite) -> None:
    deployment = start_site(workers=2, BELFRY_REDIS_TIMEOUT_SECONDS=f"{STORE_SECONDS}")
    with Traffic(deployment.belfry, publishers=PUBLISHERS, answer_seconds=ANSWER_SECONDS) as traffic:
        for _ in range(RELOADS):
            worker_faults.reload(deployment, traffic)
        verdict = traffic.finish()
    assert verdict.kept, verdict
    assert verdict.resets == 0
    assert traffic.book.answers.keys() <= {"200", "201", *UNSOUND}, traffic.book.answers
