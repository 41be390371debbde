"""What the workers share is patched as if each had loaded it by itself, and costs each of them little."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from app.launch.installation import base

MASTER = """
import gc, json, os, random, signal, threading, time
from tests.unpatched import load_as_the_master
load_as_the_master()
import sys
from gunicorn.arbiter import Arbiter
from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from app.server import preload
own = {name for name in sys.modules if name.startswith("app")}
descriptors = os.listdir("/proc/self/fd")
heard = []
for number in Arbiter.SIGNALS + [signal.SIGCHLD]:
    signal.signal(number, lambda number, frame: heard.append(number))
gc.freeze = lambda: None
originals = [os.fork, os.waitpid, signal.signal, time.sleep]
preload.load()
for number in Arbiter.SIGNALS + [signal.SIGCHLD]:
    os.kill(os.getpid(), number)
print(json.dumps({
    "own": sorted({name for name in sys.modules if name.startswith("app")} - own),
    "descriptors": len(os.listdir("/proc/self/fd")) - len(descriptors),
    "threads": len(os.listdir("/proc/self/task")),
    "loop": get_hub_if_exists() is not None,
    "generators": sum(type(each) is random.Random for each in gc.get_objects()),
    "deaf_to": sorted(set(Arbiter.SIGNALS + [signal.SIGCHLD]) - set(heard)),
    "keeps": originals == [os.fork, os.waitpid, signal.signal, time.sleep],
}))
"""


def output(*arguments: str) -> Any:
    """What a fresh interpreter prints as JSON."""
    command = [sys.executable, "-W", "error", *arguments]
    return json.loads(subprocess.run(command, cwd=base(), capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def shared() -> Any:
    """A worker of a master that has loaded the libraries."""
    return output("-m", "tests.unpatched", "yes")


@pytest.fixture(scope="module")
def alone() -> Any:
    """A worker that loads everything by itself, after it was patched."""
    return output("-m", "tests.unpatched", "no")


def test_a_worker_holds_nothing_unpatched_that_it_would_not_hold_had_it_loaded_everything(
    shared: Any, alone: Any
) -> None:
    # A default of the standard library's own `Popen`, in whose place gevent's is.
    known = {"subprocess holds os.waitpid", "builtins.tuple holds os.waitpid"}
    assert set(shared["held"]) - set(alone["held"]) <= known
    assert shared["replaced"] == alone["replaced"]
    assert {"time.sleep", "ssl.SSLContext", "subprocess.Popen"} <= set(shared["replaced"])


def test_a_worker_loads_no_library_by_itself(shared: Any, alone: Any) -> None:
    assert {"redis", "flask", "requests", "jwt"} <= set(alone["loaded"])
    assert shared["loaded"] == []


def test_the_master_opens_nothing_starts_nothing_and_has_nothing_that_a_fork_must_not_copy() -> None:
    assert output("-c", MASTER) == {
        "own": [],  # its modules have counters' files and random numbers of their own
        "descriptors": 0,
        "threads": 1,
        "loop": False,
        "generators": 1,  # the module's, which has itself seeded anew in every child
        "deaf_to": [],  # the end of libev's default loop takes SIGCHLD away
        "keeps": True,
    }
