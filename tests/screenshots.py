"""`./run screenshots`: every page on phones and a desktop, light and dark, in both directions, into `screenshots/`."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

from app.core.settings import Settings
from app.store.insight import figures
from app.store.insight.figures import KEPT_SECONDS, FigureStore
from app.transport.connection import Connection
from tests.browsing import FeedTab, Visitor, launch
from tests.servers import REPOSITORY, Belfry, RedisServer
from tests.upstream import running_upstream, saying

FOLDER = REPOSITORY / "screenshots"
SIZES = {
    "small": {"width": 320, "height": 640},
    "phone": {"width": 390, "height": 844},
    "desktop": {"width": 1280, "height": 860},
}
THEMES = ("light", "dark")
RIGHT_TO_LEFT = """addEventListener("DOMContentLoaded", () => {
    Object.assign(document.documentElement, { lang: "ar", dir: "rtl" });
})"""
USER = "alice"

MESSAGES: list[dict[str, Any]] = [
    {"title": "Welcome to Belfry", "body": "What is sent to you shows up here at once.", "level": "info"},
    {"title": "Invoice 2041 was paid", "level": "success", "tags": ["billing"], "url": "/invoices/2041"},
    {
        "id": "backup",
        "title": "Database backup failed",
        "body": "No space left on db-3.",
        "level": "error",
        "tags": ["backup", "db-3"],
    },
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
FIGURES_SECONDS = 60
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
                for direction in ("ltr", "rtl"):
                    visitor = Visitor(browser, belfry.url, USER, color_scheme=theme, viewport=viewport)
                    if direction == "rtl":
                        visitor.context.add_init_script(RIGHT_TO_LEFT)
                    _take(visitor, f"{name}-{theme}-{direction}")
                    visitor.close()
        browser.close()


@contextmanager
def _server() -> Iterator[Belfry]:
    with running_upstream() as upstream:
        upstream.play = saying(ANSWER)
        redis = RedisServer().start()
        environment = {"BELFRY_DEMO": "1", "BELFRY_FIGURES_SECONDS": str(FIGURES_SECONDS)}
        belfry = Belfry(redis.url, {**environment, "BELFRY_UPSTREAM_URL": upstream.url})
        try:
            belfry.start()
            _fill(belfry)
            _fill_hour(redis.url, belfry.settings_environment["BELFRY_REDIS_PREFIX"])
            yield belfry
        finally:
            belfry.destroy()
            redis.destroy()


def _fill(belfry: Belfry) -> None:
    sent = [belfry.publish({**({} if "everyone" in message else {"to": USER}), **message}) for message in MESSAGES]
    belfry.reader(USER).post("/feed/read", json={"ids": [receipt["id"] for receipt in sent[:READ]]})


def _fill_hour(redis_url: str, prefix: str) -> None:
    """An hour for the dashboard to plot, with a wave of visitors and a short trouble."""
    settings = Settings(redis_url=redis_url, redis_prefix=prefix, figures_seconds=FIGURES_SECONDS)
    store = FigureStore(Connection.open(settings, figures.SCRIPTS), settings)
    newest, chance = int(time.time()) // FIGURES_SECONDS - 1, random.Random(1)
    for ago in reversed(range(KEPT_SECONDS // FIGURES_SECONDS)):
        wave, trouble = math.sin(ago / 9), 24 < ago < 28
        messages = int(FIGURES_SECONDS * (60 + 25 * wave + chance.random() * 12))
        store._close(
            {
                "slot": newest - ago,
                "workers": 4,
                "connections": int(9_200 + 1_500 * wave + chance.random() * 90),
                "slow": 14 if trouble else chance.choice((0, 0, 1, 2)),
                "messages": messages,
                "deliveries": int(messages * (38 + 6 * wave)),
                "errors": 9 if trouble else 0,
                "refusals": chance.randrange(4),
                f"l{chance.choice((6, 7))}": messages,
                f"l{19 if trouble else chance.choice((12, 13, 14))}": messages // 40,
            }
        )


def _take(visitor: Visitor, suffix: str) -> None:
    def shoot(page: Page, name: str) -> None:
        page.wait_for_timeout(400)  # animations end
        page.screenshot(path=FOLDER / f"{name}-{suffix}.png")

    def shoot_whole(page: Page, name: str) -> None:
        page.wait_for_timeout(400)
        page.screenshot(path=FOLDER / f"{name}-{suffix}.png", full_page=True)

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
    page.locator("#results").get_by_role("button", name="Retract").click()
    bell.bell.click()
    shoot(page, "panel")
    shoot_whole(page, "recent")
    page.goto(f"/admin/people/?user={USER}&message=backup")
    page.locator("#trace li").nth(1).wait_for()
    page.locator("#online li").first.wait_for()
    page.locator("#user h3", has_text="is connected").wait_for()
    shoot_whole(page, "people")
    page.goto("/admin/dashboard/")
    page.locator("#state", has_text="worker").wait_for()
    shoot_whole(page, "dashboard")
    page.goto("/chat")
    page.fill("#prompt", QUESTION)
    page.click("#send")
    page.locator(".answer[aria-busy=false]").wait_for()
    shoot(page, "chat")
    page.goto("/login")
    shoot(page, "sign-in")


if __name__ == "__main__":
    main()
