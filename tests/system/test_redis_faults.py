"""What clients and publishers see while Redis drops connections, freezes or dies. `tests/faults` counts messages."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app.store.keys import Keys, user_log
from tests.faults.link_proxy import LinkProxy
from tests.servers import Belfry, RedisServer, frozen
from tests.stream_client import StreamClient
from tests.system.conftest import StartBelfry
from tests.waiting import patient, wait_until

ANSWER_SECONDS = 3.8  # the promise while Redis is away is three; two waits for it would take four
TRIES = 3
NOTICE_SECONDS = 40.0  # a silent beat of the canary, after the one that was answered last
BACK_SECONDS = 40.0
# The regular check would put everything right in the end: without it, each fault must be noticed for itself.
NO_TAIL_CHECK = {"BELFRY_TAIL_CHECK_SECONDS": "300"}


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return NO_TAIL_CHECK


def numbers(stream: StreamClient) -> list[int]:
    return [message["data"] for message in stream.messages]


def assert_refused(ask: Callable[[], requests.Response]) -> None:
    """Refused soon. One of some tries has to be quick enough: the machine has other work too."""
    taken: list[float] = []
    while not taken or min(taken) > patient(ANSWER_SECONDS):
        assert len(taken) < TRIES, taken
        answer = ask()
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) >= 1
        taken.append(answer.elapsed.total_seconds())


def publish_when_back(belfry: Belfry, message: Mapping[str, object]) -> requests.Response:
    """Publish again and again, as a good publisher does, until the answer is another one than 503."""

    def answered() -> requests.Response | None:
        answer = belfry.publisher.publish(message)
        return None if answer.status_code == 503 else answer

    answer = wait_until(answered, BACK_SECONDS, what="Redis to be back")
    assert answer is not None
    return answer


class TestTheSubscriberConnectionIsLost:
    def test_a_silent_loss_is_caught_up_without_another_message(
        self, belfry: Belfry, redis_server: RedisServer, alice: str
    ) -> None:
        """The last message before silence is the one that no gap can reveal."""
        with belfry.stream(alice) as stream, redis_server.client() as client:
            stream.wait_for("ready")
            for number in range(20):
                client.client_kill_filter(_type="pubsub")
                belfry.publish({"to": alice, "data": number})
                stream.wait_for_messages(number + 1)
            assert numbers(stream) == list(range(20))


def test_an_append_that_was_never_announced_is_found_by_the_regular_check(
    start_belfry: StartBelfry, own_redis: RedisServer, alice: str
) -> None:
    belfry = start_belfry(own_redis.url, BELFRY_TAIL_CHECK_SECONDS="0.5", BELFRY_REDIS_PREFIX="quiet")
    keys, name = Keys("quiet"), user_log(alice)
    with belfry.stream(alice) as stream, own_redis.client() as client:
        stream.wait_for("ready")
        belfry.publish({"to": alice, "data": 1})
        stream.wait_for_messages(1)
        client.xadd(keys.log(name), {"r": 'message {"id":"x","data":2}', "t": str(int(time.time()))}, id="2-0")
        client.hset(keys.meta(name), "top", "2")
        stream.wait_for_messages(2)
        belfry.publish({"to": alice, "data": 3})
        stream.wait_for_messages(3)
        assert numbers(stream) == [1, 2, 3]


def test_several_first_subscribers_of_one_log_all_become_live(belfry: Belfry, alice: str) -> None:
    together = threading.Barrier(16)

    def connect(user: str) -> StreamClient:
        together.wait(60)
        return belfry.stream(user)

    with ThreadPoolExecutor(together.parties) as pool:
        for attempt in range(10):
            user = f"{alice}-{attempt}"
            streams = list(pool.map(connect, [user] * together.parties))
            for stream in streams:
                stream.wait_for("ready")
            belfry.publish({"to": user, "data": attempt})
            for stream in streams:
                stream.wait_for_messages(1)
                assert numbers(stream) == [attempt]
                stream.close()


def test_a_message_whose_answer_was_lost_on_the_way_from_redis_is_none_that_was_sent_before(
    start_belfry: StartBelfry, own_redis: RedisServer, alice: str
) -> None:
    """The worker sends it again by itself: its publisher sent it once, and administrators find it."""
    with contextlib.closing(LinkProxy(own_redis.socket_path)) as proxy:
        belfry = start_belfry(proxy.url)
        belfry.publish({"to": "bob"})
        ids = [f"{alice}-{number}" for number in range(10)]
        for message_id in ids:
            proxy.lose_replies(1)
            answer = belfry.publisher.publish({"to": alice, "id": message_id})
            assert (answer.status_code, answer.json()["deliveries"][0]["duplicate"]) == (201, False)
            wait_until(lambda: proxy.replies_to_lose == 0, BACK_SECONDS)
        administrator = belfry.api(belfry.token("admin", "admin"))
        wait_until(lambda: set(ids) <= {each["id"] for each in administrator.get("/messages").json()["messages"]})
        counted = f"\nbelfry_messages_total {len(ids) + 1}.0\n"
        wait_until(lambda: counted in belfry.api().get("/metrics").text)


class TestRedisIsFrozen:
    def test_publishing_is_refused_soon_and_streams_stay_open(
        self, start_belfry: StartBelfry, own_redis: RedisServer, alice: str
    ) -> None:
        belfry = start_belfry(own_redis.url, BELFRY_HEARTBEAT_SECONDS="0.5", **NO_TAIL_CHECK)
        with belfry.stream(alice) as stream:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "data": 0})
            stream.wait_for_messages(1)
            with frozen(own_redis.pid):
                assert_refused(lambda: belfry.publisher.publish({"to": alice, "data": 1, "id": f"{alice}-1"}))
                assert_refused(lambda: belfry.reader(alice).get("/feed"))
                assert_refused(lambda: belfry.reader(f"{alice}-new").get("/stream"))
                for _ in range(2):
                    assert stream.next_event().event == "heartbeat"
            # The refused command may have waited in Redis' socket: the same id makes the retry safe either way.
            assert publish_when_back(belfry, {"to": alice, "data": 1, "id": f"{alice}-1"}).ok
            belfry.publish({"to": alice, "data": 2})
            stream.wait_for_messages(3, BACK_SECONDS)
            assert numbers(stream) == [0, 1, 2]

    def test_liveness_is_answered_while_readiness_is_not(
        self, start_belfry: StartBelfry, own_redis: RedisServer
    ) -> None:
        belfry = start_belfry(own_redis.url)
        with frozen(own_redis.pid):
            assert belfry.api().get("/health/live").status_code == 200
            wait_until(lambda: belfry.api().get("/health/ready").status_code == 503, NOTICE_SECONDS)
        wait_until(lambda: belfry.api().get("/health/ready").status_code == 200, BACK_SECONDS)


class TestRedisIsKilledAndComesBack:
    def test_every_stream_catches_up_without_reconnecting_and_nothing_acknowledged_is_lost(
        self, start_belfry: StartBelfry, own_redis: RedisServer, alice: str
    ) -> None:
        belfry = start_belfry(own_redis.url, **NO_TAIL_CHECK)
        streams = [belfry.stream(alice) for _ in range(10)]
        for stream in streams:
            stream.wait_for("ready")
        for number in range(20):
            belfry.publish({"to": alice, "data": number, "id": f"{alice}-{number}"})
        own_redis.kill()
        assert_refused(lambda: belfry.publisher.publish({"to": alice, "data": 20, "id": f"{alice}-20"}))
        own_redis.start()
        assert publish_when_back(belfry, {"to": alice, "data": 20, "id": f"{alice}-20"}).status_code == 201
        again = belfry.publisher.publish({"to": alice, "data": 19, "id": f"{alice}-19"})
        assert (again.status_code, again.json()["deliveries"][0]["duplicate"]) == (200, True)
        assert again.json()["deliveries"][0]["offset"] == 20
        for stream in streams:
            stream.wait_for_messages(21, BACK_SECONDS)
            assert numbers(stream) == list(range(21))
            assert "reset" not in {event.event for event in stream.events}
            stream.close()

    def test_a_store_that_lost_everything_is_told_by_a_reset(
        self, start_belfry: StartBelfry, own_redis: RedisServer, alice: str
    ) -> None:
        belfry = start_belfry(own_redis.url, **NO_TAIL_CHECK)
        with belfry.stream(alice) as stream, own_redis.client() as client:
            stream.wait_for("ready")
            belfry.publish({"to": alice, "data": 0})
            stream.wait_for_messages(1)
            client.flushall()
            belfry.publish({"to": alice, "data": 1})
            stream.wait_for("reset", BACK_SECONDS)
            belfry.publish({"to": alice, "data": 2})
            stream.wait_for(lambda event: '"data":2' in event.data, BACK_SECONDS)
            assert numbers(stream)[-1] == 2

    def test_requests_are_answered_while_it_is_away(
        self, start_belfry: StartBelfry, own_redis: RedisServer, alice: str
    ) -> None:
        belfry = start_belfry(own_redis.url)
        own_redis.kill()
        assert_refused(lambda: belfry.publisher.publish({"to": alice}))
        assert_refused(lambda: belfry.reader(alice).get("/feed"))
        assert_refused(lambda: belfry.reader(alice).get("/stream"))
