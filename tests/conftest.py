"""Fixtures for every test: a real Redis or Valkey, servers on it, and a report of what they logged when one failed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import redis

from tests.examples import choose_profile
from tests.servers import Belfry, RedisServer, Server
from tests.tiers import ALONE, BY_NAME, NIGHTLY, may_hold, tier_of

MARKERS = (NIGHTLY, ALONE)
# The store of the whole run keeps what it gets, so that Belfry has nothing to warn of; the disk may take its time.
KEEPS = ("--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
LOG_TAIL = 4_000  # characters of a server's log that go into a failure's report

choose_profile()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tier", choices=BY_NAME, help="run only the tests of this tier, see tests/tiers.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the files of other tiers. A marked test may be in any file."""
    asked = config.getoption("--tier")
    if asked is None or not collection_path.is_file():
        return None
    wanted = may_hold(collection_path, asked) if asked in MARKERS else tier_of(collection_path) == asked
    return None if wanted else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the tier that was asked for; without one, all but the nightly tests."""
    asked = config.getoption("--tier")
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        tier = next((name for name in MARKERS if item.get_closest_marker(name)), None) or tier_of(item.path)
        wanted = tier == asked if asked else tier != NIGHTLY
        (kept if wanted else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def absent(what: str) -> NoReturn:
    """At home a missing program skips the tests that need it. In CI it fails them."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"needs {what}")


# Of Debian, for each program that a test asks for by name. `.ci/run` installs them; a test compares the two.
PACKAGES = {
    "cc": "gcc libc6-dev",
    "git": "git",
    "go": "golang-go",
    "haproxy": "haproxy",
    "javac": "default-jdk-headless",
    "nginx": "nginx",
    "node": "npm",
    "npm": "npm",
    "php": "php-cli php-curl",
    "pushpin": "pushpin",
    "ruby": "ruby",
    "systemd-analyze": "systemd",
}


def program(name: str) -> str:
    """The path of a program, also of one that only root has on its path."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return path or absent(f"{name} (Debian: apt-get install {PACKAGES[name]})")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.needs("cc")`: look for the program before any fixture starts something."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            program(name)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Leave the run's own threads out of the coverage: only its main thread and its servers are measured.

    coverage asks for the greenlet of every thread that it traces. Python has the main thread release the greenlets of
    ended threads, and coverage's callback runs there as a traced function, before which Python 3.11 looks for pending
    calls again and again while another thread ends: for ever (`DO_TRACING`, `RESUME` and `make_pending_calls` in its
    ceval.c). No signal ends that, so no test's timeout either.
    """
    threading.settrace(None)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the whole run."""
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    server = RedisServer(options=KEEPS)
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of the real server, which is empty now."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test alone, which it may freeze and kill: it loses nothing that it answered."""
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    server = RedisServer(appendonly=True)
    try:
        yield server.start()
    finally:
        server.destroy()


@contextmanager
def starting(redis_url: str, **defaults: str) -> Iterator[Callable[..., Belfry]]:
    """Starts servers, each with settings and options of gunicorn beside the defaults, and ends them."""
    with ExitStack() as started:

        def start(redis_url: str = redis_url, options: Sequence[str] = (), **environment: str) -> Belfry:
            server = Belfry(redis_url, {**defaults, **environment}, options)
            started.callback(server.destroy)
            return server.start()

        yield start


def refuse_skip(report: pytest.TestReport) -> None:
    """A test that is skipped fails in CI, so that nothing is left out there unnoticed. An expected failure may stay."""
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"no test is skipped in CI, and this one was: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the servers' logs beside a failure."""
    report = yield
    refuse_skip(report)
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            servers = {name: value} if isinstance(value, Server) else getattr(value, "servers", None)
            for each, server in servers.items() if isinstance(servers, dict) else ():
                if server.log_path.exists():
                    report.sections.append((f"log of {each}", server.log()[-LOG_TAIL:]))
    return report
