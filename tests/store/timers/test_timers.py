"""Scheduled messages in the store: accepted once, claimed under a lease, changed and cancelled until then."""

from __future__ import annotations

import json
import time

import pytest
import redis

from app.core.due import Due
from app.core.identity.tokens import Claims
from app.core.message import Message, parse
from app.core.settings import Settings
from app.store.keys import TIMERS
from app.store.timers.timers import CLAIM_JOBS, LEASE_SECONDS, LIST_BYTES, Timers
from app.transport.connection import Connection

ANN = Claims("ann", frozenset({"publish"}), (), None, 9e9, "t1", 5.0, session="s")
YEAR_SECONDS = 31_536_000
FAR_MS = int(time.time() + 86_400) * 1_000


@pytest.fixture
def timers(connection: Connection, settings: Settings) -> Timers:
    return Timers(connection, settings.model_copy(update={"max_scheduled": 3}))


def made(name: str, seconds: float = 60, **more: object) -> Message:
    text = json.dumps({"to": "alice", "id": name, "deliver_at": seconds, **more})
    return parse(text.encode(), now=1.0, new_id="", max_recipients=9)


def what(timers: Timers, *messages: Message) -> list[str]:
    return [receipt.what for receipt in timers.schedule(messages, ANN)]


def make_due(client: redis.Redis, *names: str) -> None:
    """Their time has come, or their lease has ended."""
    for name in names:
        client.zadd("belfry:{timers}:due", {name: 1}, xx=True)


def test_a_message_is_kept_as_it_was_sent(timers: Timers) -> None:
    message = made("a", title="t", ttl=9)
    (receipt,) = timers.schedule([message], ANN)
    assert (receipt.what, receipt.state) == ("scheduled", "scheduled")
    known = timers.find("a")
    assert known is not None
    assert known.job is not None
    job = known.job
    assert (job.id, job.due_ms, job.by, job.recipients, job.text) == ("a", receipt.due_ms, "ann", 1, message.text)
    credential = job.credential
    assert (credential.user, credential.token_id, credential.issued_at, credential.session) == ("ann", "t1", 5.0, "")
    assert timers.find("b") is None


def test_an_id_is_taken_once(timers: Timers) -> None:
    assert what(timers, made("a"), made("a", 61)) == ["scheduled", "scheduled"], "one call is one request"
    assert what(timers, made("a", 61)) == ["duplicate"]
    assert what(timers, made("a", title="other")) == ["reused"]
    assert what(timers, made("a", to=["alice", "bob"])) == ["reused"]


@pytest.mark.parametrize("client", ["server"], indirect=True)  # fakeredis does not count changes
def test_a_repetition_writes_too(timers: Timers, client: redis.Redis) -> None:
    """WAIT counts from the last write of a connection, and the repetition may come on another one."""

    def changes() -> int:
        return int(client.info("persistence")["rdb_changes_since_last_save"])

    what(timers, made("a"))
    before = changes()
    assert what(timers, made("a")) == ["duplicate"]
    assert changes() > before
    known = timers.find("a")
    assert known
    assert known.job
    for state in ("scheduled", "cancelled"):
        before = changes()
        assert timers.cancel(known.job) == state
        assert changes() > before
    before, ttl = changes(), client.pttl("belfry:{timers}:done:a")
    assert what(timers, made("a")) == ["duplicate"]
    assert changes() > before
    assert client.pttl("belfry:{timers}:done:a") <= ttl, "it is not remembered for longer"


def test_what_is_due_already_or_too_far_is_not_kept(timers: Timers, client: redis.Redis) -> None:
    far = made("c")._replace(due=Due(YEAR_SECONDS * 1_000 + 1, relative=True))
    assert what(timers, made("a", 0), made("b")._replace(due=Due(1)), far) == ["now", "now", "far"]
    assert client.keys("*") == []


def test_a_publisher_has_only_so_many(timers: Timers, client: redis.Redis) -> None:
    assert what(timers, *map(made, "abcd")) == ["scheduled"] * 3 + ["many"]
    make_due(client, "a")
    timers.finish([(job, "delivered") for job in timers.claim().jobs])
    assert what(timers, made("d")) == ["scheduled"]


def test_a_revocation_is_remembered_until_every_delivery(connection: Connection, settings: Settings) -> None:
    short = Timers(connection, settings.model_copy(update={"revocation_seconds": 3_600}))
    assert what(short, made("a", 3_599), made("b", 3_602)) == ["scheduled", "far"]


def test_one_claim_has_a_job_until_its_lease_ends(timers: Timers, client: redis.Redis) -> None:
    what(timers, made("a"), made("b"))
    nothing = timers.claim()
    assert nothing.jobs == []
    assert nothing.next_seconds is not None
    assert 50 < nothing.next_seconds <= 60
    make_due(client, "a")
    first = timers.claim()
    assert [(job.id, job.state) for job in first.jobs] == [("a", "delivering")]
    assert first.next_seconds is not None
    assert 0 < first.next_seconds <= LEASE_SECONDS
    assert timers.claim().jobs == []
    make_due(client, "a")
    second = timers.claim()
    assert [job.id for job in second.jobs] == ["a"]
    timers.finish([(first.jobs[0], "refused")])
    known = timers.find("a")
    assert known is not None
    assert known.state == "delivering", "the first claim has it no more"
    timers.finish([(second.jobs[0], "delivered")])
    known = timers.find("a")
    assert known is not None
    assert (known.state, known.job) == ("delivered", None)
    assert what(timers, made("a")) == ["duplicate"]
    assert timers.claim().jobs == []


def test_a_claim_is_bounded(connection: Connection, settings: Settings, client: redis.Redis) -> None:
    timers = Timers(connection, settings)
    names = [f"m{number:03d}" for number in range(CLAIM_JOBS + 1)]
    what(timers, *map(made, names))
    make_due(client, *names)
    claim = timers.claim()
    assert [job.id for job in claim.jobs] == names[:-1]
    assert claim.next_seconds == 0


def test_without_anything_there_is_no_next(timers: Timers) -> None:
    assert timers.claim() == ([], None)


def test_what_is_cancelled_is_never_claimed(timers: Timers, client: redis.Redis) -> None:
    what(timers, made("a"))
    known = timers.find("a")
    assert known is not None
    assert known.job is not None
    assert [timers.cancel(known.job), timers.cancel(known.job)] == ["scheduled", "cancelled"]
    assert timers.claim() == ([], None)
    (receipt,) = timers.schedule([made("a")], ANN)
    assert (receipt.what, receipt.state) == ("duplicate", "cancelled")
    assert timers.change(known.job, Due(0, relative=True), ANN)[0] == "unknown"
    assert client.keys("*") == [b"belfry:{timers}:done:a"]
    assert 0 < client.ttl("belfry:{timers}:done:a") <= 600


def test_what_is_claimed_can_be_neither_cancelled_nor_changed(timers: Timers, client: redis.Redis) -> None:
    what(timers, made("a"))
    make_due(client, "a")
    (job,) = timers.claim().jobs
    assert timers.cancel(job) == "delivering"
    assert timers.change(job, Due(60_000, relative=True), ANN)[0] == "delivering"
    make_due(client, "a")
    assert timers.cancel(job) == "delivering", "it may have been published"


def test_a_changed_message_has_its_new_time_and_who_changed_it(timers: Timers) -> None:
    what(timers, made("a"))
    known = timers.find("a")
    assert known is not None
    assert known.job is not None
    root = Claims("root", frozenset(), (), None, 9e9, "t2", 6.0)
    assert timers.change(known.job, Due(YEAR_SECONDS * 1_001, relative=True), root)[0] == "far"
    assert timers.change(known.job, Due(1), root)[0] == "changed"
    (job,) = timers.claim().jobs
    assert (job.id, job.by, job.credential.user, job.text) == ("a", "ann", "root", known.job.text)


def test_pages_hold_each_message_once_soonest_first(connection: Connection, settings: Settings) -> None:
    timers = Timers(connection, settings)
    names = [f"m{number}" for number in range(7)]
    for number, name in enumerate(names):
        timers.schedule([made(name, 1_000 + (min(4, number)))], ANN)
    seen: list[str] = []
    place = None
    while True:
        jobs, place = timers.page(2, place, "ann")
        seen += [job.id for job in jobs]
        if place is None:
            break
    assert seen == names
    assert [job.id for job in timers.page(100, None, None)[0]] == names
    assert timers.page(100, None, "bob") == ([], None)


def test_a_page_goes_on_where_the_last_message_of_the_former_one_is_gone(timers: Timers) -> None:
    what(timers, made("a", 60), made("b", 61), made("c", 62))
    jobs, place = timers.page(2, None, "ann")
    timers.cancel(jobs[1])
    assert [job.id for job in timers.page(2, place, "ann")[0]] == ["c"]


def test_a_page_ends_after_so_many_bytes_and_the_next_one_goes_on(connection: Connection, settings: Settings) -> None:
    """To read 100 of the longest messages in one piece would hold the worker up."""
    timers = Timers(connection, settings)
    body = "x" * (LIST_BYTES // 2)
    messages = [made(name, at, body=body) for at, name in enumerate("abcde", 1)]
    assert what(timers, *messages) == ["scheduled"] * 5
    pages: list[list[str]] = []
    place = None
    while not pages or place is not None:
        jobs, place = timers.page(100, place, "ann")
        pages.append([job.id for job in jobs])
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [name for page in pages for name in page] == list("abcde")


def test_workers_are_told_only_of_what_becomes_the_first(timers: Timers, client: redis.Redis) -> None:
    heard = client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(f"belfry:{{{TIMERS}}}:live")
    heard.get_message(timeout=60)
    what(timers, made("a", 60))
    what(timers, made("b", 70))
    what(timers, made("c", 50))
    told = []
    while (push := heard.get_message(timeout=0.5)) is not None:
        told.append(round(int(push["data"]) / 1_000))
    assert told == [60, 50]
    heard.close()
