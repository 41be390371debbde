"""How often a worker asks Redis: once for a message published, twice for a stream opened, never for a delivery.

Counted in what goes over the wire, by a proxy between Belfry and Redis.
"""

from __future__ import annotations

import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.launch.demo import new_push_key
from app.store.insight import directory, flights, recent
from tests.push_service import Browser
from tests.servers import Belfry, RedisServer
from tests.system.conftest import StartBelfry

# A worker looks regularly at the logs that it reads. On a busy machine, a test may take so long that it sees that.
NO_TAIL_CHECK = {"BELFRY_TAIL_CHECK_SECONDS": "300"}
# A worker writes these once a second, about the connections and messages of that second. On a busy machine, a test may
# take so long that it sees them.
SCRIPTS = (*directory.SCRIPTS, *flights.SCRIPTS, *recent.SCRIPTS)
AFTER_THE_FACT = (b"XADD", b"HSET", b"HDEL", *[script.sha.encode() for script in SCRIPTS])

_COMMAND = re.compile(rb"(?=\*\d+\r\n\$\d+\r\n[A-Z])")  # where one begins, in RESP


def _asks(command: bytes, name: str) -> bool:
    return name.encode() in command and not any(after in command for after in AFTER_THE_FACT)


class Wire:
    """Passes everything on, and remembers what was sent to Redis: a piece is what went out in one write."""

    def __init__(self, redis_path: str, path: str) -> None:
        self._redis_path = redis_path
        self.url = f"unix://{path}"
        self.pieces: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def about(self, name: str) -> list[bytes]:
        """The pieces in which something was asked about `name`, beside what is noted after the fact."""
        return [piece for piece in self.pieces if any(_asks(command, name) for command in _COMMAND.split(piece))]

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self._redis_path)
            threading.Thread(target=self._pass, args=(client, upstream, self.pieces), daemon=True).start()
            threading.Thread(target=self._pass, args=(upstream, client, []), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, seen: list[bytes]) -> None:
        with source, target:
            try:
                while piece := source.recv(1_048_576):
                    seen.append(piece)
                    target.sendall(piece)
            except OSError:
                return


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="belfry-wire-") as folder:
        wire = Wire(str(redis_server.socket_path), str(Path(folder) / "wire.sock"))
        yield wire
        wire.close()


@pytest.fixture
def behind_wire(wire: Wire, start_belfry: StartBelfry) -> Belfry:
    # Web Push is on, and costs nothing where nobody uses it. Its delay is longer than the tests take.
    belfry = start_belfry(
        wire.url, BELFRY_PUSH_PRIVATE_KEY=new_push_key(), BELFRY_PUSH_DELAY_SECONDS="3600", **NO_TAIL_CHECK
    )
    with belfry.stream("warm-up") as stream:  # scripts are loaded, connections are open
        stream.wait_for("ready")
        belfry.publish({"to": "warm-up"})
        stream.wait_for_messages(1)
    return belfry


def test_a_message_takes_one_and_its_delivery_none(wire: Wire, behind_wire: Belfry) -> None:
    with behind_wire.stream("trip-alice") as stream:
        stream.wait_for("ready")
        before = len(wire.about("trip-alice"))
        behind_wire.publish({"to": "trip-alice", "id": "trip-1", "title": "hi"})
        stream.wait_for_messages(1)
        assert len(wire.about("trip-alice")) == before + 1
        assert len(wire.about("trip-1")) == 1


def test_a_message_to_many_and_one_that_the_server_names_take_one(wire: Wire, behind_wire: Belfry) -> None:
    behind_wire.publish({"to": ["trip-bob", "trip-carol", "trip-dora"], "id": "trip-2"})
    assert len(wire.about("trip-bob")) == len(wire.about("trip-2")) == 1
    behind_wire.publish({"to": "trip-emil"})
    assert len(wire.about("trip-emil")) == 1


def test_a_push_takes_no_round_trip_of_its_own_and_a_message_without_push_asks_for_no_device(
    wire: Wire, behind_wire: Belfry
) -> None:
    behind_wire.publish({"to": "trip-hal", "id": "trip-3"})
    assert not [piece for piece in wire.about("trip-hal") if b"{pushes}" in piece]
    with behind_wire.reader("trip-gus") as api:
        subscription = Browser().subscription("https://fcm.googleapis.com/trip")
        assert api.request("POST", "/push/subscriptions", json=subscription).status_code == 201
    behind_wire.publish({"to": ["trip-gus", "trip-hal"], "id": "trip-4", "push": True})
    (piece,) = wire.about("trip-4")
    assert b"{pushes}" in piece


def test_a_batch_takes_a_few(wire: Wire, behind_wire: Belfry) -> None:
    behind_wire.publish_all([{"to": f"trip-many-{number}"} for number in range(200)])
    assert len(wire.about("trip-many")) <= 20, "far fewer than one for each"


def test_a_stream_takes_two_also_one_that_resumes(wire: Wire, behind_wire: Belfry) -> None:
    with behind_wire.stream("trip-fay") as stream:
        stream.wait_for("ready")
        cursor = stream.cursor
        assert len(wire.about("trip-fay")) == 2, "one to hear of every append from now on, one to read"
    behind_wire.publish_all([{"to": "trip-fay", "title": f"{number}"} for number in range(10)])
    before = len(wire.about("trip-fay"))
    with behind_wire.stream("trip-fay", cursor=cursor) as stream:
        stream.wait_for("ready")
        stream.wait_for_messages(10)
        assert len([piece for piece in wire.about("trip-fay")[before:] if b"UNSUBSCRIBE" not in piece]) == 2
