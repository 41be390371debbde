"""The embedded disk is full: publishing is refused, reading goes on, and all that was acknowledged is there later."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.faults.site import BACK_SECONDS, QUICK
from tests.faults.traffic import Traffic
from tests.servers import Belfry

DISK = "8m"
MESSAGES = 20
LARGE_BYTES = 30_000

pytestmark = pytest.mark.timeout(180)  # limits within tell more than this one


class Launched(Belfry):
    """As `./run` starts it: with the embedded server, whose data are in `data`."""

    def __init__(self, data: Path) -> None:
        super().__init__("", {**QUICK, "BELFRY_DATA_DIR": str(data)})

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "app.launch.launcher"]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of a few megabytes in memory."""
    with tempfile.TemporaryDirectory(prefix="belfry-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "belfry", name]
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            absent("the right to mount a small disk")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@pytest.fixture
def belfry(small_disk: Path) -> Iterator[Belfry]:
    server = Launched(small_disk / "data")
    try:
        yield server.start()
    finally:
        server.terminate()
        server.destroy()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4_096)):
                pass
        except OSError:
            return


def test_a_full_disk_refuses_messages_and_loses_none(belfry: Belfry, small_disk: Path) -> None:
    with Traffic(belfry) as traffic:
        traffic.run(MESSAGES)
        fill(small_disk / "filler")
        refused = traffic.book.answers["503"]
        traffic.wait(lambda: traffic.book.answers["503"] >= refused + 3, BACK_SECONDS, what="publishes to be refused")
        answer = belfry.publisher.publish({"to": "someone"})
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        with belfry.reader("a-newcomer") as newcomer:
            assert newcomer.get("/feed").ok, "a read needs no room: it creates nothing"
        with belfry.reader(traffic.users[0]) as known:
            assert known.feed()["messages"]
        with belfry.stream(traffic.users[0]) as stream:
            stream.wait_for("ready")
        assert all(reader.is_live and reader.connections == 1 for reader in traffic.readers)
        (small_disk / "filler").unlink()
        traffic.run(MESSAGES)
        assert belfry.terminate() == 0
        belfry.start()  # from the append-only file alone
        traffic.run(MESSAGES)
        verdict = traffic.finish()
    assert verdict.kept, verdict
    assert verdict.resets == 0
