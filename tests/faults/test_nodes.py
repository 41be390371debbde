"""Three nodes behind the shipped nginx and HAProxy: whatever becomes of one of them, nothing is lost or doubled.

The nodes stay up from one test to the next, so each test leaves all of them in working order.
"""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import groupby

import pytest

from tests.conftest import absent
from tests.faults.network import Network
from tests.faults.nodes import BACK_SECONDS, Node, Nodes, NodesHaproxy, NodesNginx
from tests.faults.traffic import ANSWER_SECONDS, Traffic
from tests.servers import RedisServer
from tests.stream_client import StreamClient
from tests.waiting import wait_until

COUNT = 3
MESSAGES = 30
SILENCE_SECONDS = 3.0  # six heartbeats
# Where a node says goodbye: its streams must not end before by a silence, which a busy machine may cause.
NO_SILENCE_SECONDS = 60.0
READY_SECONDS = 1.0  # half of what a node waits for Redis
REFUSED_ON_PURPOSE = {"409", "422"}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=[NodesNginx, NodesHaproxy], ids=["nginx", "haproxy"])
def nodes(request: pytest.FixtureRequest) -> Iterator[Nodes]:
    for binary, what in ((RedisServer.binary(), "Redis or Valkey"), (request.param.binary(), request.param.__name__)):
        if binary is None:
            absent(what)
    if obstacle := Network.obstacle():
        absent(obstacle)
    with Nodes(request.param, COUNT) as started:
        yield started


@pytest.fixture
def alice() -> str:
    return f"alice-{secrets.token_hex(4)}"


def strike(
    nodes: Nodes,
    fault: Callable[[Traffic, Node], Node],
    *,
    silence_seconds: float = SILENCE_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> Traffic:
    """Let something happen to a node that has streams, with traffic on all, and judge everything that was sent.

    `fault` answers the node that works again, or works in its place.
    """
    with Traffic(
        nodes.front, port=nodes.proxy.port, silence_seconds=silence_seconds, answer_seconds=answer_seconds
    ) as traffic:
        traffic.run(MESSAGES)
        back = fault(traffic, max(nodes, key=streams))
        nodes.wait_back(back)
        traffic.run(MESSAGES, BACK_SECONDS)
        verdict = traffic.finish()
    print(verdict, dict(traffic.book.answers))
    assert verdict.kept, verdict
    assert verdict.resets == 0
    assert verdict.acknowledged > MESSAGES
    return traffic


def ends(traffic: Traffic, why: str) -> int:
    """How many streams have ended for this reason."""
    return sum(reader.ends[why] for reader in traffic.readers)


def test_a_node_is_killed_and_one_is_added(nodes: Nodes) -> None:
    def fault(traffic: Traffic, node: Node) -> Node:
        node.kill()
        traffic.wait_live(seconds=BACK_SECONDS)
        traffic.run(MESSAGES, BACK_SECONDS)
        return nodes.replace(node)

    strike(nodes, fault)
    with ExitStack() as stack:

        def all_are_used() -> bool:
            stack.enter_context(nodes.front.stream("u", port=nodes.proxy.port)).wait_for("ready")
            return all(streams(node) for node in nodes)

        wait_until(all_are_used, BACK_SECONDS, what="a stream on each node, also on the new one")


def test_a_node_freezes(nodes: Nodes) -> None:
    def fault(traffic: Traffic, node: Node) -> Node:
        on_it = streams(node)
        with node.frozen():
            traffic.wait(lambda: ends(traffic, "silence") >= on_it, BACK_SECONDS, what="its clients to notice")
            traffic.wait_live(seconds=BACK_SECONDS)
            traffic.run(MESSAGES, BACK_SECONDS)
        return node

    strike(nodes, fault)


def test_a_node_that_is_cut_off_from_redis_sends_its_streams_to_the_others(nodes: Nodes) -> None:
    def fault(traffic: Traffic, node: Node) -> Node:
        with node.store.silence():
            wait_until(lambda: node.readiness() == 503, BACK_SECONDS, what="the node not to be ready")
            wait_until(lambda: node.readiness_seconds() < READY_SECONDS, what="an answer without a wait for Redis")
            traffic.wait(lambda: not streams(node), BACK_SECONDS, what="the streams to leave the node")
            traffic.wait_live(seconds=BACK_SECONDS)
            traffic.run(MESSAGES, BACK_SECONDS)
        assert ends(traffic, "goodbye shutdown")
        return node

    strike(nodes, fault, silence_seconds=NO_SILENCE_SECONDS)


def test_a_node_drains_without_a_publish_that_fails(nodes: Nodes) -> None:
    seen: list[int | None] = []

    def fault(traffic: Traffic, node: Node) -> Node:
        def look() -> bool:
            seen.append(node.readiness())
            return node.has_ended()

        node.signal(signal.SIGTERM)
        traffic.wait(look, BACK_SECONDS, what="the node to end")
        look()  # once more, since it may have ended between two looks
        traffic.wait_live(seconds=BACK_SECONDS)
        assert ends(traffic, "goodbye shutdown")
        return node.start()

    # A publisher that gives up waiting would look like a publish that failed.
    traffic = strike(nodes, fault, silence_seconds=NO_SILENCE_SECONDS, answer_seconds=BACK_SECONDS)
    said = [status for status, _ in groupby(each for each in seen if each is not None)]
    assert said in ([200, 503, 0], [503, 0]), said
    assert traffic.book.answers.keys() <= {"200", "201", *REFUSED_ON_PURPOSE}, traffic.book.answers


def streams(node: Node) -> float:
    """How many are open at the node."""
    return node.metric("belfry_streams ")


def everywhere(nodes: Nodes, user: str, stack: ExitStack) -> list[StreamClient]:
    """A stream of the user at each node."""
    opened = [stack.enter_context(node.stream(user)) for node in nodes]
    for stream in opened:
        stream.wait_for("ready")
    return opened


def test_a_message_that_any_node_takes_reaches_the_streams_of_all(nodes: Nodes, alice: str) -> None:
    with ExitStack() as stack:
        opened = everywhere(nodes, alice, stack)
        for number, node in enumerate(list(nodes) * 3):
            node.publish({"to": alice, "data": number})
        for stream in opened:
            told = stream.wait_for_messages(3 * len(opened))
            assert [message["data"] for message in told] == list(range(3 * len(opened)))


def test_a_client_resumes_at_any_other_node(nodes: Nodes, alice: str) -> None:
    with nodes[0].stream(alice) as stream:
        cursor = stream.next_event().id
    for number, (publishes, resumes) in enumerate(zip(nodes, [*nodes][::-1], strict=True)):
        publishes.publish({"to": alice, "data": number})
        with resumes.stream(alice, cursor=cursor) as stream:
            assert [message["data"] for message in stream.wait_for_messages(1)] == [number]
            cursor = stream.cursor


def test_presence_is_the_same_at_every_node_and_any_may_end_a_connection(nodes: Nodes, alice: str) -> None:
    with ExitStack() as stack:
        opened = everywhere(nodes, alice, stack)
        for node in nodes:
            wait_until(partial(are_present, node, alice, len(opened)), BACK_SECONDS, what="presence")
        with nodes[0].api(nodes[0].token("root", "admin")) as api:
            assert api.delete(f"/presence/{alice}").status_code == 204
        for stream in opened:
            assert json.loads(stream.wait_for("goodbye", BACK_SECONDS).data)["reason"] == "disconnected"


def test_a_revocation_at_one_node_holds_at_all(nodes: Nodes, alice: str) -> None:
    token = nodes.front.token(alice, "feed")
    with ExitStack() as stack:
        opened = everywhere(nodes, alice, stack)
        with nodes[0].api(nodes[0].token("root", "admin")) as api:
            assert api.post("/admin/revocations", json={"user": alice}).ok
        for stream in opened:
            assert json.loads(stream.wait_for("goodbye", BACK_SECONDS).data)["reason"] == "revoked"
    for node in nodes:
        wait_until(partial(is_refused, node, token), BACK_SECONDS, what="the node to know")


def are_present(node: Node, user: str, connections: int) -> bool:
    """Whether it knows so many connections of the user."""
    with node.api(node.token("publisher", "publish")) as api:
        found = api.get("/presence", params={"users": user}).json()["users"][user]
    return bool(found["connections"] == connections)


def is_refused(node: Node, token: str) -> bool:
    """Whether it refuses the token."""
    with node.api(token) as api:
        return api.get("/feed").status_code == 401
