"""Belfry on a real gunicorn: one per module, so tests use user names of their own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browsing import chromium_path, launch
from tests.conftest import absent, starting
from tests.servers import Belfry, Nginx, RedisServer

StartBelfry = Callable[..., Belfry]


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium. Playwright keeps an asyncio loop running, so it ends with the module."""
    if chromium_path() is None:
        absent("Chromium")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
