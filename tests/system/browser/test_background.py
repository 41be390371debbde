"""Tabs that nobody looks at: they may lead, they may be frozen, and the tab in front misses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from playwright.sync_api import Browser

from tests.background_tabs import BackgroundTab, Window
from tests.browsing import LASTING, NO_POLLING, NO_SILENCE
from tests.servers import Belfry
from tests.system.browser.test_tabs import WATCH_STREAMS
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

WATCH_FREEZING = """window.told = [];
for (const type of ["freeze", "resume"]) document.addEventListener(type, () => told.push(type));
"""

# A hidden tab lets a visible one go first: on a slow machine that one needs more time than the page gives it.
WAIT_LONGER = """const after = setTimeout;
window.setTimeout = (run, ms, ...given) => after(run, ms === 400 ? 60_000 : ms, ...given);
"""
# A clock that stands still and can be set forward, and a count of how often the connection was looked after. That is
# every 300 ms instead of every 3 s.
WATCH_TIME = """window.later = 0;
window.looks = 0;
window.isUnwatched = false;
const began = Date.now();
Date.now = () => began + later;
const every = setInterval;
window.setInterval = (run, ms) => every(() => {
    if (ms === 3_000 && isUnwatched) return;
    run();
    if (ms === 3_000) looks++;
}, ms === 3_000 ? 300 : ms);
"""


@pytest.fixture(scope="module")
def browser(browser_with_windows: Browser) -> Browser:
    return browser_with_windows


@pytest.fixture
def window(browser: Browser, belfry: Belfry, alice: str) -> Iterator[Window]:
    window = Window(browser, belfry, alice)
    yield window
    window.close()


def connections(belfry: Belfry, user: str) -> int:
    """How many streams of the user the server holds."""
    with belfry.api(belfry.token("operator", "publish")) as api:
        return int(api.get("/presence", params={"users": user}).json()["users"][user]["connections"])


def counts(tab: BackgroundTab, unread: int) -> bool:
    return tab.unread == unread


def wait_one_connection(belfry: Belfry, user: str) -> None:
    wait_until(lambda: connections(belfry, user) == 1, 20, what="one connection that the workers have reported")


def test_a_hidden_leader_goes_on_for_the_tab_in_front(window: Window, belfry: Belfry, alice: str) -> None:
    leader = window.tab(WATCH_STREAMS + NO_POLLING)
    front = window.tab(WATCH_STREAMS + NO_POLLING + NO_SILENCE)
    wait_until(lambda: leader.is_hidden)
    wait_until(lambda: (leader.leads, front.is_hidden, front.leads) == (True, False, False))
    belfry.publish({"to": alice, "title": "1"})
    front.expect_titles("1")
    leader.expect_titles("1")
    leader.show()
    wait_until(lambda: front.is_hidden)
    belfry.publish({"to": alice, "title": "2"})
    for tab in (leader, front):
        tab.expect_titles("2", "1")
    wait_one_connection(belfry, alice)


def test_silence_means_nothing_while_hidden_and_is_looked_into_when_seen(
    browser: Browser, start_belfry: StartBelfry, alice: str
) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_HEARTBEAT_SECONDS="120")
    with closing(Window(browser, belfry, alice)) as window:
        tab = window.tab(WATCH_STREAMS + WATCH_TIME + NO_POLLING, "/admin/", "#bell")
        window.cover()
        wait_until(lambda: tab.is_hidden)
        tab.evaluate("later += 60_000")
        looks = tab.evaluate("looks")
        wait_until(lambda: tab.evaluate("looks") > looks + 4, 30, what="it to be looked after")
        assert tab.evaluate("streams.length") == 1
        tab.evaluate("isUnwatched = true")
        tab.show()
        wait_until(lambda: tab.evaluate("streams.length") == 2, 20, what="a new stream before the next look")
        belfry.publish({"to": alice, "title": "1"})
        tab.expect_titles("1")  # from here on it is silent
        tab.evaluate("later += 60_000; isUnwatched = false")
        wait_until(lambda: tab.evaluate("streams.length") == 3, 20, what="a new stream while it is seen")
        belfry.publish({"to": alice, "title": "2"})
        tab.expect_titles("2", "1")


def test_a_frozen_leader_lets_go_and_follows_when_it_thaws(window: Window, belfry: Belfry, alice: str) -> None:
    leader = window.tab(WATCH_STREAMS + WATCH_FREEZING + NO_POLLING)
    front = window.tab(WATCH_STREAMS + NO_POLLING + NO_SILENCE)  # it leads because the leader says that it freezes
    leader.freeze()
    wait_until(lambda: front.leads, what="the tab in front to lead")
    belfry.publish({"to": alice, "title": "1"})
    front.expect_titles("1")
    leader.thaw()
    wait_until(lambda: leader.state == "live", what="the former leader to follow")
    wait_until(lambda: leader.evaluate("told") == ["freeze", "resume"])
    wait_until(lambda: not leader.leads, what="the former leader to have no stream")
    belfry.publish({"to": alice, "title": "2"})
    for tab in (leader, front):
        tab.expect_titles("2", "1")
    for tab in (leader, front):
        wait_until(partial(counts, tab, 2), what="both tabs to count both messages")
    wait_one_connection(belfry, alice)


def test_a_toast_shows_in_the_tab_in_front_though_a_hidden_one_leads(
    window: Window, belfry: Belfry, alice: str
) -> None:
    leader = window.tab(WATCH_STREAMS + WAIT_LONGER + LASTING + NO_POLLING, "/admin/", "#bell")
    front = window.tab(WATCH_STREAMS + LASTING + NO_POLLING + NO_SILENCE, "/admin/", "#bell")
    belfry.publish({"to": alice, "title": "Look"})
    wait_until(lambda: front.toasts == 1)
    leader.expect_titles("Look")
    wait_until(lambda: leader.leads)
    assert leader.toasts == 0


def test_what_came_to_a_hidden_tab_is_there_when_it_is_seen(window: Window, belfry: Belfry, alice: str) -> None:
    """A hidden tab has no animation frames: nothing may wait for one."""
    hidden = window.tab()
    window.tab()
    belfry.publish_all([{"to": alice, "title": str(number)} for number in range(5)])
    hidden.expect_titles("4", "3", "2", "1", "0")
    assert hidden.is_hidden
    hidden.show()
    hidden.expect_titles("4", "3", "2", "1", "0")
