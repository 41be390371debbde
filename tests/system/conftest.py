"""Belfry on a real gunicorn: one per module, so tests use user names of their own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browsing import chromium_path, launch
from tests.conftest import absent, starting
from tests.servers import HOST, Belfry, Nginx, RedisServer, ShippedNginx
from tests.tiers import BROWSER

StartBelfry = Callable[..., Belfry]

# For `start_belfry(**LINGERING)`. A worker that stops waits until the test has closed its connections, and not only for
# a second. So what the test asks after the goodbye is in time on any machine.
LINGERING: dict[str, Any] = {"options": ("-c", "tests/system/lingering_conf.py"), "BELFRY_DRAIN_SECONDS": "60"}


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Settings for the module's server; a module overrides this fixture."""
    return {}


@pytest.fixture(scope="module")
def belfry(redis_server: RedisServer, environment: Mapping[str, str]) -> Iterator[Belfry]:
    server = Belfry(redis_server.url, environment)
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture
def start_belfry(redis_server: RedisServer) -> Iterator[StartBelfry]:
    """Starts further servers, each with settings of its own: `start_belfry(BELFRY_RETRY_MS="500")`."""
    with starting(redis_server.url) as start:
        yield start


@pytest.fixture
def nginx(belfry: Belfry) -> Iterator[Nginx]:
    if Nginx.binary() is None:
        absent("nginx")
    server = Nginx(belfry.port)
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def shipped_nginx(belfry: Belfry) -> Iterator[ShippedNginx]:
    """The module's server behind nginx as `deploy/nginx.conf` sets it up."""
    with in_front_of(f"{HOST}:{belfry.port}") as server:
        yield server


@contextmanager
def in_front_of(upstream: str) -> Iterator[ShippedNginx]:
    if ShippedNginx.binary() is None:
        absent("nginx")
    server = ShippedNginx(upstream)
    try:
        yield server.start()
    finally:
        server.destroy()


@pytest.fixture
def alice() -> str:
    """A user whom no other test knows."""
    return f"alice-{secrets.token_hex(4)}"


@pytest.fixture
def bob() -> str:
    return f"bob-{secrets.token_hex(4)}"


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"news-{secrets.token_hex(4)}"


def browser_scope(fixture_name: str, config: pytest.Config) -> Literal["session", "module"]:  # noqa: ARG001 - pytest names both
    """One browser for the whole browser tier. Elsewhere it ends with its module: Playwright keeps an asyncio loop
    running in the main thread, which other tests do not expect."""
    return "session" if config.getoption("--tier") == BROWSER else "module"


@pytest.fixture(scope=browser_scope)
def playwright() -> Iterator[Playwright]:
    if chromium_path() is None:
        absent("Chromium")
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope=browser_scope)
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The machine's own Chromium, or the browser that `BELFRY_TEST_BROWSER` names."""
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser_with_windows(playwright: Playwright) -> Iterator[Browser]:
    """The machine's own Chromium as people have it: for tabs that are hidden."""
    browser = launch(playwright, chromium_path())
    yield browser
    browser.close()
