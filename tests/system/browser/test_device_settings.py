"""A sound and the desktop's own notifications: for those who want them, in one tab, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.background_tabs import BackgroundTab, Window
from tests.browsing import LASTING
from tests.servers import Belfry
from tests.waiting import wait_until

BELL = "document.querySelector('#bell').shadowRoot"
# What would be heard, and what the desktop would show. A hidden tab waits 400 ms, so that a visible one tells of a
# message first. Where one is visible, the hidden ones wait longer here, since a tab of a busy machine may be that late.
WATCH = """const waited = setTimeout;
window.hiddenWaitMs = 60_000;
window.setTimeout = (run, ms, ...rest) => waited(run, ms === 400 ? hiddenWaitMs : ms, ...rest);
window.sounds = 0;
window.AudioContext = class extends AudioContext {
    constructor() { super(); sounds++; }
};
window.notes = [];
window.Notification = class extends Notification {
    constructor(title, options) { super(title, options); notes.push(title + ": " + options.body); }
};"""


@pytest.fixture(scope="module")
def browser(browser_with_windows: Browser) -> Browser:
    return browser_with_windows


@pytest.fixture
def window(browser: Browser, belfry: Belfry, alice: str) -> Iterator[Window]:
    window = Window(browser, belfry, alice)
    yield window
    window.close()


def bell(window: Window) -> BackgroundTab:
    return window.tab(LASTING + WATCH, "/admin/", "#bell")


def wish(tab: BackgroundTab, name: str) -> None:
    """Take the wish, or take it back, where the panel offers it."""
    tab.evaluate(f"{BELL}.querySelector('input[name={name}]').click()")


def wished(tab: BackgroundTab, name: str) -> bool:
    return bool(tab.evaluate(f"{BELL}.querySelector('input[name={name}]').checked"))


def ring(belfry: Belfry, user: str, tab: BackgroundTab) -> None:
    """Send a message and wait until one tab has told of it: that one holds a lock for a while."""
    sent = belfry.publish({"to": user, "title": "Look", "body": "here"})["id"]
    told = f"navigator.locks.query().then(({{ held }}) => held.some(({{ name }}) => name === 'belfry shown {sent}'))"
    wait_until(lambda: tab.evaluate(told), what="a tab to tell of it")


def test_a_sound_is_played_only_for_who_wished_it(window: Window, belfry: Belfry, alice: str) -> None:
    tab = bell(window)
    ring(belfry, alice, tab)
    wait_until(lambda: tab.toasts == 1, what="the toast, whose module is loaded with the first one")
    assert tab.evaluate("sounds") == 0
    wish(tab, "sound")
    wait_until(lambda: tab.evaluate("sounds") == 1, what="the sound that shows the user what it is")
    ring(belfry, alice, tab)
    wait_until(lambda: tab.evaluate("sounds") == 2)
    later = bell(window)
    wait_until(lambda: wished(later, "sound"), what="the wish, which holds for all tabs of the site")
    wish(later, "sound")
    ring(belfry, alice, later)
    wait_until(lambda: later.toasts == 1, what="the toast, which comes after the sound")
    assert (tab.evaluate("sounds"), later.evaluate("sounds")) == (2, 0)


def test_the_desktop_is_told_only_after_consent_and_by_one_hidden_tab(
    window: Window, belfry: Belfry, alice: str
) -> None:
    window.permit("notifications", "granted")  # for something else of this site
    tabs = [bell(window), bell(window)]
    window.cover()
    for tab in tabs:
        tab.evaluate("hiddenWaitMs = 400")

    def notes() -> list[str]:
        return [note for tab in tabs for note in tab.evaluate("notes")]

    ring(belfry, alice, tabs[0])
    assert notes() == []
    wish(tabs[0], "desktop")
    desktop = "localStorage.getItem('belfry.desktop')"  # another process may see the change a moment later
    wait_until(lambda: [tab.evaluate(desktop) for tab in tabs] == ["yes", "yes"], what="both tabs to know the wish")
    ring(belfry, alice, tabs[0])
    wait_until(lambda: notes() == ["Look: here"])
    tabs[0].evaluate("hiddenWaitMs = 60_000")
    tabs[1].show()
    ring(belfry, alice, tabs[1])
    wait_until(lambda: tabs[1].toasts >= 1)
    assert notes() == ["Look: here"], "who looks at a tab is told there"


def test_who_blocks_notifications_is_told_so_and_gets_none(window: Window, belfry: Belfry, alice: str) -> None:
    window.permit("notifications", "denied")
    tab = bell(window)
    wish(tab, "desktop")
    said = f"{BELL}.querySelector('.settings p').textContent"
    wait_until(lambda: tab.evaluate(said) == "The browser does not show desktop notifications for this site.")
    assert not wished(tab, "desktop")
    window.cover()
    tab.evaluate("hiddenWaitMs = 400")
    ring(belfry, alice, tab)
    assert tab.evaluate("notes") == []
