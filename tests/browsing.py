"""A person at a browser: signing in, looking at a feed, using it. Nothing here knows pytest."""

from __future__ import annotations

import os
import shutil
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Locator, Page, Playwright, expect

from tests.waiting import patient

WAIT_SECONDS = 30.0  # only a test that fails waits so long
# A page whose stream says nothing for five seconds, as on a busy machine, polls for a minute before it tries again.
CONNECTED_SECONDS = 80.0
BACK_SECONDS = CONNECTED_SECONDS  # also more than the longest delay between two tries of a page without a server
# Another browser. `chromium-headless-shell` has no windows, and takes a third of the CPU time for the same page.
TRIED = "BELFRY_TEST_BROWSER"

# Go through the whole list as a person would, and note under each row's number what is written there.
WALK = """async ([feed, ms]) => {
    const deadline = Date.now() + ms;
    const frame = () => new Promise(requestAnimationFrame);
    const rows = () => [...feed.shadowRoot.querySelectorAll("article")];
    const titles = [];
    let most = 0;
    scrollTo(0, 0);
    feed.shadowRoot.querySelector(".list").scrollTop = 0;
    for (let whole = -1; titles.filter(() => true).length !== whole;) {
        if (Date.now() > deadline) throw new Error(`saw ${titles.filter(() => true).length} of ${whole} rows`);
        await frame();
        await frame();
        for (const row of rows()) titles[row.ariaPosInSet - 1] = row.querySelector("h3").textContent;
        most = Math.max(most, rows().length);
        whole = rows().length ? Number(rows().at(-1).ariaSetSize) : 0;
        rows().at(-1)?.scrollIntoView({ block: "start" });
    }
    return { titles, most };
}"""
# Down for the first half of the steps, up again for the other, a step a frame.
SCROLL = """async ([steps, px]) => {
    for (let step = 0; step < steps; step++) {
        scrollBy(0, step < steps / 2 ? px : -px);
        await new Promise(requestAnimationFrame);
    }
}"""
# A script for before those of a page: what the page shows for 6 or 10 s stays (a toast, an offer to undo).
LASTING = """{
    const timeout = setTimeout;
    const isBrief = (ms) => ms === 6_000 || ms === 10_000;
    window.setTimeout = (run, ms, ...rest) => timeout(run, isBrief(ms) ? 1_000_000_000 : ms, ...rest);
}
"""
# A script for before those of a page: however late a stream is ready, the page does not use long polling instead.
NO_POLLING = """{
    const timeout = setTimeout;
    window.setTimeout = (run, ms, ...rest) => timeout(run, ms === 5_000 ? 1_000_000_000 : ms, ...rest);
}
"""
# Such a script: no tab finds that the leading tab has been silent for long. Another leads only when the leader lets go.
NO_SILENCE = """{
    const opened = Date.now();
    Date.now = () => opened;
}
"""
BUSY = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration", "TaskDuration")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def wait_ms(seconds: float = WAIT_SECONDS) -> float:
    """A limit for Playwright's waits, in its unit; longer on a busy machine."""
    return patient(seconds) * 1_000


def chromium_path() -> str | None:
    """The whole browser, whose windows have tabs in the background."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def browser_path() -> str | None:
    """The whole browser, or the one that the environment names."""
    return shutil.which(os.environ.get(TRIED) or "chromium") or chromium_path()


def launch(playwright: Playwright, path: str | None = None) -> Browser:
    """The machine's own Chromium, which keeps left pages in its back/forward cache as people's browsers do."""
    return playwright.chromium.launch(
        executable_path=path or browser_path(), args=FLAGS, ignore_default_args=["--disable-back-forward-cache"]
    )


class Visitor:
    """One browser of one user: its tabs share cookies, locks and storage. Collects what fails in its pages' scripts."""

    def __init__(self, browser: Browser, base_url: str, user: str, **options: Any) -> None:
        self.user = user
        self.context: BrowserContext = browser.new_context(base_url=base_url, **options)
        self.context.set_default_timeout(wait_ms())
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
            timeout=wait_ms(CONNECTED_SECONDS),
        )

    @property
    def state(self) -> str:
        return str(self.feed.evaluate("feed => feed.client?.state"))  # the page may have no client yet

    @property
    def unread(self) -> int:
        return int(self.feed.evaluate("feed => feed.unread"))

    def expect_titles(self, *titles: str) -> None:
        expect(self.titles).to_have_text(list(titles), timeout=wait_ms())

    def walk(self) -> tuple[list[str], int]:
        """The titles of the whole list, found by scrolling through it; and the most rows that the page had at once."""
        found = self.page.evaluate(WALK, [self.feed.element_handle(), 3 * wait_ms()])
        return list(found["titles"]), int(found["most"])

    def expect_unread(self, count: int) -> None:
        self.page.wait_for_function(
            "([feed, count]) => feed.unread === count", arg=[self.feed.element_handle(), count], timeout=wait_ms()
        )

    def choose(self, tab: str) -> None:
        self.feed.get_by_role("tab", name=tab).click()

    def use(self, at: int, tool: str) -> None:
        """Press one of the small buttons of message number `at`."""
        self.articles.nth(at).hover()
        self.articles.nth(at).get_by_role("button", name=tool, exact=True).click()


def count_bytes(page: Page) -> list[int]:
    """The sizes of everything that `page` receives from here on, heads and bodies as they were sent."""
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    received: list[int] = []
    network.on("Network.dataReceived", lambda data: received.append(data["encodedDataLength"]))
    network.on("Network.responseReceived", lambda told: received.append(told["response"]["encodedDataLength"]))
    return received


def cpu_session(page: Page) -> CDPSession:
    """A session whose `Performance.getMetrics` counts the CPU time of the page's main thread."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return session


def cpu_milliseconds(session: CDPSession) -> dict[str, float]:
    """The durations so far, by Chromium's names for them."""
    metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    return {each["name"]: 1_000 * float(each["value"]) for each in metrics if each["name"] in BUSY}


def scroll(page: Page, steps: int, px: int) -> None:
    """Scroll the page up and down in so many steps."""
    page.evaluate(SCROLL, [steps, px])
