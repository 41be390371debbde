"""The loop that delivers: what it publishes, drops, tries again, and when it looks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import gevent
import pytest
import redis
from gevent.event import Event

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.core.message import Message, parse
from app.core.settings import Settings
from app.live.timers.deliverer import LOOK_SECONDS, RETRY_SECONDS, Deliverer
from app.store.insight.audit import Audit
from app.store.logs import log
from app.store.logs.log import LogStore
from app.store.logs.publisher import Posted, Published, Publisher
from app.store.logs.recipients import Recipients
from app.store.timers import timers as timers_module
from app.store.timers.timers import LEASE_SECONDS, Timers
from app.transport.connection import Connection, SilentError
from tests.servers import RedisServer
from tests.waiting import wait_until

ANN = Claims("ann", frozenset(), (), None, 9e9, "t", 1.0)


class Watch:
    """Knows who was withdrawn."""

    def __init__(self) -> None:
        self.withdrawn: set[str] = set()

    def covers(self, claims: Claims) -> bool:
        return claims.user in self.withdrawn

    def reason(self, claims: Claims) -> str:
        return f"{claims.user} was withdrawn"


class Post:
    """A publisher that fails as told, for messages with these ids."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.fails: dict[str, BelfryError] = {}
        self.calls: list[list[str]] = []

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        return self.post(messages)()

    def post(self, messages: Sequence[Message]) -> Posted:
        self.calls.append([message.id for message in messages])
        for message in messages:
            if message.id in self.fails:
                raise self.fails[message.id]
        return self._publisher.post(messages)


class Site:
    """A store on the real server, and one worker's deliverer, whose time is `time`."""

    def __init__(self, client: redis.Redis) -> None:
        settings = Settings(redis_url="redis://unused.invalid")
        scripts = [*log.SCRIPTS, *timers_module.SCRIPTS]
        connection = Connection(client, scripts)
        self.client = client
        self.logs = LogStore(connection, settings)
        self.timers = Timers(connection, settings)
        self.audit = Audit(connection, settings)
        self.post = Post(Publisher(self.logs, Recipients(self.logs, connection, settings)))
        self.watch = Watch()
        self.noted: list[str] = []
        self.time = 1_000.0
        self.deliverer = Deliverer(
            self.timers,
            self.post,
            self.watch,  # type: ignore[arg-type]  # a watch that reads no store
            self.audit,
            lambda noted: self.noted.append(f"{noted[0]} {noted[1].message.id}"),
            lambda: 1_700_000_000.0,
            lambda: self.time,
        )

    def schedule(self, *names: str, due: bool = True, **more: object) -> None:
        for name in names:
            text = json.dumps({"to": "alice", "id": name, "deliver_at": 600, **more}).encode()
            self.timers.schedule([parse(text, now=1.0, new_id="", max_recipients=9)], ANN)
            if due:
                self.make_due(name)

    def make_due(self, name: str) -> None:
        self.client.zadd("belfry:{timers}:due", {name: 1}, xx=True)

    def feed(self) -> list[str]:
        (page,) = self.logs.read_back([("user:alice", ())], 99)
        return [json.loads(entry.record.partition(b" ")[2])["id"] for entry in page.entries][::-1]

    def state(self, name: str) -> str:
        known = self.timers.find(name)
        return known.state if known else ""

    @property
    def looks_in(self) -> float:
        return self.deliverer._next - self.time


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[Site]:
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        client.flushall()
        yield Site(client)


def test_what_is_due_is_published_and_noted_once(site: Site) -> None:
    site.schedule("a", "b")
    site.schedule("later", due=False)
    site.deliverer.turn()
    site.deliverer.turn()
    assert site.feed() == ["a", "b"]
    assert site.noted == ["ann a", "ann b"]
    assert [site.state(name) for name in ("a", "b", "later")] == ["delivered", "delivered", "scheduled"]
    assert site.post.calls == [["a", "b"]]


def test_a_repeated_claim_repeats_nothing(site: Site) -> None:
    """Another worker published it, and died before it could tell."""
    site.schedule("a")
    (job,) = site.timers.claim().jobs
    site.post.publish([parse(job.text, now=1.0, new_id="", max_recipients=1)])
    site.make_due("a")
    site.deliverer.turn()
    assert (site.feed(), site.noted, site.state("a")) == (["a"], [], "delivered")


def test_a_message_of_a_withdrawn_credential_is_dropped(site: Site) -> None:
    site.schedule("a")
    site.watch.withdrawn.add("ann")
    site.deliverer.turn()
    assert (site.feed(), site.state("a")) == ([], "revoked")
    assert [(entry.action, entry.user, entry.message_id) for entry in site.audit.newest(9)] == [("drop", "ann", "a")]


def test_an_id_with_other_content_by_now_is_refused(site: Site) -> None:
    site.schedule("a")
    site.post.publish([parse(b'{"to":"alice","id":"a","title":"other"}', now=1.0, new_id="", max_recipients=1)])
    site.deliverer.turn()
    assert (site.feed(), site.state("a")) == (["a"], "refused")


def test_one_message_that_fails_keeps_no_other_back(site: Site) -> None:
    site.schedule("a", "bad", "c")
    site.post.fails["bad"] = BelfryError("store_full")
    with pytest.raises(BelfryError):
        site.deliverer.turn()
    assert site.looks_in == RETRY_SECONDS
    with pytest.raises(BelfryError):
        site.deliverer.turn()
    assert sorted(site.feed()) == ["a", "c"]
    site.post.fails.clear()
    site.deliverer.turn()
    assert sorted(site.feed()) == ["a", "bad", "c"]


def test_a_silent_store_is_tried_again_with_the_same_claim(site: Site) -> None:
    site.schedule("a", "b")
    site.post.fails["a"] = SilentError("store_unavailable")
    with pytest.raises(SilentError):
        site.deliverer.turn()
    site.post.fails.clear()
    site.deliverer.turn()
    assert site.feed() == ["a", "b"]


def test_a_claim_is_dropped_when_its_lease_has_ended(site: Site) -> None:
    """This worker was frozen: by then another one may have delivered it, long ago."""
    site.schedule("a")
    site.post.fails["a"] = SilentError("store_unavailable")
    with pytest.raises(SilentError):
        site.deliverer.turn()
    site.post.fails.clear()
    site.time += LEASE_SECONDS + 1
    site.deliverer.turn()
    assert (site.feed(), site.post.calls) == ([], [["a"]])
    site.make_due("a")
    site.deliverer.turn()
    assert site.feed() == ["a"]


def test_a_worker_looks_when_the_next_message_is_due_or_it_is_told_of_an_earlier_one(site: Site) -> None:
    assert site.looks_in == LOOK_SECONDS
    site.deliverer.heard(b"90000")
    assert site.looks_in == LOOK_SECONDS
    site.deliverer.heard(b"5000")
    site.deliverer.heard(b"7000")
    assert site.looks_in == 5
    site.deliverer.heard(b"")
    assert site.looks_in == 0
    site.deliverer.turn()
    assert site.looks_in == LOOK_SECONDS, "nothing is scheduled"


def test_a_stopped_worker_finishes_what_it_claimed_and_claims_nothing_more(site: Site) -> None:
    started, go_on = Event(), Event()
    post = site.post.post

    def slow(messages: Sequence[Message]) -> Posted:
        started.set()
        go_on.wait(60)
        return post(messages)

    site.post.post = slow  # type: ignore[method-assign]  # the moment in which the worker is stopped
    site.schedule("a")
    site.deliverer.heard(b"")
    site.deliverer.start()
    assert started.wait(60)
    stopping = gevent.spawn(site.deliverer.stop)
    gevent.sleep(0)
    go_on.set()
    stopping.get(timeout=60)
    wait_until(lambda: site.state("a") == "delivered")
    site.schedule("b")
    site.deliverer.turn()
    assert site.state("b") == "scheduled"
