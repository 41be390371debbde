"""Two devices, one connection allowed: the older one stops, and they don't push each other out for ever."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.servers import Belfry
from tests.waiting import wait_until

HEARTBEATS = 10  # two seconds, in which a client that came back would have done so many times


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {
        "BELFRY_DEMO": "1",
        "BELFRY_MAX_CONNECTIONS_PER_USER": "1",
        "BELFRY_RETRY_MS": "100",
        "BELFRY_HEARTBEAT_SECONDS": "0.2",
    }


def replaced(belfry: Belfry) -> int:
    found = re.search(
        r'^belfry_streams_ended_total\{reason="replaced"\} (\S+)$', belfry.api().get("/metrics").text, re.MULTILINE
    )
    return int(float(found[1])) if found else 0


def device(browser: Browser, belfry: Belfry, user: str) -> BrowserContext:
    context = browser.new_context(base_url=belfry.url)
    page = context.new_page()
    page.goto("/")
    page.fill("#name", user)
    page.click("button.primary")
    root = belfry.api(belfry.token("root", "admin"))
    wait_until(lambda: user in root.get("/presence").json()["users"], what="the page's connection to be listed")
    return context


def test_the_page_obeys_a_goodbye_and_stays_away(browser: Browser, belfry: Belfry, alice: str) -> None:
    before = replaced(belfry)
    with device(browser, belfry, alice), belfry.stream(alice) as newer:
        newer.wait_for("ready")
        wait_until(lambda: replaced(belfry) == before + 1)
        beats = 0
        while beats < HEARTBEATS:  # it would end with a goodbye if the page came back
            beats += newer.next_event().event == "heartbeat"
        assert "goodbye" not in {event.event for event in newer.events}
        assert replaced(belfry) == before + 1
