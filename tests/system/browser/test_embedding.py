"""The bell on another team's page: another origin, a strict policy, tokens of a back end, as in docs/embedding.md."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, expect

from tests.browsing import BACK_SECONDS, LASTING, NO_SILENCE, WAIT_SECONDS, FeedTab, wait_ms
from tests.host_site import HostSite, host_site
from tests.servers import HOST, REPOSITORY, Belfry, Server, free_port
from tests.system.conftest import StartBelfry
from tests.waiting import patient, wait_until

PAGE_BELFRY = "http://127.0.0.1:8000"
PAGE_HOST = "http://127.0.0.1:8080"
# Only Chromium tells a page that it will be frozen, as it is in the cache; the others tell that it is left.
NO_FREEZING = """for (const type of ["freeze", "resume"])
    addEventListener(type, (event) => event.stopImmediatePropagation(), { capture: true });
"""

TELL_CACHED = """
    addEventListener("pagehide", () => { window.isCached = undefined; });
    addEventListener("pageshow", (event) => { window.isCached = event.persisted; });
"""
BADGE = """feed => {
    const badge = feed.shadowRoot?.querySelector(".badge");
    return badge?.checkVisibility() ? badge.innerText : "";
}"""
WHY_NOT_CACHED = "JSON.stringify(performance.getEntriesByType('navigation')[0].notRestoredReasons ?? null)"


@pytest.fixture(scope="module")
def browser(browser_with_windows: Browser) -> Browser:
    """The browser without windows keeps no page in a back/forward cache."""
    return browser_with_windows


@pytest.fixture(scope="module")
def shared_site() -> Iterator[HostSite]:
    with host_site() as site:
        yield site


@pytest.fixture(scope="module")
def environment(shared_site: HostSite) -> Mapping[str, str]:
    return {"BELFRY_CORS_ORIGINS": shared_site.url, "BELFRY_RETRY_MS": "100"}


@pytest.fixture
def site(shared_site: HostSite, belfry: Belfry, alice: str) -> HostSite:
    """The site, with alice signed in; nobody has asked it for anything yet."""
    shared_site.belfry = belfry.url
    shared_site.mint = lambda: belfry.token(alice, "feed")
    shared_site.asked.clear()
    return shared_site


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that has never been at Belfry's own pages. What a policy forbids there is an error."""
    context = browser.new_context()
    context.set_default_timeout(wait_ms())
    failures: list[str] = []
    context.on("weberror", lambda failure: failures.append(str(failure.error)))
    context.on("console", lambda line: failures.append(line.text) if "Content Security Policy" in line.text else None)
    yield context
    context.close()
    assert not failures


def bell_on(context: BrowserContext, site: HostSite) -> FeedTab:
    """The site's page with its bell, connected."""
    tab = FeedTab(context.new_page())
    tab.page.goto(site.url)
    tab.wait_connected()
    return tab


def badge(tab: FeedTab) -> str:
    """What the badge shows, in one look, since it may be replaced between two."""
    return str(tab.feed.evaluate(BADGE))


def expect_badge(tab: FeedTab, text: str, seconds: float = WAIT_SECONDS) -> None:
    wait_until(lambda: badge(tab) == text, seconds, what=f"the badge to show {text!r}")


def leave_and_come_back(tab: FeedTab, site: HostSite, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Go to another page and back to this one, which must come out of the browser's cache.

    It has three tries: the browser may look for locks before it has heard that the page let go of them.
    """
    reasons = []
    for _ in range(3):
        tab.page.goto(f"{site.url}/other")
        meanwhile()
        tab.page.go_back(wait_until="commit")
        wait_until(lambda: tab.page.evaluate("window.isCached !== undefined"), what="the page to be shown")
        if tab.page.evaluate("window.isCached"):
            return
        reasons.append(tab.page.evaluate(WHY_NOT_CACHED))
        tab.wait_connected()
    raise AssertionError(f"the page never came out of the cache: {reasons}")


def test_the_bell_works_on_another_origin_under_a_strict_policy(
    context: BrowserContext, site: HostSite, belfry: Belfry, alice: str
) -> None:
    """All that a day brings: a message, a click, a reload, a second tab, a server that restarts."""
    context.add_init_script(LASTING)
    tab = bell_on(context, site)
    belfry.publish({"to": alice, "title": "Order shipped", "level": "success", "event": "order"})
    expect(tab.toasts).to_contain_text("Order shipped")
    expect_badge(tab, "1")
    tab.feed.locator(".bell").click()
    tab.expect_titles("Order shipped")
    panel = tab.feed.locator(".panel")
    wait_until(lambda: int(panel.evaluate("panel => panel.offsetWidth")) > 300, what="the styles of the panel")
    tab.articles.first.click()
    expect_badge(tab, "")
    wait_until(lambda: belfry.reader(alice).feed()["unread"] == 0, what="the server to know")

    belfry.publish({"to": alice, "title": "Second"})
    tab.page.reload()
    tab.wait_connected()
    expect_badge(tab, "1")
    other = bell_on(context, site)
    expect_badge(other, "1")

    belfry.kill()
    try:
        wait_until(lambda: tab.state != "live", BACK_SECONDS)
    finally:
        belfry.start()  # the next test needs it as well
    belfry.publish({"to": alice, "title": "Third"})
    for each in (tab, other):
        expect_badge(each, "2", BACK_SECONDS)
    other.feed.locator(".bell").click()
    other.feed.get_by_role("button", name="Mark all as read").click()
    for each in (tab, other):
        expect_badge(each, "")
    assert not context.cookies(), "Belfry set a cookie on a stranger's page"


@pytest.mark.parametrize("script", ["", NO_FREEZING], ids=["as Chromium", "as others"])
def test_a_page_that_was_left_lets_go_and_goes_on_when_one_comes_back(
    context: BrowserContext, site: HostSite, belfry: Belfry, alice: str, script: str
) -> None:
    """The browser's real back/forward cache, which takes no page with an open connection, lock or channel."""
    context.add_init_script(script)
    context.add_init_script(TELL_CACHED)
    tab = bell_on(context, site)
    titles = ["before"]
    belfry.publish({"to": alice, "title": "before"})
    expect_badge(tab, "1")

    def publish_when_away() -> None:
        wait_until(lambda: not belfry.is_online(alice), what="the left page's connection to end")
        titles.insert(0, f"away {len(titles)}")
        belfry.publish({"to": alice, "title": titles[0]})

    leave_and_come_back(tab, site, publish_when_away)
    tab.wait_connected()
    expect_badge(tab, str(len(titles)))
    belfry.publish({"to": alice, "title": "after"})
    expect_badge(tab, str(len(titles) + 1))
    tab.feed.locator(".bell").click()
    tab.expect_titles("after", *titles)


@pytest.mark.parametrize("at", [0, 1], ids=["the leading tab", "the other tab"])
def test_a_page_that_showed_a_message_comes_out_of_the_cache_though_other_tabs_are_open(
    context: BrowserContext, site: HostSite, belfry: Belfry, alice: str, at: int
) -> None:
    """Chromium drops a page from the back/forward cache when it holds a lock for which another tab asks."""
    context.add_init_script(TELL_CACHED)
    context.add_init_script(LASTING)
    tabs = bell_on(context, site), bell_on(context, site)
    tab = tabs[at]
    belfry.publish({"to": alice, "title": "1"})
    wait_until(lambda: any(each.toasts.count() for each in tabs), what="one of the tabs to show the message")
    leave_and_come_back(tab, site)
    tab.wait_connected()
    expect_badge(tab, "1")


def test_another_tab_takes_over_when_the_leader_s_page_is_left(
    context: BrowserContext, site: HostSite, belfry: Belfry, alice: str
) -> None:
    context.add_init_script(NO_SILENCE)  # it takes over because the leader lets go
    leader, other = bell_on(context, site), bell_on(context, site)
    leader.page.goto(f"{site.url}/other")
    belfry.publish({"to": alice, "title": "1"})
    expect_badge(other, "1")
    leader.page.go_back(wait_until="commit")
    leader.wait_connected()
    belfry.publish({"to": alice, "title": "2"})
    for tab in (leader, other):
        expect_badge(tab, "2")


def test_tabs_of_another_origin_are_counted_too(
    context: BrowserContext, site: HostSite, belfry: Belfry, alice: str
) -> None:
    for _ in range(2):
        bell_on(context, site)
    root = belfry.api(belfry.token("root", "admin"))

    def tabs() -> list[int | None]:
        return [each["tabs"] for each in root.get("/presence").json()["users"].get(alice, {"list": []})["list"]]

    wait_until(lambda: tabs() == [2], 20, what=lambda: f"two tabs on one connection, got {tabs()}")


def test_a_stream_on_another_origin_is_opened_with_a_ticket_not_a_token(
    context: BrowserContext, site: HostSite
) -> None:
    with context.expect_event("request", lambda request: "/stream?" in request.url) as opened:
        bell_on(context, site)
    assert re.search(r"[?&]ticket=\w", opened.value.url)
    assert "authorization" not in opened.value.all_headers()
    assert "eyJ" not in opened.value.url, "a token stands in an address"
    assert "/belfry-token" in site.asked


def test_a_token_that_ran_out_is_replaced_by_the_back_end_s_next_one(
    context: BrowserContext, site: HostSite, belfry: Belfry, alice: str
) -> None:
    seconds = math.ceil(patient(3))
    lives = [seconds, seconds]  # the third token lasts
    site.mint = lambda: belfry.token(alice, "feed", seconds=lives.pop() if lives else 600)
    tab = bell_on(context, site)
    wait_until(lambda: site.asked.count("/belfry-token") > 2, BACK_SECONDS, what="another two tokens")
    wait_until(lambda: tab.state == "live", BACK_SECONDS)
    belfry.publish({"to": alice, "title": "still here"})
    expect_badge(tab, "1")


def test_an_origin_that_is_not_on_the_list_gets_nothing(
    browser: Browser, start_belfry: StartBelfry, site: HostSite, alice: str
) -> None:
    belfry = start_belfry(BELFRY_CORS_ORIGINS="https://elsewhere.example")
    site.belfry = belfry.url
    site.mint = lambda: belfry.token(alice, "feed")
    belfry.publish({"to": alice, "title": "secret"})
    context = browser.new_context()
    context.set_default_timeout(wait_ms())
    tab = FeedTab(context.new_page())
    tab.page.goto(site.url)
    wait_until(lambda: tab.state == "waiting")
    assert tab.unread == 0
    assert tab.titles.count() == 0
    context.close()


class DocumentedSite(Server):
    """The files of docs/embedding.md in an otherwise empty folder, started with its commands."""

    def __init__(self, belfry_secret: str, port: int) -> None:
        super().__init__("documented", {"BELFRY_SECRET": belfry_secret})
        self.port = port
        self.url = f"http://{HOST}:{self.port}"

    def write(self, belfry_url: str) -> None:
        for name, text in documented_files().items():
            (self.directory / name).write_text(text.replace(PAGE_BELFRY, belfry_url))

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "flask", "--app", self.directory / "shop.py", "run", "--port", str(self.port)]

    def is_ready(self) -> bool:
        try:
            return requests.get(self.url, timeout=1).ok
        except requests.RequestException:
            return False


def documented_files() -> dict[str, str]:
    """`shop.py` and `page.html`: the code blocks of docs/embedding.md that begin with their names."""
    text = (REPOSITORY / "docs" / "embedding.md").read_text()
    blocks = re.findall(r"^```\w+\n((?:# |<!-- )(shop\.py|page\.html)\b.*?)^```", text, re.DOTALL | re.MULTILINE)
    return {name: block for block, name in blocks}


def test_the_two_files_of_the_documentation_make_a_page_with_a_bell(
    context: BrowserContext, start_belfry: StartBelfry
) -> None:
    assert set(documented_files()) == {"shop.py", "page.html"}
    port = free_port()
    belfry = start_belfry(BELFRY_CORS_ORIGINS=PAGE_HOST.replace("8080", str(port)))
    shop = DocumentedSite(belfry.settings_environment["BELFRY_SECRET"], port)
    try:
        shop.write(belfry.url)
        shop.start()
        tab = FeedTab(context.new_page(), "belfry-feed")
        tab.page.goto(shop.url)
        tab.wait_connected()
        belfry.publish({"to": "alice", "title": "Hello"})
        expect_badge(tab, "1")
    finally:
        shop.destroy()
