"""Redis is away for a while: refusals soon, open streams, one who notices, and a return that topples nothing."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import requests

from tests.conftest import absent
from tests.faults import return_of_redis
from tests.faults.conftest import StartBelfry, StartSite
from tests.faults.link_proxy import LinkProxy
from tests.faults.redis_faults import freeze
from tests.faults.traffic import Traffic
from tests.servers import Belfry, RedisServer, frozen
from tests.waiting import patient, wait_until

ANSWER_SECONDS = 3.8  # the promise is three; two waits for the store would take four
TRIES = 3
PARSE_SECONDS = 1.0  # more for 10,000 lines, on a machine that has other things to do
NDJSON = {"Content-Type": "application/x-ndjson"}
NOTICE_SECONDS = 20.0
BACK_SECONDS = 60.0
CURRENT_SECONDS = {1_000: 6.0, 5_000: 20.0}  # by the number of streams; a busy machine needs half of it
OWN_DESCRIPTORS = 200


@pytest.mark.alone  # measures how soon a refusal comes
def test_publishing_is_refused_within_three_seconds_and_repeated_without_a_double(
    start_belfry: StartBelfry, own_redis: RedisServer
) -> None:
    """Each refusal of one of some tries has to come in time: the machine has other work too."""
    belfry = start_belfry()
    messages = [{"to": "alice", "id": f"order-{number}", "data": number} for number in (1, 2)]
    slowest: list[float] = []
    with belfry.stream("alice") as stream:
        stream.wait_for("ready")
        while not slowest or min(slowest) > patient(ANSWER_SECONDS):
            assert len(slowest) < TRIES, slowest
            with frozen(own_redis.pid):
                taken = [refusal_seconds(belfry.publisher.publish(messages[0])) for _ in range(3)]
            own_redis.kill()
            taken.append(refusal_seconds(belfry.publisher.publish(messages[1])))
            own_redis.start()
            slowest.append(max(taken))
            for message in messages:
                wait_until(partial(accepted, belfry, message), BACK_SECONDS)
                assert belfry.publish(message)["deliveries"][0]["duplicate"]
        stream.wait_for_messages(2, BACK_SECONDS)
        belfry.publish({"to": "alice", "data": 3})
        stream.wait_for_messages(3)
        assert [message["data"] for message in stream.messages] == [1, 2, 3]


@pytest.mark.alone  # measures how soon a refusal comes
class TestBatches:
    """What waits behind a silent store is refused with what it is silent to: one wait for all, not one for each."""

    LINES = 10_000

    def test_of_several_publishers_are_refused_within_three_seconds_and_the_next_ones_are_taken(
        self, start_belfry: StartBelfry, own_redis: RedisServer
    ) -> None:
        belfry = start_belfry(WEB_CONCURRENCY="1")
        batches = [batch(f"{number}", 1) for number in range(5)]
        assert belfry.publish_all(batch("before", 1))
        with frozen(own_redis.pid), ThreadPoolExecutor(len(batches)) as pool:
            for answers, seconds in pool.map(partial(publish_batch, belfry), batches):
                assert [answer["code"] for answer in answers] == ["store_unavailable"]
                assert seconds < patient(ANSWER_SECONDS)
        began = time.monotonic()
        for each in batches:
            assert belfry.publish_all(each)
        assert time.monotonic() - began < patient(3), "nothing is waited for"

    def test_that_are_long_are_refused_as_soon_each_line_by_itself(
        self, start_belfry: StartBelfry, own_redis: RedisServer
    ) -> None:
        belfry = start_belfry(WEB_CONCURRENCY="1", BELFRY_HISTORY_LENGTH=f"{self.LINES}")
        lines = batch("alice", self.LINES)
        belfry.publish({"to": "bob"})
        with frozen(own_redis.pid):
            answers, seconds = publish_batch(belfry, lines)
        assert {answer["code"] for answer in answers} == {"store_unavailable"}
        assert [answer["id"] for answer in answers] == [line["id"] for line in lines]
        assert seconds < patient(ANSWER_SECONDS + PARSE_SECONDS)
        assert_taken_once(belfry.publish_all(lines))

    def test_under_way_end_soon_after_the_store_falls_silent_and_what_was_taken_stands_in_order(
        self, start_belfry: StartBelfry, own_redis: RedisServer
    ) -> None:
        lines = batch("alice", self.LINES)
        with contextlib.closing(LinkProxy(own_redis.socket_path)) as proxy:
            belfry = start_belfry(proxy.url, WEB_CONCURRENCY="1", BELFRY_HISTORY_LENGTH=f"{self.LINES}")
            proxy.latency_seconds = 0.2  # so that it takes much longer than this test needs to begin the silence
            answer = belfry.publisher.post("/publish", data=ndjson(lines), headers=NDJSON, stream=True)
            told = answer.iter_lines()
            answers = [json.loads(next(told))]
            with proxy.silent():
                began = time.monotonic()
                answers += [json.loads(line) for line in told]
                assert time.monotonic() - began < patient(ANSWER_SECONDS + PARSE_SECONDS)
            proxy.latency_seconds = 0.0
            codes = [each.get("code") for each in answers]
            taken = codes.index("store_unavailable")
            assert codes == [None] * taken + ["store_unavailable"] * (self.LINES - taken)
            assert [each["deliveries"][0]["offset"] for each in answers[:taken]] == list(range(1, taken + 1))
            assert_taken_once(belfry.publish_all(lines))


def batch(user: str, count: int) -> list[dict[str, object]]:
    return [{"to": user, "id": f"{user}-{number}"} for number in range(count)]


def ndjson(messages: Sequence[Mapping[str, object]]) -> bytes:
    return "\n".join([json.dumps(message) for message in messages]).encode()


def publish_batch(belfry: Belfry, messages: Sequence[Mapping[str, object]]) -> tuple[list[dict[str, Any]], float]:
    """The result of each line, and how long it took until the last one was there."""
    began = time.monotonic()
    answers = belfry.api(belfry.token("publisher", "publish")).publish_lines([json.dumps(each) for each in messages])
    return answers, time.monotonic() - began


def assert_taken_once(answers: Sequence[Mapping[str, Any]]) -> None:
    assert {answer["deliveries"][0]["offset"] for answer in answers} == set(range(1, len(answers) + 1))


def accepted(belfry: Belfry, message: Mapping[str, object]) -> bool:
    return belfry.publisher.publish(message).ok


def refusal_seconds(answer: requests.Response) -> float:
    """How long this refusal took."""
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    return answer.elapsed.total_seconds()


@pytest.mark.alone  # measures how soon it is noticed
def test_a_frozen_store_is_noticed_by_itself_and_told_in_log_metric_and_readiness(
    start_belfry: StartBelfry, own_redis: RedisServer
) -> None:
    """Nobody publishes, nobody asks: only the streams are there."""
    belfry = start_belfry(WEB_CONCURRENCY="1")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(belfry.stream(f"u{number}")) for number in range(3)]
        for stream in streams:
            stream.wait_for("ready")
        with frozen(own_redis.pid):
            wait_until(lambda: "the store is away" in belfry.log(), NOTICE_SECONDS, what="the canary")
            assert metric(belfry, "belfry_store_away") == 1
            assert metric(belfry, "belfry_store_outages_total") == 1
            assert belfry.api().get("/health/ready").status_code == 503
            assert belfry.api().get("/health/live").status_code == 200
            wait_until(lambda: "no connection to the store" in belfry.log(), NOTICE_SECONDS, what="the link")
        wait_until(lambda: belfry.api().get("/health/ready").status_code == 200, BACK_SECONDS)
        wait_until(lambda: metric(belfry, "belfry_store_away") == 0, BACK_SECONDS, what="the canary to be heard")
        belfry.publish({"everyone": True, "data": 1})
        for stream in streams:
            stream.wait_for_messages(1, BACK_SECONDS)


def metric(belfry: Belfry, name: str) -> float | None:
    found = re.search(rf"^{name} (\S+)$", belfry.api().get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else None


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", [10, pytest.param(30, marks=pytest.mark.nightly)])
def test_a_long_silence_costs_time_only(start_site: StartSite, seconds: int) -> None:
    """Longer than the link believes in a silent server: it is given up, and made anew."""
    site = start_site(workers=2)
    with Traffic(site.belfry) as traffic:
        freeze(site, traffic, seconds)
        verdict = traffic.finish()
    assert verdict.kept, verdict
    assert verdict.resets == 0


@pytest.mark.alone  # measures how soon streams are current
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("streams", "restart"), [(5_000, False), (1_000, True)])
def test_when_redis_comes_back_all_streams_are_soon_current_each_on_its_own_log(streams: int, restart: bool) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < streams + OWN_DESCRIPTORS:
        absent(f"a limit of {streams + OWN_DESCRIPTORS} descriptors")
    figures = return_of_redis.measure(streams, restart=restart)
    print(figures)
    assert figures.ended == 0
    assert figures.all < patient(CURRENT_SECONDS[streams])
