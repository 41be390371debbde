"""A person at a browser: signing in, looking at a feed, using it. Nothing here knows pytest."""

from __future__ import annotations

import shutil
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect

WAIT_MS = 10_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


def launch(playwright: Playwright) -> Browser:
    """The machine's own Chromium, which keeps left pages in its back/forward cache as people's browsers do."""
    return playwright.chromium.launch(
        executable_path=chromium_path(), args=FLAGS, ignore_default_args=["--disable-back-forward-cache"]
    )


class Visitor:
    """One browser of one user: its tabs share cookies, locks and storage. Collects what fails in its pages' scripts."""

    def __init__(self, browser: Browser, base_url: str, user: str, **options: Any) -> None:
        self.user = user
        self.context: BrowserContext = browser.new_context(base_url=base_url, **options)
        self.context.set_default_timeout(WAIT_MS)
        self.errors: list[str] = []
        self.context.on("weberror", lambda failure: self.errors.append(str(failure.error)))
        sign_in(self.context, user)

    def tab(self, path: str = "/") -> FeedTab:
        """Another tab, connected."""
        tab = FeedTab(self.context.new_page())
        tab.page.goto(path)
        tab.wait_connected()
        return tab

    def close(self) -> None:
        self.context.close()
        assert not self.errors


def sign_in(context: BrowserContext, user: str) -> None:
    """Get the session's cookie without looking at a page."""
    answer = context.request.post("/login", form={"name": user}, max_redirects=0)
    assert answer.status == 303, answer.text()


class FeedTab:
    """A page with a `<belfry-feed>`: by default the feed that is part of the page `/`."""

    def __init__(self, page: Page, selector: str = "#feed") -> None:
        self.page = page
        self.feed: Locator = page.locator(selector)
        self.articles = self.feed.locator("article")
        self.titles = self.feed.locator("article h3")
        self.bell = page.locator("#bell .bell")
        self.toasts = page.locator(".toast")

    def wait_connected(self, *states: str) -> None:
        self.page.wait_for_function(
            "([feed, states]) => states.includes(feed.client?.state)",
            arg=[self.feed.element_handle(), list(states or ("live",))],
            timeout=WAIT_MS,
        )

    @property
    def state(self) -> str:
        return str(self.feed.evaluate("feed => feed.client.state"))

    @property
    def unread(self) -> int:
        return int(self.feed.evaluate("feed => feed.unread"))

    def expect_titles(self, *titles: str) -> None:
        expect(self.titles).to_have_text(list(titles), timeout=WAIT_MS)

    def expect_unread(self, count: int) -> None:
        self.page.wait_for_function(
            "([feed, count]) => feed.unread === count", arg=[self.feed.element_handle(), count], timeout=WAIT_MS
        )

    def choose(self, tab: str) -> None:
        self.feed.get_by_role("tab", name=tab).click()

    def use(self, at: int, tool: str) -> None:
        """Press one of the small buttons of message number `at`."""
        self.articles.nth(at).hover()
        self.articles.nth(at).get_by_role("button", name=tool, exact=True).click()
