"""Fixtures for every test: a real Redis or Valkey, and a report of what the servers logged when a test failed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import NoReturn

import pytest
import redis

from tests.servers import RedisServer, Server

# What holds servers to times or memory, or loads them as far as they go: nothing else runs beside it, and no coverage
# slows it down. All other tests run several at a time.
ALONE = (
    "tests/bench/",
    "tests/faults/",
    "tests/live/test_conformance.py",  # runs its own share of things side by side
    "tests/live/test_drain.py",
    "tests/live/test_nginx.py",
    "tests/live/test_overload.py",
    "tests/live/test_redis_faults.py",
    "tests/live/test_sign_in.py",
    "tests/live/test_slow_reader.py",
)
LOG_TAIL = 4_000  # characters of a server's log that go into a failure's report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them before the marks are selected by."""
    for item in items:
        if item.nodeid.startswith(ALONE):
            item.add_marker(pytest.mark.alone)


def absent(what: str) -> NoReturn:
    """At home a missing server skips the tests that need it; in CI it must not pass unnoticed."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the whole run."""
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    server = RedisServer()
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the servers' logs beside a failure."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            servers = {name: value} if isinstance(value, Server) else getattr(value, "servers", {})
            for each, server in servers.items():
                if server.log_path.exists():
                    report.sections.append((f"log of {each}", server.log()[-LOG_TAIL:]))
    return report
