"""The page about people: who is connected, ending that, and why somebody did not see a message."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import Visitor
from tests.live.browser.conftest import Visit
from tests.servers import Belfry
from tests.waiting import wait_until


@pytest.fixture
def people(visitor: Visitor) -> Page:
    page = visitor.context.new_page()
    page.goto("/admin/people/")
    return page


def test_who_is_connected_is_listed_and_can_be_disconnected(people: Page, visit: Visit, bob: str) -> None:
    tab = visit(bob).tab()
    people.reload()
    entry = people.locator("#online > li").filter(has_text=bob)
    expect(entry).to_contain_text("1 connection", timeout=15_000)
    expect(entry).to_contain_text("from 127.0.0.1")
    entry.get_by_role("button", name="Disconnect").click()
    wait_until(lambda: tab.state == "stopped")
    expect(entry).to_have_count(0, timeout=15_000)


def test_the_recorder_tells_up_to_which_message_a_connection_was_sent(people: Page, belfry: Belfry, bob: str) -> None:
    with belfry.stream(bob) as stream:
        stream.wait_for("ready")
        belfry.publish({"to": bob, "title": "seen"})
        stream.wait_for_messages(1)
    wait_until(lambda: not belfry.is_online(bob))
    belfry.publish({"to": bob, "title": "not seen"})
    people.fill("#name", bob)
    said = people.locator("#user")
    for _ in range(10):  # it is written once a second
        people.get_by_role("button", name="Show").click()
        people.wait_for_timeout(300)
        if "ended" in said.inner_text():
            break
    expect(said).to_contain_text(f"{bob} is not connected")
    expect(said).to_contain_text("it was sent everything up to message 1.")
    expect(said).to_contain_text("The feed holds 2 messages, 1 to 2; 2 are unread.")


def test_an_impossible_name_is_explained(people: Page) -> None:
    people.fill("#name", "two words")
    people.get_by_role("button", name="Show").click()
    expect(people.get_by_role("alert")).not_to_be_empty()
