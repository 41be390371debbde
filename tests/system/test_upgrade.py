"""A rolling upgrade: a wheel of an earlier commit and this checkout serve the same Redis at the same time.

The test needs the history of the repository, so it fails in a shallow clone.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import absent
from tests.servers import REPOSITORY, Belfry, RedisServer
from tests.stream_client import StreamClient
from tests.waiting import wait_until

EARLIER = "feefb26"  # the version of 30 November 2026, 12:01
TURNS = 50

# Half a minute long, and it repeats what the tests of the format promise.
pytestmark = [pytest.mark.nightly, pytest.mark.needs("git")]


class EarlierBelfry(Belfry):
    """The server of an unpacked wheel."""

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-P", "-m", "belfry_push.server", "-c", "python:belfry_push.server.configuration"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the earlier package."""
    folder = tmp_path_factory.mktemp("earlier")
    archive = subprocess.run(["git", "archive", EARLIER], cwd=REPOSITORY, capture_output=True, check=False)
    if archive.returncode:
        absent(f"the commit {EARLIER} (git fetch --unshallow)")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder / "checkout", filter="data")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=folder / "checkout", check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as unpacked:
        unpacked.extractall(folder / "packages")
    return folder / "packages"


@pytest.fixture
def versions(packages: Path) -> Iterator[tuple[Belfry, Belfry]]:
    """The earlier server, which runs, and this one, which does not run yet."""
    with ExitStack() as stack:
        store = RedisServer(appendonly=True)
        stack.callback(store.destroy)
        store.start()
        earlier = EarlierBelfry(store.url, {"PYTHONPATH": str(packages)})
        stack.callback(earlier.destroy)
        shared = ("BELFRY_REDIS_PREFIX", "BELFRY_SECRET")
        this = Belfry(store.url, {name: earlier.settings_environment[name] for name in shared})
        stack.callback(this.destroy)
        earlier.start()
        yield earlier, this


def numbers(stream: StreamClient) -> list[Any]:
    return [message["data"] for message in stream.messages]


def test_a_rolling_upgrade_and_the_way_back_lose_double_and_reorder_nothing(versions: tuple[Belfry, Belfry]) -> None:
    earlier, this = versions
    sent = 0

    def publish(*servers: Belfry) -> None:
        nonlocal sent
        for _ in range(TURNS):
            for server in servers:
                message = {"to": ["alice", "bob"], "id": f"m{sent}", "data": sent, "ttl": 3_600}
                server.publish(message)
                sent += 1
                again = servers[0].publish(message)
                assert all(delivery["duplicate"] for delivery in again["deliveries"])

    with earlier.stream("alice") as on_earlier:
        on_earlier.wait_for("ready")
        publish(earlier)
        on_earlier.wait_for_messages(sent)
        earlier.reader("alice").post("/feed/read", json={"ids": ["m49"]})
        this.start()
        wait_until(lambda: this.api().get("/health/ready").ok, what="this version to be ready")
        with this.stream("alice", cursor=on_earlier.cursor) as on_this:
            on_this.wait_for("ready")
            publish(earlier, this)
            on_earlier.wait_for_messages(sent)
            on_this.wait_for_messages(sent - TURNS)
            assert numbers(on_earlier) == list(range(sent))
            assert numbers(on_this) == list(range(TURNS, sent))
            earlier.terminate()
            on_earlier.wait_for("goodbye")
            before, cursor = sent, on_this.cursor
            publish(this)
            on_this.wait_for_messages(sent - TURNS)
            feeds = [feed_of(this, "alice")]
        with this.stream("alice", cursor=on_earlier.cursor) as resumed:
            resumed.wait_for_messages(sent - before)
            assert numbers(resumed) == list(range(before, sent))
    this.terminate()
    earlier.start()
    feeds.append(feed_of(earlier, "alice"))
    with earlier.stream("alice", cursor=cursor) as back:
        back.wait_for("ready")
        publish(earlier)
        back.wait_for_messages(sent - before)
        assert numbers(back) == list(range(before, sent))
    assert feeds[0] == feeds[1]


def feed_of(server: Belfry, user: str) -> list[tuple[Any, bool]]:
    return [(message["data"], message["read"]) for message in server.reader(user).feed(limit=100)["messages"]]
