"""`./run screenshots`: every page, on a phone and a desktop, light and dark, into `screenshots/`. To be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browsing import FeedTab, Visitor, launch
from tests.servers import REPOSITORY, Belfry, RedisServer
from tests.upstream import running_upstream, saying

FOLDER = REPOSITORY / "screenshots"
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 860}}
THEMES = ("light", "dark")
USER = "alice"

MESSAGES: list[dict[str, Any]] = [
    {"title": "Welcome to Belfry", "body": "What is sent to you shows up here at once.", "level": "info"},
    {"title": "Invoice 2041 was paid", "level": "success", "tags": ["billing"], "url": "/invoices/2041"},
    {"title": "Database backup failed", "body": "No space left on db-3.", "level": "error", "tags": ["backup", "db-3"]},
    {"title": "Maintenance tonight at 22:00", "body": "The site is read-only for about ten minutes.", "everyone": True},
    {
        "title": "Bob asks to join your team",
        "body": "I would like to help with the release.",
        "actions": [{"label": "Accept", "id": "accept"}, {"label": "Decline", "id": "decline"}],
    },
    {"title": "Disk is nearly full", "body": "92 % of /var are used on web-1.", "level": "warning", "tags": ["web-1"]},
    {
        "title": "Deployed to production",
        "body": "Version 4.2, in 3 min 12 s.",
        "level": "success",
        "url": "/deploys/42",
    },
]
READ = 3  # of the oldest
QUESTION = "What is a belfry?"
ANSWER = """A **belfry** is the part of a tower in which bells hang. The word first meant a *siege tower*.

| Bell | Note | Weight |
|---|---|---:|
| Treble | E | 312 kg |
| Tenor | C | 620 kg |

Twelve strokes, for those who program:

```python
for stroke in range(12):
    bell.ring()
```
"""


def main() -> None:
    """Take them all."""
    FOLDER.mkdir(exist_ok=True)
    with _server() as belfry, sync_playwright() as playwright:
        browser = launch(playwright)
        for theme in THEMES:
            for name, viewport in SIZES.items():
                visitor = Visitor(browser, belfry.url, USER, color_scheme=theme, viewport=viewport)
                _take(visitor, f"{name}-{theme}")
                visitor.close()
        browser.close()


@contextmanager
def _server() -> Iterator[Belfry]:
    with running_upstream() as upstream:
        upstream.play = saying(ANSWER)
        redis = RedisServer().start()
        belfry = Belfry(redis.url, {"BELFRY_DEMO": "1", "BELFRY_UPSTREAM_URL": upstream.url})
        try:
            belfry.start()
            _fill(belfry)
            yield belfry
        finally:
            belfry.destroy()
            redis.destroy()


def _fill(belfry: Belfry) -> None:
    sent = [belfry.publish({**({} if "everyone" in message else {"to": USER}), **message}) for message in MESSAGES]
    belfry.reader(USER).post("/feed/read", json={"ids": [receipt["id"] for receipt in sent[:READ]]})


def _take(visitor: Visitor, suffix: str) -> None:
    def shoot(page: Page, name: str) -> None:
        page.wait_for_timeout(400)  # animations end
        page.screenshot(path=FOLDER / f"{name}-{suffix}.png")

    page = visitor.tab().page
    shoot(page, "feed")
    page.goto("/admin/")
    bell = FeedTab(page, "#bell")
    bell.wait_connected()
    for name, value in {"target": USER, "title": "The build is done", "body": "main passed in 3 min 12 s."}.items():
        page.fill(f"#{name}", value)
    page.select_option("#level", "success")
    page.click("#send")
    page.locator(".toast").wait_for()
    shoot(page, "admin")
    page.get_by_role("button", name="Retract").click()
    bell.bell.click()
    shoot(page, "panel")
    page.goto("/admin/people/")
    page.get_by_role("button", name="What happened").first.click()
    shoot(page, "people")
    page.goto("/chat")
    page.fill("#prompt", QUESTION)
    page.click("#send")
    page.locator(".answer[aria-busy=false]").wait_for()
    shoot(page, "chat")
    page.goto("/login")
    shoot(page, "sign-in")


if __name__ == "__main__":
    main()
