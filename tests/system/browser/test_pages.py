"""The pages as such: how much they load, how wide they are, what they say about embedding."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browsing import FeedTab, Visitor, count_bytes
from tests.servers import Belfry
from tests.waiting import wait_until

FIRST_VIEW_BYTES = 45_000


def test_the_first_view_of_the_feed_takes_few_bytes(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "Hello"})
    page = visitor.context.new_page()
    received = count_bytes(page)
    page.goto("/")
    FeedTab(page).expect_titles("Hello")
    assert 5_000 < sum(received) <= FIRST_VIEW_BYTES, sum(received)


def test_a_person_can_ring_the_own_bell(tab: FeedTab) -> None:
    tab.page.fill("#title", "Tea")
    tab.page.get_by_role("button", name="Ring").click()
    tab.expect_titles("Tea")
    expect(FeedTab(tab.page, "#bell").bell).to_have_accessible_name("Notifications, 1 unread")


def test_the_code_for_embedding_can_be_copied(tab: FeedTab, belfry: Belfry) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.page.get_by_role("button", name="Copy").first.click()
    expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    assert f'src="{belfry.url}/static/belfry.js"' in copied
    assert "<belfry-feed" in copied


@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_is_wider_than_the_window(tab: FeedTab, belfry: Belfry, alice: str, width: int) -> None:
    page = tab.page
    page.set_viewport_size({"width": width, "height": 700})
    actions = [{"label": "w" * 80, "url": "/"}]
    belfry.publish({"to": alice, "title": "w" * 200, "body": "w" * 200, "tags": ["w" * 60], "actions": actions})
    for path in ("/", "/admin/", "/login"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_panel_fills_the_screen(tab: FeedTab) -> None:
    tab.page.set_viewport_size({"width": 375, "height": 700})
    bell = FeedTab(tab.page, "#bell")
    bell.bell.click()
    panel = bell.feed.get_by_role("dialog")
    screen = {"x": 0, "y": 0, "width": 375, "height": 700}
    wait_until(lambda: panel.bounding_box() == screen, what=lambda: f"{screen}, it is {panel.bounding_box()}")
