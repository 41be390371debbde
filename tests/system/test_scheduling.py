"""Scheduled messages on a real server with two workers: accepted, listed, changed, cancelled, delivered once."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.store.keys import TIMERS, Keys
from tests.servers import START_SECONDS, Belfry, RedisServer, frozen
from tests.waiting import patient, wait_until

REPOSITORY = Path(__file__).parents[2]
FAR = 3_600  # seconds; further away than any test lasts
REVOKED_SECONDS = (6, 40)  # in which two requests withdraw a credential; the second one is for a busy machine
DELIVERED_SECONDS = 80.0
LEASE_SECONDS = 60.0  # more than a lease, with room for a slow machine


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2", "BELFRY_MAX_SCHEDULED": "1500"}


@pytest.fixture(scope="module", autouse=True)
def _both_serve(belfry: Belfry) -> None:
    wait_until(belfry.all_serve, START_SECONDS, what="both workers to serve")


def bodies(belfry: Belfry, user: str) -> list[Any]:
    """What the user's feed holds, newest first."""
    with belfry.reader(user) as api:
        return [message["data"] for message in api.request("GET", "/feed?limit=100").json()["messages"]]


def schedule(belfry: Belfry, user: str, deliver_at: float | str, **more: Any) -> dict[str, Any]:
    message = {"to": user, "data": "later", "deliver_at": deliver_at, **more}
    answer = belfry.publisher.publish(message)
    assert answer.status_code == 202, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def test_a_message_comes_when_it_is_due_and_not_before(belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        receipt = schedule(belfry, alice, 1.5, ttl=60)
        due = datetime.fromisoformat(receipt["deliver_at"]).timestamp()
        early, looked = bodies(belfry, alice), time.time()
        assert early == [] or looked > due
        (message,) = stream.wait_for_messages(1, DELIVERED_SECONDS)
        assert time.time() >= due - 0.05
    assert message["id"] == receipt["id"]
    sent = datetime.fromisoformat(message["time"]).timestamp()
    assert sent >= due - 0.05
    expires = datetime.fromisoformat(message["expires_at"]).timestamp()
    assert abs(expires - sent - 60) < 0.01, "the ttl counts from delivery"
    path = f"/messages/{receipt['id']}"
    # The worker tells the store only after the message went out that the delivery is over.
    wait_until(lambda: belfry.publisher.request("GET", path).json().get("recipients") == 1, what="the end of it")
    assert belfry.publisher.request("DELETE", path).json()["retracted"] == [alice]
    assert bodies(belfry, alice) == []


def test_a_time_with_a_zone_is_taken(belfry: Belfry, alice: str) -> None:
    zone = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    text = zone.strftime("%Y-%m-%dT%H:%M:%S.%f") + "+01:00"
    schedule(belfry, alice, text)
    wait_until(lambda: bodies(belfry, alice) == ["later"], DELIVERED_SECONDS)


def test_a_time_that_has_passed_is_delivered_at_once(belfry: Belfry, alice: str) -> None:
    for number, moment in enumerate((0, "2020-01-01T00:00:00Z")):
        answer = belfry.publisher.publish({"to": alice, "data": number, "deliver_at": moment})
        assert answer.status_code == 201, answer.text
        assert answer.json()["deliveries"][0]["offset"] == number + 1
    assert bodies(belfry, alice) == [1, 0]


def test_the_same_id_again_is_a_duplicate_and_other_content_is_refused(belfry: Belfry, alice: str) -> None:
    first = schedule(belfry, alice, FAR, id=f"s-{alice}")
    again = belfry.publisher.publish({"to": alice, "data": "later", "deliver_at": FAR + 60, "id": f"s-{alice}"})
    assert (again.status_code, again.json()) == (200, {**first, "duplicate": True})
    other = belfry.publisher.publish({"to": alice, "data": "other", "deliver_at": FAR, "id": f"s-{alice}"})
    assert (other.status_code, other.json()["code"]) == (409, "id_reused")
    others = belfry.publisher.publish({"to": "bob", "data": "later", "deliver_at": FAR, "id": f"s-{alice}"})
    assert (others.status_code, others.json()["code"]) == (409, "id_reused")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"deliver_at": "2030-01-01T00:00:00"}, "time zone"),
        ({"deliver_at": "tomorrow"}, "expected a time"),
        ({"deliver_at": -1}, "0 or more"),
        ({"deliver_at": True}, "got bool"),
        ({"deliver_at": 31_536_001}, "31536000 seconds"),
        ({"deliver_at": "2999-01-01T00:00:00Z"}, "31536000 seconds"),
        ({"deliver_at": 60, "transient": True}, "transient"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_clearly(belfry: Belfry, message: dict[str, Any], told: str) -> None:
    answer = belfry.publisher.publish({"to": "alice", "data": 1, **message})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_deliver_at"), answer.text
    assert told in answer.json()["detail"]


def test_a_cancelled_message_never_comes(belfry: Belfry, alice: str) -> None:
    receipt = schedule(belfry, alice, FAR)
    path = f"/messages/{receipt['id']}"
    told = belfry.publisher.request("GET", path).json()
    assert (told["state"], told["deliver_at"], told["to"]) == ("scheduled", receipt["deliver_at"], [alice])
    assert belfry.publisher.request("DELETE", path).json() == {
        "id": receipt["id"],
        "retracted": [],
        "state": "cancelled",
    }
    assert belfry.publisher.request("GET", path).json()["state"] == "cancelled"
    changed = belfry.publisher.request("PATCH", f"/scheduled/{receipt['id']}", json={"deliver_at": 0})
    assert (changed.status_code, changed.json()["code"]) == (404, "not_found")


def test_a_message_can_be_moved_to_an_earlier_time(belfry: Belfry, alice: str) -> None:
    receipt = schedule(belfry, alice, FAR)
    changed = belfry.publisher.request("PATCH", f"/scheduled/{receipt['id']}", json={"deliver_at": 0})
    assert (changed.status_code, changed.json()["state"]) == (200, "scheduled"), changed.text
    wait_until(lambda: bodies(belfry, alice) == ["later"], DELIVERED_SECONDS)


def test_publishers_see_their_own_in_pages_and_administrators_all(belfry: Belfry, alice: str, bob: str) -> None:
    tokens = {name: belfry.token(name, "publish") for name in (alice, bob)}
    ids: list[str] = []
    for name in (alice, bob):
        with belfry.api(tokens[name]) as api:
            lines = [f'{{"to":"{alice}","title":"{at}","deliver_at":{FAR + 60 - at}}}' for at in range(5)]
            results = api.publish_lines(lines)
            assert [result["status"] for result in results] == [202] * 5
            ids += [result["id"] for result in results] if name == alice else []
    with belfry.api(tokens[alice]) as api:
        seen, path = [], "/scheduled?limit=2"
        for _ in range(3):
            page = api.request("GET", path).json()
            seen += [message["id"] for message in page["scheduled"]]
            path = f"/scheduled?limit=2&after={page['next']}"
        assert page["next"] is None
        assert seen == ids[::-1], "soonest first"
        refused = api.request("PATCH", f"/scheduled/{ids[0]}", json={"deliver_at": "noon"})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_deliver_at")
    with belfry.api(tokens[bob]) as api:
        assert api.request("PATCH", f"/scheduled/{ids[0]}", json={"deliver_at": FAR}).status_code == 404
    with belfry.api(belfry.token("root", "publish", "admin")) as api:
        everything = api.request("GET", "/scheduled?limit=100").json()["scheduled"]
        assert {alice, bob} <= {message["by"] for message in everything}


def test_one_publisher_schedules_only_so_many(belfry: Belfry, alice: str) -> None:
    with belfry.api(belfry.token(alice, "publish")) as api:
        results = api.publish_lines([f'{{"to":"{alice}","data":{at},"deliver_at":{FAR}}}' for at in range(1_501)])
    assert [result["status"] for result in results] == [202] * 1_500 + [429]
    assert results[-1]["code"] == "too_many_scheduled"


def test_a_message_of_a_withdrawn_credential_is_dropped(belfry: Belfry, alice: str) -> None:
    with belfry.api(belfry.token("root", "publish", "admin")) as admin:
        for seconds in REVOKED_SECONDS:
            user = f"{alice}-{seconds}"
            with belfry.api(belfry.token(user, "publish")) as api:
                id_ = api.publish({"to": user, "data": 1, "deliver_at": seconds}).json()["id"]
            assert admin.request("POST", "/admin/revocations", json={"user": user}).status_code == 200
            if admin.request("GET", f"/messages/{id_}").json().get("state") == "scheduled":
                break  # in time
        wait_until(lambda: admin.request("GET", f"/messages/{id_}").json()["state"] == "revoked", DELIVERED_SECONDS)
        dropped = [
            entry for entry in admin.request("GET", "/admin/audit").json()["entries"] if entry["message_id"] == id_
        ]
    assert [(entry["action"], entry["user"]) for entry in dropped] == [("drop", user)]


def test_a_thousand_messages_of_one_second_each_come_once(belfry: Belfry, topic: str) -> None:
    """All must be accepted before that second. A busy machine may need longer for that than the first round gives."""
    with belfry.stream("reader", topics=[topic]) as stream:
        stream.wait_for("ready")
        sent: list[str] = []
        for seconds in (4, 16, 64):
            due = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
            data = [f"{seconds}: {at}" for at in range(1_000)]
            lines = [f'{{"topic":"{topic}","data":"{each}","deliver_at":"{due}"}}' for each in data]
            with belfry.api(belfry.token(f"{topic}-{seconds}", "publish")) as api:
                results = api.publish_lines(lines)
            sent += data
            statuses = {result["status"] for result in results}
            assert statuses <= {201, 202}
            if statuses == {202}:
                break
        assert statuses == {202}
        received = stream.wait_for_messages(len(sent), 60)
        assert sorted(message["data"] for message in received) == sorted(sent)
        belfry.publish({"topic": topic, "data": "end"})
        stream.wait_for(lambda event: '"end"' in event.data, DELIVERED_SECONDS)
        assert len(stream.messages) == len(sent) + 1


DIES = """
import os, signal, sys, time
from app.core.due import Due
from app.core.settings import load
from app.factory import Live, Stored
from app.store.timers import timers
settings = load(os.environ)
store = Stored(settings, time.time)
deliverer = Live(store, settings, time.time).deliverer

def die(*_):
    print("dies", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "before":
    timers.LEASE_SECONDS = 600.0
    deliverer._publisher.post = die
else:
    timers.LEASE_SECONDS = 1.0
    store.timers.finish = die
job = store.timers.find(sys.argv[2]).job
assert store.timers.change(job, Due(0, relative=True), job.credential)[0] == "changed"
while True:
    deliverer.turn()
    time.sleep(0.02)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_killed_in_the_midst_of_a_delivery_repeats_and_loses_nothing(
    belfry: Belfry, redis_server: RedisServer, alice: str, moment: str
) -> None:
    """It dies before or after the publish. The other workers are stopped meanwhile: it is the one that claims.

    It makes the message due itself, so that no other worker claims the message before it is stopped. The lease is
    long where the test looks at what is refused meanwhile, and ends when the test has seen that.
    """
    id_ = schedule(belfry, alice, FAR, id=f"k-{secrets.token_hex(4)}")["id"]
    path = f"/messages/{id_}"
    with ExitStack() as stopped:
        for worker in belfry.workers():
            stopped.enter_context(frozen(worker))
        environment = {**belfry.settings_environment, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", DIES, moment, id_]
        died = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=patient(60), check=False
        )
        assert (died.returncode, died.stdout) == (-signal.SIGKILL, "dies\n"), died.stderr
    if moment == "before":
        assert belfry.publisher.request("GET", path).json()["state"] == "delivering"
        refused = belfry.publisher.request("DELETE", path)
        assert (refused.status_code, refused.json()["code"]) == (409, "delivery_under_way")
        end_lease(belfry, redis_server, id_)
    wait_until(lambda: not waiting(belfry), LEASE_SECONDS, what="another worker to finish the delivery")
    assert bodies(belfry, alice) == ["later"]


def end_lease(belfry: Belfry, redis_server: RedisServer, message_id: str) -> None:
    """Let another worker take the message now."""
    keys = Keys(belfry.settings_environment["BELFRY_REDIS_PREFIX"])
    with redis_server.client() as client:
        assert client.zadd(keys.timers_due, {message_id: 1}, xx=True, ch=True) == 1
        client.publish(keys.live(TIMERS), "0")


def waiting(belfry: Belfry) -> list[str]:
    """The messages that are being delivered."""
    listed = belfry.publisher.request("GET", "/scheduled?limit=100").json()["scheduled"]
    return [message["id"] for message in listed if message["state"] == "delivering"]
