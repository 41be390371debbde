"""Belfry on a real gunicorn: one per module, so tests use user names of their own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browsing import chromium_path, launch
from tests.conftest import absent, starting
from tests.servers import HOST, Belfry, Nginx, RedisServer, ShippedNginx

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium. Playwright keeps an asyncio loop running, so it ends with the module."""
    if chromium_path() is None:
        absent("Chromium")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
