"""A real Chromium in front of a real server with the demo's sign-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browsing import FeedTab, Visitor, wait_ms
from tests.servers import Belfry

Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "100"}


@pytest.fixture(autouse=True)
def patience() -> None:
    """`expect` without a limit of its own waits longer on a busy machine, as the tests' other waits do."""
    expect.set_options(timeout=wait_ms())


@pytest.fixture
def visit(browser: Browser, belfry: Belfry) -> Iterator[Visit]:
    """Opens a browser for a user: `visit("alice")`. A page whose script failed fails the test."""
    with ExitStack() as opened:

        def start(user: str, url: str = belfry.url, **options: Any) -> Visitor:
            visitor = Visitor(browser, url, user, **options)
            opened.callback(visitor.close)
            return visitor

        yield start


@pytest.fixture
def visitor(visit: Visit, alice: str) -> Visitor:
    return visit(alice)


@pytest.fixture
def tab(visitor: Visitor) -> FeedTab:
    """Alice's page `/`, connected."""
    return visitor.tab()
