"""A time of day that can be set while processes run; the monotonic clock stays true.

Redis gets it by libfaketime, which stands before the kernel. Python doesn't start under that (its `time.sleep` asks for
an absolute time of the monotonic clock, which libfaketime shifts), so there `time.time` is replaced before anything
else is imported: by a `sitecustomize` on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.servers import Belfry, RedisServer
from tests.waiting import wait_until

STEP_SECONDS = 60.0  # for everyone to notice
TOLERANCE_SECONDS = 60.0
_PLACES = ("usr/lib/*/faketime/libfaketimeMT.so.1", "usr/lib*/faketime/libfaketimeMT.so.1")

_SITECUSTOMIZE = """
import time
_true = time.time
def _set():
    with open({path!r}) as file:
        return _true() + int(file.read())
time.time = _set
"""


class Clock:
    """The time of day of all processes that were started with its environments."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "offset"
        self._path.write_text("+0")
        (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(path=str(self._path)))

    @staticmethod
    def library() -> Path | None:
        """libfaketime, where it is installed."""
        return next((found for place in _PLACES for found in Path("/").glob(place)), None)

    @property
    def of_redis(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(self.library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",  # seconds until it looks again
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    @property
    def of_belfry(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(self._directory)}

    def step(self, seconds: int, belfry: Belfry, store: RedisServer) -> None:
        """Set the clock off by so many seconds, and wait until both tell that time."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.replace(self._path)
        for server in (belfry, store):
            wait_until(partial(_tells, server, seconds), STEP_SECONDS, what=f"{server.directory} to tell another time")


def _tells(server: Belfry | RedisServer, seconds: int) -> bool:
    return abs(server.clock_offset_seconds() - seconds) < TOLERANCE_SECONDS
