"""The pages in a real browser: what is sent shows up at once, once, and as text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import absent
from tests.servers import Belfry

WAIT_MS = 10_000


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "100"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        absent("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser, belfry: Belfry, alice: str) -> Iterator[BrowserContext]:
    """A browser in which alice has signed in; a page that fails in its script fails the test."""
    errors: list[str] = []
    context = browser.new_context(base_url=belfry.url)
    context.set_default_timeout(WAIT_MS)
    context.on("weberror", lambda failure: errors.append(str(failure.error)))
    sign_in(context.new_page(), alice)
    yield context
    context.close()
    assert not errors


def sign_in(page: Page, user: str) -> None:
    page.goto("/")
    page.fill("#name", user)
    page.click("button.primary")
    expect(page.locator("#state")).to_have_text("Live", timeout=WAIT_MS)


def titles(page: Page) -> list[str]:
    return page.locator("#messages h2").all_inner_texts()


def test_a_message_from_the_admin_page_shows_up_in_the_other_window_at_once(window: BrowserContext, alice: str) -> None:
    (feed,) = window.pages
    admin = window.new_page()
    admin.goto("/admin/")
    admin.fill("#target", alice)
    admin.fill("#title", "Hello")
    admin.click("#send")
    expect(admin.locator("#results")).to_contain_text(f"{alice}: online now")
    expect(feed.locator("#messages h2")).to_have_text(["Hello"])


def test_what_was_missed_is_there_once_and_newest_first(window: BrowserContext, belfry: Belfry, alice: str) -> None:
    (feed,) = window.pages
    belfry.publish({"to": alice, "title": "1"})
    expect(feed.locator("#messages h2")).to_have_text(["1"])
    feed.close()
    for title in "234":
        belfry.publish({"to": alice, "title": title})
    feed = window.new_page()
    feed.goto("/")
    expect(feed.locator("#messages h2")).to_have_text(["4", "3", "2", "1"])
    belfry.publish({"to": alice, "title": "5"})
    expect(feed.locator("#messages h2")).to_have_text(["5", "4", "3", "2", "1"])


def test_older_messages_come_page_by_page(window: BrowserContext, belfry: Belfry, alice: str) -> None:
    belfry.publish_all([{"to": alice, "title": str(number)} for number in range(120)])
    (feed,) = window.pages
    feed.reload()
    expect(feed.locator("#messages h2")).to_have_count(50)
    feed.click("#more")
    expect(feed.locator("#messages h2")).to_have_count(100)
    feed.click("#more")
    expect(feed.locator("#more")).to_be_hidden()
    assert titles(feed) == [str(number) for number in reversed(range(120))]


def test_a_message_is_text_and_its_link_leads_nowhere_dangerous(
    window: BrowserContext, belfry: Belfry, alice: str
) -> None:
    (feed,) = window.pages
    markup = "<img src=x onerror=alert(1)>"
    belfry.publish({"to": alice, "title": markup, "body": markup, "tags": [markup], "url": "https://example.com/"})
    expect(feed.locator("#messages h2")).to_have_text([markup])
    assert feed.locator("#messages img").count() == 0
    assert feed.locator("#messages a").get_attribute("rel") == "noopener noreferrer"


def test_a_later_message_with_the_same_key_takes_the_earlier_one_s_place(
    window: BrowserContext, belfry: Belfry, alice: str
) -> None:
    (feed,) = window.pages
    for title in ("50 %", "100 %"):
        belfry.publish({"to": alice, "title": title, "key": "upload"})
    expect(feed.locator("#messages h2")).to_have_text(["100 %"])
    feed.reload()
    expect(feed.locator("#messages h2")).to_have_text(["100 %"])


def test_an_event_type_that_the_feed_has_shown_arrives_live(window: BrowserContext, belfry: Belfry, alice: str) -> None:
    (feed,) = window.pages
    belfry.publish({"to": alice, "title": "1", "event": "build.done"})
    feed.reload()
    expect(feed.locator("#state")).to_have_text("Live")
    belfry.publish({"to": alice, "title": "2", "event": "build.done"})
    expect(feed.locator("#messages h2")).to_have_text(["2", "1"])


def test_a_refused_message_is_explained(window: BrowserContext, alice: str) -> None:
    (page,) = window.pages
    page.goto("/admin/")
    page.fill("#target", alice)
    page.fill("#url", "javascript:alert(1)")
    page.click("#send")
    expect(page.locator("#results")).to_contain_text("The url is not valid")


def test_a_page_whose_session_is_gone_leads_back_to_the_sign_in(window: BrowserContext) -> None:
    (feed,) = window.pages
    window.clear_cookies()
    feed.reload()
    expect(feed).to_have_url("/login?next=/")


@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_is_wider_than_the_window(window: BrowserContext, belfry: Belfry, alice: str, width: int) -> None:
    (page,) = window.pages
    page.set_viewport_size({"width": width, "height": 700})
    belfry.publish({"to": alice, "title": "w" * 200, "body": "w" * 200, "tags": ["w" * 60], "data": {"w": "w" * 200}})
    for path in ("/", "/admin/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
