"""Sending pushes: what reaches a device, and what becomes of a push that a push service does not take."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, NoReturn

import gevent
import pytest
import redis
from gevent.event import Event
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.core.errors import BelfryError
from app.core.identity.tokens import Claims
from app.core.log.change import Change
from app.core.log.marks import Mark
from app.core.message import Message, parse
from app.core.push.endpoint import parse as parse_endpoint
from app.core.push.vapid import VapidKey
from app.core.settings import Settings
from app.launch.demo import new_push_key
from app.live.insight.recorder import Flights
from app.live.push.push_services import (
    IDLE_SECONDS,
    NoAddressError,
    PushAnswer,
    PushServices,
    _Service,
)
from app.live.push.pusher import APPEND_SECONDS, CLOCKS_SECONDS, Outcome, Pusher, outcome_of
from app.store.insight import directory, flights
from app.store.insight.flights import FlightStore
from app.store.insight.presence import PresenceStore
from app.store.logs import log
from app.store.logs.log import LogStore
from app.store.logs.publisher import Publisher
from app.store.logs.read_state import ReadState
from app.store.logs.recipients import Recipients
from app.store.push import pushes as pushes_module
from app.store.push import subscriptions as subscriptions_module
from app.store.push.pushes import ADD, ClaimedPushes, Pushes
from app.store.push.subscriptions import Subscriptions
from app.store.timers import timers
from app.transport.connection import Command, Connection
from tests.examples import examples
from tests.push_service import RESET, Browser, PushService, push_service
from tests.servers import RedisServer

START = 1_800_000_000.0
DUE = "belfry:{pushes}:due"


class Watch:
    """Knows who was withdrawn."""

    def __init__(self) -> None:
        self.withdrawn: set[str] = set()

    def covers(self, claims: Claims) -> bool:
        return claims.user in self.withdrawn


class Halting:
    """Runs commands, and stops once in the middle of a round trip. Something else happens then, or the caller dies."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.halts: list[tuple[int, Callable[[], object], bool]] = []
        self.refuses_pushes = False  # as if the shard of the pushes were away

    def halt(self, at: int, meanwhile: Callable[[], object], *, dies: bool = False) -> None:
        """Stop the next round trip after `at` of its commands."""
        self.halts = [(at, meanwhile, dies)]

    def run(self, commands: Sequence[Command]) -> list[Any]:
        if not self.halts:
            return self._connection.run(commands)
        at, meanwhile, dies = self.halts.pop()
        replies = self._run(commands[:at])
        meanwhile()
        if dies:
            raise BelfryError("store_unavailable")
        return replies + self._run(commands[at:])

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        kept = [each for each in commands if not (self.refuses_pushes and ADD.sha in each)]
        replies = self._connection.run(kept) if kept else []
        if len(kept) < len(commands):
            raise BelfryError("store_unavailable")
        return replies


class Site:
    """A store on the real server, one worker's pusher with a clock of its own, and a push service."""

    def __init__(self, client: redis.Redis, service: PushService, **changed: Any) -> None:
        self.settings = Settings(
            redis_url="redis://unused.invalid",
            push_private_key=new_push_key(),
            push_networks="127.0.0.0/8",
            push_delay_seconds=0,
            **changed,
        )
        modules = (log, timers, directory, flights, subscriptions_module, pushes_module)
        connection = Connection(client, [script for module in modules for script in module.SCRIPTS])
        self.client, self.service, self.connection = client, service, connection
        self.time = START
        self.key = "key"  # that signed the tokens of users
        self.reads = Halting(connection)
        self.logs = LogStore(self.reads, self.settings)
        self.pushes = Pushes(connection, self.settings, lambda: self.time)
        self.subscriptions = Subscriptions(connection, self.settings)
        self.publisher = Publisher(self.logs, Recipients(self.logs, connection, self.settings), self.pushes.add)
        self.read_state = ReadState(self.logs, connection, self.settings)
        self.flight_store = FlightStore(connection, self.settings)
        self.flights = Flights(self.flight_store, lambda: self.time)
        self.watch = Watch()
        self.browser = Browser()
        self.pusher = Pusher(
            self.pushes,
            self.subscriptions,
            self.logs,
            PresenceStore(connection, self.settings),
            self.watch,  # type: ignore[arg-type]  # a watch that reads no store
            self.flights,
            self.settings,
            lambda: self.time,
        )

    def subscribe(self, name: str = "phone", user: str = "alice") -> None:
        given = self.browser.subscription(self.service.endpoint(name))
        keys = given["keys"]["p256dh"], given["keys"]["auth"]
        claims = Claims(user, frozenset({"feed"}), (), None, 9e9, "t", 1.0, key=self.key)
        self.subscriptions.add(given["endpoint"], keys, claims, self.time, 3_600)

    def message(self, name: str = "m", **fields: Any) -> Message:
        text = json.dumps({"to": "alice", "id": name, "title": "hi", "push": True, **fields}).encode()
        return parse(text, now=self.time, new_id="", max_recipients=9)

    def publish(self, name: str = "m", **fields: Any) -> None:
        self.publisher.publish([self.message(name, **fields)])

    def turn(self) -> None:
        """One claim of what is due or comes later, until all of it is done."""
        (jobs,) = self.connection.run([("ZRANGE", DUE, 0, -1)])
        for job in jobs:
            self.client.zadd(DUE, {job: 1})
        self.pusher.turn()
        self.pusher._jobs.join()

    def waiting(self) -> list[str]:
        """`<message id>/<user>` of each job."""
        jobs: list[bytes] = self.connection.run([("HKEYS", "belfry:{pushes}:jobs")])[0]
        return ["/".join(job.decode().split("/")[::2]) for job in jobs]

    def devices(self) -> list[str]:
        return [device.endpoint.rpartition("/")[2] for device in self.subscriptions.of_user("alice")]

    def fill_places(self) -> None:
        """Take all places of the push service, as slow requests do."""
        services = self.pusher._services
        self.places = services._services.setdefault(self.service.url, _Service(self.settings.push_concurrency)).places
        while self.places.acquire(blocking=False):
            pass

    def pause_seconds(self) -> float:
        """In how long the only job is taken again."""
        (seconds, _), (_, at) = self.connection.run([("TIME",), ("ZRANGE", DUE, 0, 0, "WITHSCORES")])
        return float(at) / 1_000 - float(seconds)


@pytest.fixture
def service() -> Iterator[PushService]:
    with push_service() as running:
        yield running


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, protocol=2) as real:
        real.flushall()
        yield real


@pytest.fixture
def site(client: redis.Redis, service: PushService) -> Iterator[Site]:
    site = Site(client, service)
    yield site
    site.pusher.stop()
    site.flights.stop()


def test_every_device_gets_the_message_encrypted_and_signed(site: Site) -> None:
    site.subscribe("phone")
    site.subscribe("laptop")
    site.publish(body="there", level="error", key="k", url="/x", ttl=100)
    site.turn()
    (push,) = site.service.at("phone")
    (other,) = site.service.at("laptop")
    assert push.body != other.body
    told = site.browser.read(push)
    assert told == site.browser.read(other)
    assert {name: told[name] for name in ("id", "user", "title", "body", "url", "tag", "level")} == {
        "id": "m", "user": "alice", "title": "hi", "body": "there", "url": "/x", "tag": "k", "level": "error",
    }  # fmt: skip
    key = VapidKey(site.settings.push_private_key)
    assert key.proves(told["proof"], "alice", "m")
    headers = push.headers
    assert (headers["content-encoding"], headers["urgency"], headers["ttl"]) == ("aes128gcm", "high", "100")
    assert headers["topic"]
    assert headers["authorization"].endswith(f", k={key.public}")
    assert headers["host"] == site.service.url.removeprefix("http://")
    assert site.waiting() == []


def test_the_flight_recorder_tells_to_how_many_devices_it_went(site: Site) -> None:
    site.subscribe("phone")
    site.subscribe("laptop")
    site.service.says("laptop", 500)
    site.publish()
    site.turn()
    site.flights.stop()
    ((event),) = site.flight_store.of("alice")
    assert (event["what"], event["ids"], event["devices"]) == ("pushed", ["m"], 1)


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_has_ended_is_removed(site: Site, status: int) -> None:
    site.subscribe("phone")
    site.subscribe("laptop")
    site.service.says("phone", status)
    site.publish()
    site.turn()
    assert (site.devices(), site.waiting()) == (["laptop"], [])


# A connection that was used before may have ended in the meantime. So the second try makes two requests.
@pytest.mark.parametrize("answers", [(429, 429), (500, 500), (503, 408), (RESET, RESET, RESET)])
def test_a_push_that_failed_is_sent_again_to_that_device_only(site: Site, answers: tuple[int, ...]) -> None:
    site.subscribe("phone")
    site.subscribe("laptop")
    site.service.says("phone", *answers)
    site.publish()
    site.turn()
    assert site.waiting() == ["m/alice"]
    assert 4 <= site.pause_seconds() <= 7
    site.turn()
    assert 9 <= site.pause_seconds() <= 13, "it grows"
    site.turn()
    received = len(site.service.at("phone")), len(site.service.at("laptop"))
    assert (received, site.waiting()) == ((len(answers) + 1, 1), [])


def test_the_advice_of_a_push_service_is_followed(site: Site) -> None:
    site.subscribe()
    site.service.says("phone", (429, {"Retry-After": "300"}))
    site.publish()
    site.turn()
    assert 298 <= site.pause_seconds() <= 362


def test_the_advice_of_one_push_service_delays_no_other_device(site: Site) -> None:
    site.subscribe("phone")
    site.subscribe("laptop")
    site.subscribe("tablet")
    site.service.says("phone", (429, {"Retry-After": "300"}))
    site.service.says("laptop", (503, {"Retry-After": "86400"}))
    site.service.says("tablet", 503)
    site.publish()
    site.turn()
    assert 4 <= site.pause_seconds() <= 7
    site.turn()
    assert [len(site.service.at(name)) for name in ("phone", "laptop", "tablet")] == [1, 1, 2]
    assert 298 <= site.pause_seconds() <= 362
    site.turn()
    assert [len(site.service.at(name)) for name in ("phone", "laptop", "tablet")] == [2, 1, 2]
    assert site.waiting() == []


def test_a_push_without_a_place_waits_longer_each_time_and_costs_no_encryption(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.subscribe()
    site.publish()
    site.fill_places()
    monkeypatch.setattr("app.live.push.pusher.encrypt", None)
    monkeypatch.setattr("app.live.push.pusher.unhandled", None)
    for shortest in (2, 4, 8, 16, 32, 60, 60):
        site.turn()
        assert shortest - 1 <= site.pause_seconds() <= shortest * 1.2 + 1
        assert 0.3 < site.pusher._not_before - site.pusher._now() <= 0.5, "the next claim comes no sooner"
    monkeypatch.undo()
    site.places.release()
    site.turn()
    assert (len(site.service.received), site.waiting()) == (1, [])


def test_a_push_without_a_place_is_not_given_up_like_one_that_failed(client: redis.Redis, service: PushService) -> None:
    site = Site(client, service, push_retry_seconds=0, push_ttl_seconds=100)
    site.subscribe()
    site.publish()
    site.fill_places()
    site.time += 90
    site.turn()
    assert site.waiting() == ["m/alice"]
    site.time += 15
    site.turn()
    assert site.waiting() == [], "its push service would not keep it any longer"
    site.pusher.stop()


def test_a_push_is_tried_again_however_late_its_first_try_was(site: Site) -> None:
    site.subscribe()
    site.service.says("phone", 503)
    site.publish()
    site.time += site.settings.push_retry_seconds + 1
    site.turn()
    assert site.waiting() == ["m/alice"]


def test_a_stopping_worker_sends_what_it_is_claiming(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.subscribe()
    site.publish()
    claiming, answered = Event(), Event()
    claim = site.pushes.claim

    def slow(count: int) -> ClaimedPushes:
        found = claim(count)
        claiming.set()
        answered.wait()
        return found

    monkeypatch.setattr(site.pushes, "claim", slow)
    site.pusher.start()
    site.pusher.heard(b"")
    assert claiming.wait(60)
    gevent.spawn(answered.set)
    site.pusher.stop()
    assert (len(site.service.received), site.waiting()) == (1, [])


def test_a_push_is_given_up_in_the_end(site: Site) -> None:
    site.subscribe()
    site.service.says("phone", (503, {"Retry-After": "86400"}))
    site.publish("far")
    site.turn()
    assert site.waiting() == [], "longer than it is tried"
    site.service.says("phone", 503, 503)
    site.publish("late")
    site.turn()
    site.time += site.settings.push_retry_seconds
    site.turn()
    assert site.waiting() == []
    assert site.devices() == ["phone"]


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 413])
def test_a_refusal_and_a_redirect_end_the_push_and_are_not_followed(site: Site, status: int) -> None:
    site.subscribe()
    site.service.says("phone", (status, {"Location": site.service.endpoint("elsewhere")}))
    site.publish()
    site.turn()
    assert (len(site.service.received), site.waiting(), site.devices()) == (1, [], ["phone"])


@pytest.mark.parametrize("mark", [Mark.READ, Mark.ARCHIVED, Mark.REMOVED])
def test_a_message_that_the_user_handled_is_not_pushed(
    site: Site, mark: Mark, caplog: pytest.LogCaptureFixture
) -> None:
    site.subscribe()
    site.publish()
    site.read_state.change("alice", ["user:alice"], Change(mark, True, ("m",)))
    site.turn()
    assert (site.service.received, site.waiting()) == ([], [])
    assert "failed" not in caplog.text, "it was left out, and not given up because of an error"


def test_a_message_that_is_gone_is_not_pushed(site: Site) -> None:
    site.subscribe()
    site.publish("retracted")
    site.logs.retract(["user:alice"], "retracted")
    site.publish("expired", ttl=1)
    site.publish("old", key="k")
    site.publish("new", key="k")
    site.time += 2
    site.turn()
    assert [site.browser.read(push)["id"] for push in site.service.received] == ["new"]
    assert site.waiting() == []


def test_a_push_waits_for_its_message_and_is_dropped_if_the_publish_failed(site: Site) -> None:
    site.subscribe()
    text = b'{"to": "alice", "id": "m", "push": true}'
    site.connection.run(list(site.pushes.add([parse(text, now=site.time, new_id="", max_recipients=9)])))
    site.turn()
    assert site.waiting() == ["m/alice"]
    site.time += APPEND_SECONDS
    site.turn()
    assert (site.waiting(), site.service.received) == ([], [])
    site.publish()
    site.turn()
    assert len(site.service.received) == 1, "the publisher tried again"


def test_a_withdrawn_credential_ends_its_devices(site: Site) -> None:
    site.subscribe()
    site.watch.withdrawn.add("alice")
    site.publish()
    site.turn()
    assert (site.devices(), site.service.received, site.waiting()) == ([], [], [])


def test_a_device_whose_key_is_not_trusted_any_more_gets_nothing_and_stays(site: Site) -> None:
    site.subscribe("forged")
    site.key = "new"
    site.subscribe("phone")
    site.pusher.trusts = lambda claims: claims.key == "new"
    site.publish()
    site.turn()
    assert (len(site.service.at("forged")), len(site.service.at("phone"))) == (0, 1)
    assert sorted(site.devices()) == ["forged", "phone"]


def test_a_push_waits_while_the_published_keys_can_not_be_fetched(site: Site) -> None:
    def fails(_: Claims) -> bool:
        raise BelfryError("keys_unavailable")

    site.subscribe()
    site.pusher.trusts = fails
    site.publish()
    site.turn()
    assert (site.service.received, site.waiting()) == ([], ["m/alice"])
    site.pusher.trusts = lambda _: True
    site.turn()
    assert len(site.service.received) == 1


@pytest.mark.parametrize(("error", "left"), [(socket.EAI_NONAME, []), (socket.EAI_AGAIN, ["m/alice"])])
def test_a_name_without_an_address_ends_the_push(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: int, left: list[str]
) -> None:
    def resolve(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(error, "none")

    site.subscribe()
    monkeypatch.setattr("app.live.push.push_services.socket.getaddrinfo", resolve)
    site.publish()
    site.turn()
    assert (site.waiting(), site.devices()) == (left, ["phone"])


def test_a_user_with_an_open_stream_is_left_out_if_the_settings_say_so(
    client: redis.Redis, service: PushService
) -> None:
    site = Site(client, service, push_connected=False)
    site.subscribe()
    with client.pubsub(ignore_subscribe_messages=True) as stream:
        stream.subscribe("belfry:{user:alice}:live")
        stream.get_message(timeout=60)
        site.publish("seen")
        site.turn()
        assert service.received == []
        stream.unsubscribe()
        stream.get_message(timeout=60)
    site.publish("unseen")
    site.turn()
    assert [site.browser.read(push)["id"] for push in service.received] == ["unseen"]
    site.pusher.stop()


def test_a_push_that_a_dead_worker_had_claimed_is_sent_by_another(site: Site) -> None:
    site.subscribe()
    site.publish()
    assert len(site.pushes.claim(9).jobs) == 1, "a worker that dies now"
    site.pusher.turn()
    site.pusher._jobs.join()
    assert site.service.received == [], "the lease has not ended"
    site.turn()
    assert [site.browser.read(push)["id"] for push in site.service.received] == ["m"]


def test_a_device_whose_host_is_not_allowed_here_gets_nothing_and_stays(site: Site) -> None:
    claims = Claims("alice", frozenset(), (), None, 9e9, "t")
    site.subscriptions.add("https://evil.example/x", (site.browser.p256dh, "AAECAwQFBgcICQoLDA0ODw"), claims, START, 60)
    site.publish()
    site.turn()
    assert (site.devices(), site.waiting()) == (["x"], [])


@pytest.mark.parametrize("at", range(4))
def test_a_message_that_is_appended_while_a_worker_looks_for_it_is_pushed(site: Site, at: int) -> None:
    site.subscribe()
    message = site.message()
    site.connection.run(list(site.pushes.add([message])))
    site.reads.halt(at, lambda: site.publisher.publish([message]))
    site.turn()
    site.turn()
    assert [site.browser.read(push)["id"] for push in site.service.received] == ["m"]
    assert site.waiting() == []


def test_a_refused_publish_pushes_neither_its_message_nor_the_one_that_has_its_id(site: Site) -> None:
    site.subscribe()
    site.publish(push=False)
    site.publish()
    site.turn()
    assert (site.service.received, site.waiting()) == ([], [])
    site.publish("n", title="first")
    site.publish("n", title="second")
    site.turn()
    assert [site.browser.read(push)["title"] for push in site.service.received] == ["first"]
    assert site.waiting() == []


def test_a_repeated_publish_pushes_nothing_to_a_device_that_subscribed_in_between(site: Site) -> None:
    site.publish()
    site.time += CLOCKS_SECONDS + 1
    site.subscribe()
    site.publish()
    site.turn()
    assert (site.service.received, site.waiting()) == ([], [])
    site.time += 60
    site.subscribe()
    site.publish("n")
    site.turn()
    assert [site.browser.read(push)["id"] for push in site.service.received] == ["n"]


CONTENTS: dict[str, dict[str, Any]] = {
    "a": {"title": "a"},
    "b": {"title": "b"},
    "silent": {"title": "a", "push": False},
}


class Publish(NamedTuple):
    """One publish of a content. After `at` of its commands, other steps happen, and then its worker may die."""

    content: str
    at: int = 0
    dies: bool = False
    stores_push: bool = True
    meanwhile: Sequence[Any] = ()


class Look(NamedTuple):
    """A worker looks for pushes. After `at` of the commands with which it looks for the message, other steps happen."""

    at: int = 0
    meanwhile: Sequence[Any] = ()


WAIT = "wait"
BETWEEN = 3  # commands of a publish: after its push was stored, and before its message is appended
STEPS: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.just(WAIT)
        | st.builds(Look, st.integers(0, 3), st.lists(STEPS, max_size=1))
        | st.builds(
            Publish,
            st.sampled_from(sorted(CONTENTS)),
            st.sampled_from([BETWEEN, 0, 4]),
            st.booleans(),
            st.sampled_from([True, True, False]),
            st.lists(STEPS, max_size=2),
        )
    )
)


class Story:
    """Publishes of one id with several contents, and what was pushed at the end."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self.acknowledged: set[str] = set()
        self.unstored: set[str] = set()  # contents that may have been appended while the pushes could not be stored
        self.before = len(site.service.received)
        self.depth = 0
        self.looks = False

    def tell(self, steps: Sequence[Any]) -> None:
        for step in steps:
            if isinstance(step, Look):
                self.look(step)
            elif step == WAIT:  # a publish takes less than APPEND_SECONDS
                self.site.time += 1 if self.depth else APPEND_SECONDS
            else:
                self.publish(step)

    def look(self, step: Look) -> None:
        if not self.looks:  # the worker of this test looks once at a time
            self.looks = True
            self.site.reads.halt(step.at, lambda: self.meanwhile(step))
            self.site.turn()
            self.site.reads.halts.clear()
            self.looks = False

    def publish(self, step: Publish) -> None:
        message = self.site.message(self.name, **CONTENTS[step.content])
        appends = Halting(self.site.connection)
        appends.halt(step.at, lambda: self.meanwhile(step), dies=step.dies)
        appends.refuses_pushes = not step.stores_push
        if not step.stores_push:
            self.unstored.add(step.content)
        logs = LogStore(self.site.connection, self.site.settings, appends)
        with contextlib.suppress(BelfryError):
            (published,) = Publisher(
                logs, Recipients(logs, self.site.connection, self.site.settings), self.site.pushes.add
            ).publish([message])
            if not published.reused:
                self.acknowledged.add(step.content)

    def meanwhile(self, step: Publish | Look) -> None:
        self.depth += 1
        self.tell(step.meanwhile)
        self.depth -= 1

    def end(self) -> list[str]:
        """The titles that were pushed, after workers looked until nothing was left."""
        for _ in range(4):
            self.site.turn()
            self.site.time += APPEND_SECONDS
        return [self.site.browser.read(push)["title"] for push in self.site.service.received[self.before :]]


def test_a_push_follows_from_the_append_whatever_fails_and_whenever_workers_look(site: Site) -> None:
    """Each publish may stop after each of its commands, and other publishes and workers run in between.

    An acknowledged message is pushed once, and so is one that was appended after its push was stored. A refused one
    is not pushed, and nothing is pushed twice.
    """
    site.subscribe()
    names = count()

    @settings(max_examples=examples(200))
    @given(st.lists(STEPS, min_size=1, max_size=4))
    @example([Publish("a", BETWEEN, dies=True), WAIT, Look(), Publish("a")])
    @example([Publish("a", BETWEEN, dies=True), WAIT, Publish("a", BETWEEN, meanwhile=[Look()])])
    @example([Publish("a", BETWEEN, dies=True), WAIT, Look(3, [Publish("a")])])
    @example([Publish("a", BETWEEN, dies=True), Look(3, [Publish("a")])])
    @example([Publish("a", 4, dies=True), Look(), Publish("a")])
    @example([Publish("silent"), Publish("a")])
    @example([Publish("a", BETWEEN, dies=True), Publish("b"), Look(), Publish("a")])
    @example([Publish("a", stores_push=False), WAIT, Publish("a")])
    def check(steps: list[Any]) -> None:
        story = Story(site, f"m{next(names)}")
        story.tell(steps)
        pushed = story.end()
        assert site.waiting() == []
        digest = site.logs.find_one("user:alice", story.name).digest
        appended = [each for each, fields in CONTENTS.items() if digest == site.message("m", **fields).digest.decode()]
        assert len(pushed) <= 1
        assert set(pushed) <= set(appended) - {"silent"}
        assert set(pushed) >= story.acknowledged - {"silent"}
        assert set(pushed) >= set(appended) - story.unstored - {"silent"}

    check()


def test_connections_that_nobody_uses_are_closed_while_other_services_are_used(service: PushService) -> None:
    time = [0.0]
    services = PushServices(
        Settings(redis_url="redis://unused.invalid", push_networks="127.0.0.0/8"), now=lambda: time[0]
    )
    with push_service() as other:
        for each in (other, service):
            services.send(parse_endpoint(each.endpoint("x"), (), services._networks), {}, b"")
        idle = services._services[other.url].idle
        (connection,) = idle
        time[0] = IDLE_SECONDS
        services.send(parse_endpoint(service.endpoint("x"), (), services._networks), {}, b"")
        assert (len(idle), connection.sock) == (0, None)
    services.close()


def test_a_chunked_answer_is_not_read(site: Site) -> None:
    """A length below zero makes `http.client` read to the end of the connection."""
    site.subscribe()
    site.service.says("phone", (201, {"Transfer-Encoding": "chunked"}))
    site.publish()
    site.turn()
    assert site.waiting() == []
    site.publish("next")
    site.turn()
    assert (len(site.service.received), site.service.connections) == (2, 2)


def test_a_bug_in_one_push_ends_that_push_and_no_other(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.subscribe()
    site.client.zadd("belfry:{pushes}:of:bob", {"d": 1})
    site.client.set("belfry:{pushes}:device:d", "bob\n{}")
    site.publish(to=["bob", "alice"])
    site.turn()
    assert [site.browser.read(push)["user"] for push in site.service.received] == ["alice"]
    assert site.waiting() == []
    assert "the push of m failed" in caplog.text


def test_connections_are_used_again(site: Site) -> None:
    site.subscribe()
    for number in range(3):
        site.publish(f"m{number}")
        site.turn()
    assert (len(site.service.received), site.service.connections) == (3, 1)
    site.service.says("phone", (201, {"Connection": "close"}))
    site.publish("m3")
    site.turn()
    site.publish("m4")
    site.turn()
    assert (len(site.service.received), site.service.connections) == (5, 2)


@pytest.mark.parametrize("host", ["localhost", "localhost."])
def test_a_name_that_leads_to_a_private_address_is_not_connected_to(service: PushService, host: str) -> None:
    """The name was allowed. Where it leads is checked at the connection."""
    port = service.url.rpartition(":")[2]
    to = parse_endpoint(f"https://{host}:{port}/x", (f"*:{port}",), ())
    services = PushServices(Settings(redis_url="redis://unused.invalid"))
    with pytest.raises(NoAddressError, match="no address that Belfry may connect to"):
        services.send(to, {}, b"")
    assert service.connections == 0


def test_nothing_is_looked_up_while_nothing_waits(site: Site) -> None:
    """Web Push that nobody uses costs no command."""
    site.pusher.heard(b"")
    assert site.pusher._next <= site.pusher._now()
    site.pusher.turn()
    assert site.pusher._next == float("inf")
    site.pusher.heard(b"5000")
    assert 4 < site.pusher._next - site.pusher._now() <= 5
    site.subscribe()
    site.publish()
    site.pusher.turn()
    gevent.sleep(0)
    assert site.pusher._next != float("inf"), "the lease may end"


def test_what_answers_mean() -> None:
    assert [outcome_of(PushAnswer(status)) for status in (200, 201, 204)] == [Outcome.SENT] * 3
    assert [outcome_of(PushAnswer(status)) for status in (302, 400, 418)] == [Outcome.REFUSED] * 3
    assert [outcome_of(PushAnswer(status)) for status in (408, 425, 429, 502)] == [Outcome.RETRY] * 4
