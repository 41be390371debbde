"""What a person's browser sees: how soon a message is visible, what `/` costs to load, what scrolling costs.

    ./run bench browser

A real Chromium in front of a real server on loopback. CPU times are the page's main thread's own, so a busy
machine hardly shows in them; the times until a message is visible are the clock's, and it does.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.browsing import FeedTab, Visitor, count_bytes, cpu_milliseconds, cpu_session, launch, scroll
from tests.servers import Belfry, RedisServer

MESSAGES = 100
LONG_FEED = 990
SCROLL_STEPS = 200
STEP_PX = 300
VISIBLE_SECONDS = 10.0

# A row counts as visible in the first frame after it came: then it has been painted.
WATCH = """feed => {
    window.seen = {};
    new MutationObserver(() => {
        const title = feed.shadowRoot.querySelector("article h3")?.textContent;
        if (title in seen) return;
        seen[title] = 0;
        requestAnimationFrame(() => setTimeout(() => { seen[title] = performance.timeOrigin + performance.now(); }));
    }).observe(feed.shadowRoot, { childList: true, subtree: true });
}"""


def measure(messages: int = MESSAGES) -> dict[str, float]:
    """Every figure; milliseconds and bytes, as their names say."""
    with _server() as belfry, sync_playwright() as playwright:
        browser = launch(playwright)
        figures = {**first_view(browser, belfry), **visible(browser, belfry, messages), **scrolling(browser, belfry)}
        browser.close()
    return figures


def visible(browser: Browser, belfry: Belfry, messages: int) -> dict[str, float]:
    """From the call of `POST /publish` until the frame that shows the message, one message at a time."""
    visitor = Visitor(browser, belfry.url, "visible")
    tab = visitor.tab()
    tab.feed.evaluate(WATCH)
    delays = []
    for number in range(messages):
        started = time.time()
        belfry.publish({"to": "visible", "title": str(number)})
        delays.append(1_000 * (_seen(tab, str(number)) - started))
    visitor.close()
    delays.sort()
    return {
        "published_to_visible_median_ms": round(statistics.median(delays), 2),
        "published_to_visible_p95_ms": round(delays[int(0.95 * len(delays))], 2),
        "messages": float(messages),
    }


def _seen(tab: FeedTab, title: str) -> float:
    """When the message was shown, in Unix seconds."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not (seen := tab.page.evaluate("title => window.seen[title]", title)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"message {title} did not show within {VISIBLE_SECONDS} s")
    return float(seen) / 1_000


def first_view(browser: Browser, belfry: Belfry) -> dict[str, float]:
    """What crosses the network until `/` shows a message, from a cold cache."""
    visitor = Visitor(browser, belfry.url, "first-view")
    belfry.publish({"to": "first-view", "title": "Hello"})
    page = visitor.context.new_page()
    received = count_bytes(page)
    page.goto("/")
    FeedTab(page).expect_titles("Hello")
    visitor.close()
    return {"first_view_bytes": float(sum(received))}


def scrolling(browser: Browser, belfry: Belfry) -> dict[str, float]:
    """The main thread's CPU time for one step through a long feed that is loaded whole, and the rows it holds."""
    body = "text " * 20
    belfry.publish_all([{"to": "scrolling", "title": str(at), "body": body} for at in range(LONG_FEED)])
    visitor = Visitor(browser, belfry.url, "scrolling")
    tab = visitor.tab()
    _, most = tab.walk()
    tab.page.evaluate("scrollTo(0, 20_000)")
    metrics = cpu_session(tab.page)
    before = cpu_milliseconds(metrics)
    scroll(tab.page, SCROLL_STEPS, STEP_PX)
    after = cpu_milliseconds(metrics)
    visitor.close()
    spent = {name: (after[name] - before[name]) / SCROLL_STEPS for name in before}
    return {
        "scroll_step_task_cpu_ms": round(spent["TaskDuration"], 3),
        "scroll_step_script_cpu_ms": round(spent["ScriptDuration"], 3),
        "scroll_step_layout_cpu_ms": round(spent["LayoutDuration"] + spent["RecalcStyleDuration"], 3),
        "rows_in_the_page_most": float(most),
    }


@contextmanager
def _server() -> Iterator[Belfry]:
    redis = RedisServer().start()
    belfry = Belfry(redis.url, {"BELFRY_DEMO": "1"})
    try:
        yield belfry.start()
    finally:
        belfry.destroy()
        redis.destroy()


def main() -> None:
    """Print all figures as JSON."""
    print(json.dumps(measure(), indent=2))


if __name__ == "__main__":
    main()
