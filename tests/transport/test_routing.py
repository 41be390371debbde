"""Commands find the shard that holds their key, whatever the nodes answer first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import gevent
import pytest
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError, TryAgainError

from app.core.errors import BelfryError
from app.store.runs.runs import LEASE
from app.transport.connection import Command, unavailable
from app.transport.dialect import ClusterDialect
from app.transport.routing import Routing
from app.transport.slots import SlotMap, View, slot_of

ONE, TWO = ("one", 1), ("two", 2)
SECONDS = 0.3


class Pending:
    def __init__(self, replies: list[Any] | BelfryError) -> None:
        self._replies = replies

    def answers(self) -> list[Any]:
        gevent.sleep(0)
        if isinstance(self._replies, BelfryError):
            raise self._replies
        return self._replies


class Node:
    """A shard and its pipeline: answers `OK from <name>`, unless it has something else to say first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: deque[Any] = deque()
        self.taken: list[Command] = []
        self.failure: BelfryError | None = None

    def post(self, commands: Sequence[Command]) -> Pending:
        self.taken += commands
        return Pending(self.failure or [self._reply(command) for command in commands])

    def _reply(self, command: Command) -> Any:
        if command[0] == "ASKING":
            return b"OK"
        if command[0] == "WAIT":
            return int(self.name.rpartition(":")[2])
        if command[0] == "PUBSUB":
            return [part for channel in command[2:] for part in (channel.encode(), 1)]
        return self.said.popleft() if self.said else f"OK from {self.name}"


class Nodes:
    """Two nodes; the first one holds every slot, as far as is known."""

    def __init__(self) -> None:
        self.all = {address: Node(f"{address[0]}:{address[1]}") for address in (ONE, TWO)}
        self.one, self.two = self.all.values()
        self.map = SlotMap()
        self.map.learn(View(dict.fromkeys(range(16_384), ONE), 1, is_ok=True))
        self.refreshes = 0

    def owner(self, slot: int) -> Any:
        address = self.map.owner(slot)
        return None if address is None else self.all[address]

    def at(self, address: tuple[str, int]) -> Any:
        return self.all[address]

    def moved(self, slot: int, address: tuple[str, int]) -> None:
        self.map.moved(slot, address)

    def current(self) -> Any:
        return list(self.all.values())

    def refresh(self) -> None:
        self.refreshes += 1

    def refresh_soon(self) -> None:
        self.refreshes += 1


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with gevent.Timeout(60):
        yield Nodes()


def routing(nodes: Nodes) -> Routing:
    pipeline: Any = lambda shard: shard  # noqa: E731 - each node is its own pipeline
    return Routing(nodes, pipeline, ClusterDialect([LEASE]), SECONDS)


def at_two(nodes: Nodes, key: str) -> str:
    nodes.map.moved(slot_of(key), TWO)
    return key


def test_each_command_goes_to_the_shard_of_its_key_and_the_replies_keep_their_order(nodes: Nodes) -> None:
    there = at_two(nodes, "there")
    replies = routing(nodes).run([("GET", there), ("GET", "here"), ("GET", there)])
    assert replies == ["OK from two:2", "OK from one:1", "OK from two:2"]
    assert (len(nodes.one.taken), len(nodes.two.taken)) == (1, 2), "one write to each"


def test_the_commands_for_channels_are_the_sharded_ones_and_so_are_the_scripts(nodes: Nodes) -> None:
    command = LEASE.call(("key",), 1, "run")
    routing(nodes).run([("PUBLISH", "channel", "text"), command])
    assert nodes.one.taken == [("SPUBLISH", "channel", "text"), ("EVALSHA", LEASE.sharded.sha, *command[2:])]


def test_moved_is_followed_and_remembered(nodes: Nodes) -> None:
    nodes.one.said.append(MovedError(f"{slot_of('key')} two:2"))
    route = routing(nodes)
    assert route.run([("GET", "key")]) == ["OK from two:2"]
    assert route.run([("GET", "key")]) == ["OK from two:2"]
    assert len(nodes.one.taken) == 1


def test_moved_without_a_host_means_the_node_that_says_so(nodes: Nodes) -> None:
    nodes.all[("one", 9)] = Node("one:9")
    nodes.one.said.append(MovedError(f"{slot_of('key')} :9"))
    assert routing(nodes).run([("GET", "key")]) == ["OK from one:9"]


@pytest.mark.parametrize("kind", [MovedError, AskError])
def test_a_node_that_has_no_name_is_looked_up_and_not_connected_to(nodes: Nodes, kind: type[AskError]) -> None:
    nodes.one.said.append(kind(f"{slot_of('key')} ?:2"))
    assert routing(nodes).run([("GET", "key")]) == ["OK from one:1"]
    assert nodes.refreshes == 1


def test_ask_is_followed_once_and_not_remembered(nodes: Nodes) -> None:
    nodes.one.said.append(AskError(f"{slot_of('key')} two:2"))
    route = routing(nodes)
    assert route.run([("GET", "other"), ("GET", "key")][1:]) == ["OK from two:2"]
    assert nodes.two.taken == [("ASKING",), ("GET", "key")]
    assert route.run([("GET", "key")]) == ["OK from one:1"]


@pytest.mark.parametrize("refusal", [TryAgainError("TRYAGAIN"), ClusterDownError("CLUSTERDOWN")])
def test_what_has_to_wait_is_tried_again_and_only_that(nodes: Nodes, refusal: Exception) -> None:
    nodes.one.said += ["done", refusal, refusal]
    assert routing(nodes).run([("GET", "first"), ("GET", "second")]) == ["done", "OK from one:1"]
    assert [command[1] for command in nodes.one.taken] == ["first", "second", "second", "second"]


def test_until_the_caller_s_time_is_over(nodes: Nodes) -> None:
    nodes.one.said += [TryAgainError("TRYAGAIN")] * 1_000
    with pytest.raises(BelfryError) as refusal:
        routing(nodes).run([("GET", "key")])
    assert refusal.value.code == "store_unavailable"
    assert len(nodes.one.taken) > 2


def test_two_nodes_that_refer_to_each_other_are_not_asked_without_a_pause(nodes: Nodes) -> None:
    slot = slot_of("key")
    nodes.one.said += [MovedError(f"{slot} two:2")] * 1_000
    nodes.two.said += [MovedError(f"{slot} one:1")] * 1_000
    with pytest.raises(BelfryError):
        routing(nodes).run([("GET", "key")])
    assert len(nodes.one.taken) + len(nodes.two.taken) < 50


def test_what_is_refused_for_another_reason_is_not_repeated(nodes: Nodes) -> None:
    nodes.one.said.append(ResponseError("wrong"))
    with pytest.raises(BelfryError):
        routing(nodes).run([("GET", "key")])
    assert len(nodes.one.taken) == 1


def test_a_shard_that_is_away_fails_its_callers_alone_and_has_the_map_looked_at(nodes: Nodes) -> None:
    there = at_two(nodes, "there")
    nodes.two.failure = unavailable(ConnectionError())
    route = routing(nodes)
    with pytest.raises(BelfryError):
        route.run([("GET", "here"), ("GET", there)])
    assert nodes.refreshes == 1
    assert route.run([("GET", "here")]) == ["OK from one:1"]


def test_replicas_are_counted_on_every_shard_that_was_written_to_and_the_fewest_count(nodes: Nodes) -> None:
    there = at_two(nodes, "there")
    assert routing(nodes).run([("GET", there), ("GET", "here"), ("WAIT", 1, 5)])[-1] == 1
    assert routing(nodes).run([("GET", there), ("WAIT", 1, 5)])[-1] == 2
    assert nodes.one.taken[-1] == nodes.two.taken[-1] == ("WAIT", 1, 5), "after what was written"


def test_channels_are_counted_on_their_shards_and_told_in_the_order_of_the_question(nodes: Nodes) -> None:
    there = at_two(nodes, "there")
    found = routing(nodes).run([("PUBSUB", "NUMSUB", "here", there, "and here")])
    assert found == [[b"here", 1, b"there", 1, b"and here", 1]]
    assert nodes.one.taken == [("PUBSUB", "SHARDNUMSUB", "here", "and here")]
    assert nodes.two.taken == [("PUBSUB", "SHARDNUMSUB", "there")]


def test_a_slot_that_nobody_knows_is_looked_up_and_refused_without_an_owner(nodes: Nodes) -> None:
    nodes.map = SlotMap()
    with pytest.raises(BelfryError) as refusal:
        routing(nodes).run([("GET", "key")])
    assert (refusal.value.code, nodes.refreshes) == ("store_unavailable", 1)
