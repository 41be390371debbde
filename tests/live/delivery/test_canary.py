"""The canary tells a store that is silent, one that is not heard, and one that is another than before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import gevent
import pytest
from prometheus_client import REGISTRY

from app import metrics
from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.store_faults import Fault, Weight, no_cluster
from app.live.delivery.canary import BEATS_UNHEARD, Canaries, Canary
from app.live.delivery.link import Link
from app.live.streams.subscriber import OpenLog
from app.store.logs.log import LogStore
from app.transport.connection import Command, Reply
from tests.live.delivery.test_link import Ear
from tests.live.delivery.test_link import Redis as Server

BEAT_SECONDS = 0.01


class Redis:
    """Answers a look, and hands what is published to the link, unless told otherwise."""

    def __init__(self) -> None:
        self.id = b"one"
        self.error = ""
        self.loud = True
        self.looks = 0
        self.beats = 0
        self.hear: Callable[[], None] = lambda: None

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        gevent.sleep(0)
        self.looks += 1
        if self.error:
            raise BelfryError(self.error)
        assert [command[0] for command in commands] == ["EVALSHA", "PUBLISH"]
        self.beats += 1
        if self.loud:
            self.hear()
        return [[self.id, 0, 0], 1]


class Examiner:
    """Finds what it is told to."""

    def __init__(self) -> None:
        self.faults: tuple[Fault, ...] = ()
        self.looks = 0
        self.due = False

    def is_due(self) -> bool:
        return self.due

    def look(self, channel: str) -> tuple[Fault, ...]:
        assert channel.startswith("belfry:{canary:")
        self.looks += 1
        return self.faults


class Setting:
    def __init__(self) -> None:
        self.redis = Redis()
        self.servers: list[Server] = []
        self.moved = False
        self.bugs = 0
        self.changes = 0
        self.link = Link(self._connect, lambda name: name, Ear())
        store = LogStore(self.redis, Settings())
        self.examiner = Examiner()
        self.log = OpenLog("canary:one")
        self.canary = Canary(
            self.log,
            store.keys.live(self.log.name),
            store.lineage,
            self.link,
            self._follow,
            self._changed,
            BEAT_SECONDS,
            self.examiner,
            examine_seconds=3_600,
        )
        self.redis.hear = self.canary.heard
        self.link.start()
        self.canary.start()
        settle(lambda: self.link.connected)
        self.beat()

    def _connect(self) -> Server:
        self.servers.append(Server())
        return self.servers[-1]

    def _follow(self) -> bool:
        if self.bugs:
            self.bugs -= 1
            raise RuntimeError("a bug")
        moved, self.moved = self.moved, False
        return moved

    def _changed(self) -> None:
        self.changes += 1

    def beat(self, times: int = 1) -> None:
        """Let so many whole beats pass."""
        goal = self.redis.beats + times + 1
        settle(lambda: self.redis.beats >= goal)

    @property
    def is_well(self) -> bool:
        try:
            self.canary.check()
        except BelfryError as error:
            return (error.code, error.headers) != ("store_unavailable", {"Retry-After": "2"})
        return True


def settle(condition: Callable[[], object]) -> None:
    with gevent.Timeout(60):
        while not condition():
            gevent.sleep(0.001)


@pytest.fixture
def setting() -> Iterator[Setting]:
    setting = Setting()
    yield setting
    setting.canary.stop()
    setting.link.stop()


def test_a_store_that_is_heard_is_well(setting: Setting) -> None:
    setting.beat(5 * BEATS_UNHEARD)
    assert setting.is_well
    assert len(setting.servers) == 1


def test_a_silent_store_is_told_until_it_answers(setting: Setting) -> None:
    setting.redis.error = "store_unavailable"
    settle(lambda: not setting.is_well)
    setting.redis.error = ""
    settle(lambda: setting.is_well)


def test_a_store_with_too_much_to_do_is_not_away(setting: Setting) -> None:
    setting.redis.error = "overloaded"
    looks = setting.redis.looks
    settle(lambda: setting.redis.looks >= looks + 2 * BEATS_UNHEARD)
    assert setting.is_well


def test_a_deaf_link_is_told_and_replaced(setting: Setting) -> None:
    setting.redis.loud = False
    settle(lambda: not setting.is_well)
    settle(lambda: setting.servers[0].closed)
    setting.redis.loud = True
    settle(lambda: setting.is_well)


def test_one_beat_that_was_not_heard_is_no_trouble(setting: Setting) -> None:
    setting.redis.loud = False
    setting.redis.hear()
    beats = setting.redis.beats
    settle(lambda: setting.redis.beats > beats)
    setting.redis.loud = True
    setting.beat()
    assert setting.is_well
    assert not setting.servers[0].closed


def test_when_the_sentinels_name_another_primary_the_link_follows(setting: Setting) -> None:
    setting.moved = True
    settle(lambda: setting.servers[0].closed)


def test_another_server_is_told_once(setting: Setting) -> None:
    before = setting.changes
    setting.redis.id = b"two"
    setting.beat(3)
    assert setting.changes == before + 1


def test_a_bug_is_counted_and_the_canary_lives_on(setting: Setting) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("belfry_failures_total", {"part": "canary"}) or 0

    metrics.begin("1.2.3")
    before = counted()
    setting.bugs = 2
    setting.beat()
    assert counted() == before + 2
    assert setting.is_well


def fault_count(code: str) -> float:
    return REGISTRY.get_sample_value("belfry_store_faults", {"fault": code}) or 0


def test_the_store_is_examined_once_and_again_when_it_is_another(setting: Setting) -> None:
    setting.beat(3)
    assert setting.examiner.looks == 1
    setting.redis.id = b"two"
    settle(lambda: setting.changes)
    setting.beat()
    assert setting.examiner.looks == 2


def test_the_store_is_examined_at_once_after_it_refused_a_command(setting: Setting) -> None:
    setting.beat(3)
    setting.examiner.due = True
    setting.beat()
    assert setting.examiner.looks > 1


def test_a_fault_that_refuses_is_told_by_readiness_log_and_metric_until_it_is_mended(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.examiner.faults = (Fault("rights", "it lacks +time", Weight.REFUSES),)
    setting.redis.id = b"two"
    settle(lambda: setting.canary.faults)
    assert not setting.is_well
    assert fault_count("rights") == 1
    setting.beat(5)
    assert [record.message for record in caplog.records].count("the store: it lacks +time") == 1
    setting.examiner.faults = ()
    settle(lambda: setting.is_well)
    assert fault_count("rights") == 0
    assert "the store: no longer has the fault rights" in caplog.text


def test_a_fault_that_warns_does_not_refuse_and_one_that_ends_is_told_to_a_start(setting: Setting) -> None:
    setting.examiner.faults = (Fault("eviction", "it evicts"),)
    setting.redis.id = b"two"
    settle(lambda: setting.canary.faults)
    assert setting.is_well
    assert setting.canary.unusable(1.0) == ""
    setting.examiner.faults = (Fault("version", "it is old", Weight.ENDS),)
    setting.redis.id = b"three"
    settle(lambda: not setting.is_well)
    assert setting.canary.unusable(1.0) == "it is old"


def test_before_its_first_beat_nobody_is_told_that_all_is_well() -> None:
    store = LogStore(Redis(), Settings())
    channel = store.keys.live("canary:one")
    canary = Canary(
        OpenLog("canary:one"),
        channel,
        store.lineage,
        Link(Server, lambda name: name, Ear()),
        lambda: False,
        lambda: None,
        BEAT_SECONDS,
    )
    with pytest.raises(BelfryError, match="not answered yet"):
        canary.check()


def test_what_keeps_a_worker_from_finding_any_shard_is_told() -> None:
    canaries = Canaries()
    for told, expected in (("", "has not answered yet"), ("No primary holds the slot", "No primary holds the slot")):
        canaries.refuse(None, told)
        with pytest.raises(BelfryError) as refusal:
            canaries.check()
        assert expected in refusal.value.detail
    canaries.refuse(no_cluster(), "not told, because the fault says more")
    with pytest.raises(BelfryError) as refusal:
        canaries.check()
    assert refusal.value.detail == no_cluster().text
