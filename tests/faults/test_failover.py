"""The primary dies and a Sentinel puts its replica in its place: what was lost is told, and nothing else is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import redis
import requests

from tests.conftest import absent
from tests.encryption import Encrypted, engine
from tests.faults.deployments import Deployments
from tests.faults.records import Hearing, Outcome, Publication, Records
from tests.faults.site import QUICK
from tests.faults.traffic import Traffic
from tests.replication import Replicated, wait_replicated
from tests.servers import HOST, Api, Belfry, RedisServer
from tests.stream_client import StreamClient
from tests.upstream import running_upstream
from tests.waiting import patient, wait_until

MESSAGES = 30
FAILOVER_SECONDS = 60.0
# How long an operator stops writes for a switchover. The Sentinel can turn the former primary into a replica only after
# it, and until then a worker that sends no write notices nothing.
PAUSE_SECONDS = 30.0
SWITCHOVER_SECONDS = 15  # for every worker to compare offsets, on a busy machine
ANSWER_SECONDS = 3.8
WAIT_SECONDS = 0.5
WAIT_FOR_ONE = {"BELFRY_PUBLISH_WAIT_REPLICAS": "1", "BELFRY_PUBLISH_WAIT_SECONDS": str(WAIT_SECONDS)}
TOO_FEW = 4
PUBLISHERS = 20

pytestmark = pytest.mark.timeout(180)  # who waits patiently on a busy machine shall be able to say for what

Deploy = Callable[..., tuple[Replicated, Belfry]]


class ReplicatedDeployments(Deployments):
    """Each call starts a store of its own."""

    def __call__(self, replicas: int = 1, **environment: str) -> tuple[Replicated, Belfry]:
        store = Replicated(self.stack, replicas)
        return store, self.start(store, environment)


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    with ExitStack() as stack:
        yield ReplicatedDeployments(stack)


def test_what_the_replica_never_got_is_told_by_a_reset_and_all_the_rest_arrives(deploy: Deploy) -> None:
    store, belfry = deploy()
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        replicated = acknowledged(traffic.book.publications)
        wait_replicated(store.primary, store.replicas[0])
        with traffic.erasing():
            store.cut_off(store.replicas[0])
            traffic.run(MESSAGES)
            store.kill_primary()
        store.replicas[0].signal(signal.SIGCONT)
        traffic.run(MESSAGES, FAILOVER_SECONDS)
        assert store.sentinel.primary_port() == store.replicas[0].port
        verdict = traffic.finish()
        records = traffic.records()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert not verdict.untold
    assert not gone(records) & replicated
    assert gone(records), "nothing was lost"


def by_failover_command(store: Replicated) -> None:
    """`FAILOVER` waits for the replica by itself."""
    replica = store.replicas[0]
    with store.primary.client() as client:
        client.execute_command("FAILOVER", "TO", HOST, replica.port)
    wait_until(lambda: is_replica(store.primary), FAILOVER_SECONDS, what="the failover")
    store.sentinel.name(replica)


def by_the_sentinel(store: Replicated) -> None:
    """A Sentinel's failover waits for nothing, so the operator stops writes before."""
    with store.primary.client() as client:
        client.client_pause(int(PAUSE_SECONDS * 1_000), all=False)
        wait_replicated(store.primary, store.replicas[0])
    store.fail_over()
    wait_until(lambda: is_replica(store.primary), PAUSE_SECONDS + FAILOVER_SECONDS, what="the former primary")
    with store.primary.client() as client:
        client.client_unpause()


def is_replica(server: RedisServer) -> bool:
    """The Sentinel closes every connection to a former primary."""
    with contextlib.suppress(redis.ConnectionError), server.client() as client:
        return bool(client.info("replication")["role"] == "slave")
    return False


@pytest.mark.parametrize("switch_over", [by_failover_command, by_the_sentinel])
def test_a_planned_switchover_under_traffic_resets_nobody(
    deploy: Deploy, switch_over: Callable[[Replicated], None]
) -> None:
    store, belfry = deploy(BELFRY_SWITCHOVER_SECONDS=f"{SWITCHOVER_SECONDS}")
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        switch_over(store)
        switched = time.monotonic()
        traffic.run(MESSAGES, FAILOVER_SECONDS)
        # A worker that is missed would be told by now.
        told = switched + SWITCHOVER_SECONDS + 3
        traffic.wait(lambda: time.monotonic() > told, FAILOVER_SECONDS, what="the end of the wait for workers")
        traffic.run(MESSAGES)
        verdict = traffic.finish()
        records = traffic.records()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert not gone(records)
    assert verdict.resets == 0


def test_what_a_worker_had_acknowledged_that_died_just_before_a_switchover_counts_as_lost(deploy: Deploy) -> None:
    """Only that worker knew which offset the replica must have reached."""
    store, belfry = deploy(BELFRY_SWITCHOVER_SECONDS="15", WEB_CONCURRENCY="1")
    with belfry.stream("alice") as client:
        cursor = client.next_event().id
    belfry.publish({"to": "alice", "title": "1"})
    died = belfry.worker()
    os.kill(died, signal.SIGKILL)
    wait_until(lambda: belfry.workers() and belfry.workers() != [died] and belfry.all_serve(), FAILOVER_SECONDS)
    by_failover_command(store)
    with belfry.stream("alice", cursor=cursor) as client:
        client.wait_for("reset", FAILOVER_SECONDS)


def acknowledged(publications: Iterable[Publication]) -> set[str]:
    """Their marks."""
    return {each.mark for each in publications if each.outcome is Outcome.ACKNOWLEDGED}


def gone(records: Records) -> set[str]:
    """The marks of the acknowledged messages that the feed of somebody lacks to whom they went."""
    known = acknowledged(records.publications)
    went = [(each, hearing) for each in records.publications for hearing in records.hearings if each.mark in known]
    return {each.mark for each, hearing in went if hears(hearing, each) and each.mark not in hearing.feed}


def hears(hearing: Hearing, publication: Publication) -> bool:
    return not set(hearing.logs).isdisjoint(publication.logs)


def test_a_service_that_is_reached_by_tls_is_followed_and_by_any_of_its_sentinels() -> None:
    if engine() is None:
        absent("a Redis or Valkey with TLS")
    with ExitStack() as stack:
        store = Encrypted(stack)
        belfry = Belfry(store.url, {**QUICK, "WEB_CONCURRENCY": "2"})
        stack.callback(belfry.destroy)
        with Traffic(belfry.start()) as traffic:
            traffic.run(MESSAGES)
            with traffic.erasing():
                store.kill_primary()
            traffic.run(MESSAGES, FAILOVER_SECONDS)
            store.wait_until_both_know(store.replicas[0])
            store.sentinel.kill()
            with store.replicas[0].client() as client:
                client.client_kill_filter(_type="pubsub")
                client.client_kill_filter(_type="normal", skipme=True)
            traffic.run(MESSAGES, FAILOVER_SECONDS)
            verdict = traffic.finish()
            records = traffic.records()
    assert verdict.kept, verdict
    assert not (gone(records) and verdict.untold)


def test_with_a_replica_waited_for_nothing_acknowledged_is_lost(deploy: Deploy) -> None:
    store, belfry = deploy(replicas=2, **WAIT_FOR_ONE)
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        store.cut_off(store.replicas[0])
        traffic.run(MESSAGES)
        with traffic.erasing():  # of what is refused now: it is heard, and comes again when it is repeated later
            store.feed_none()
            refused = traffic.book.refusals["not_replicated"]
            traffic.wait(
                lambda: traffic.book.refusals["not_replicated"] >= refused + TOO_FEW,
                FAILOVER_SECONDS,
                what="publishes to be refused",
            )
            store.kill_primary()
        store.replicas[0].signal(signal.SIGCONT)
        traffic.run(MESSAGES, FAILOVER_SECONDS)
        verdict = traffic.finish()
        records = traffic.records()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert not gone(records), "whether it was heard before or not"
    assert not verdict.untold


def test_a_primary_that_was_replaced_without_knowing_it_is_left(deploy: Deploy) -> None:
    """It can't be reached by the Sentinel, only by Belfry, and goes on answering: what it takes now is lost."""
    store, belfry = deploy()
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        with traffic.erasing():
            store.replace_behind_its_back()
            traffic.wait(lambda: store.clients(store.primary) == 0, FAILOVER_SECONDS, what="Belfry to leave")
        traffic.run(MESSAGES)
        verdict = traffic.finish()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert not verdict.untold


def test_a_run_whose_tokens_were_lost_fails_and_says_so(deploy: Deploy) -> None:
    with running_upstream() as upstream:
        store, belfry = deploy(BELFRY_UPSTREAM_URL=upstream.url, WEB_CONCURRENCY="1")
        token = belfry.token("alice", "complete")
        with belfry.api(token) as api:
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            run_id = api.post("/completions", json=body).json()["id"]
            conversation = upstream.next()
            conversation.begin()
            conversation.say("kept ")
            with StreamClient(
                belfry.port, f"/completions/{run_id}/stream", {"Authorization": f"Bearer {token}"}
            ) as watching:
                watching.wait_for_messages(1)
                wait_replicated(store.primary, store.replicas[0])
                store.cut_off(store.replicas[0])
                conversation.say("lost ")
                watching.wait_for_messages(2)
                store.kill_primary()
                store.replicas[0].signal(signal.SIGCONT)
                store.wait_for_failover()
                conversation.say("too late ")
                watching.wait_for("reset", FAILOVER_SECONDS)
            state = wait_until(lambda: ended(api, run_id), FAILOVER_SECONDS, what="the run to end")
    assert (state["status"], state["text"], state["error"]["code"]) == ("failed", "kept ", "answer_lost")


def ended(api: Api, run_id: str) -> dict[str, Any] | None:
    answer = api.get(f"/completions/{run_id}")
    state: dict[str, Any] = answer.json()
    return state if answer.ok and state["status"] != "running" else None


def test_a_worker_without_a_stream_leaves_it_too(deploy: Deploy) -> None:
    store, belfry = deploy(WEB_CONCURRENCY="1")
    belfry.publish({"to": "alice"})
    assert store.clients(store.primary)
    store.replace_behind_its_back()
    wait_until(lambda: not store.clients(store.primary), FAILOVER_SECONDS, what="Belfry to leave")
    wait_accepted(belfry, {"to": "alice", "id": "afterwards"})
    assert store.clients(store.replicas[0])


def wait_accepted(belfry: Belfry, message: Mapping[str, Any]) -> requests.Response:
    """Publish a message with an id until it is accepted: a busy machine may let its replica or its store be late."""

    def accepted() -> requests.Response | None:
        answer = belfry.publisher.publish(message)
        return answer if answer.ok else None

    found = wait_until(accepted, FAILOVER_SECONDS, what="a publish to be accepted")
    assert found is not None
    return found


@pytest.mark.alone  # measures how long publishers and readers wait
class TestWaitingForReplicas:
    def test_a_message_that_is_on_too_few_is_refused_and_a_duplicate_once_it_is_on_enough(self, deploy: Deploy) -> None:
        store, belfry = deploy(**WAIT_FOR_ONE)
        message = {"to": "alice", "id": "order-1", "data": 1}
        with belfry.stream("alice") as stream:
            stream.wait_for("ready")
            store.replicas[0].signal(signal.SIGSTOP)
            refused = belfry.publisher.publish(message)
            again = belfry.publisher.publish(message)
            store.replicas[0].signal(signal.SIGCONT)
            for answer in (refused, again):
                assert (answer.status_code, answer.json()["code"]) == (503, "not_replicated")
                assert (answer.json()["id"], answer.headers["Retry-After"]) == ("order-1", "2")
                assert answer.elapsed.total_seconds() < patient(ANSWER_SECONDS)
            accepted = wait_accepted(belfry, message)
            assert (accepted.status_code, accepted.json()["deliveries"][0]["duplicate"]) == (200, True)
            wait_accepted(belfry, {"to": "alice", "id": "order-2", "data": 2})
            stream.wait_for_messages(2)
            assert [each["data"] for each in stream.messages] == [1, 2]

    def test_many_who_wait_wait_together(self, deploy: Deploy) -> None:
        store, belfry = deploy(WEB_CONCURRENCY="1", **WAIT_FOR_ONE)
        token = belfry.token("publisher", "publish")

        def publish(number: int) -> int:
            with belfry.api(token) as api:
                return api.publish({"to": "alice", "data": number}).status_code

        store.replicas[0].signal(signal.SIGSTOP)
        began = time.monotonic()
        with ThreadPoolExecutor(PUBLISHERS) as pool:
            answers = set(pool.map(publish, range(PUBLISHERS)))
        assert answers == {503}
        assert time.monotonic() - began < patient(PUBLISHERS * WAIT_SECONDS / 2)

    def test_readers_do_not_wait_with_them(self, deploy: Deploy) -> None:
        store, belfry = deploy(WEB_CONCURRENCY="1", **WAIT_FOR_ONE)
        token = belfry.token("publisher", "publish")
        store.replicas[0].signal(signal.SIGSTOP)
        stop = threading.Event()

        def publish(number: int) -> None:
            with belfry.api(token) as api:
                while not stop.is_set():
                    api.publish({"to": "alice", "data": number})

        with ThreadPoolExecutor(PUBLISHERS) as pool, belfry.reader("alice") as api:
            for number in range(PUBLISHERS):
                pool.submit(publish, number)
            took = [api.get("/feed").elapsed.total_seconds() for _ in range(20)]
            stop.set()
        assert sorted(took)[10] < patient(WAIT_SECONDS / 2)
