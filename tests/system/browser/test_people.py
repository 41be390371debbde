"""The page about people: who is connected, ending that, and why somebody did not see a message."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.browsing import Visitor
from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until

# A stream waits 300 ms until its tabs are counted, which may take a busy machine longer. Here it waits.
COUNTED = """const waited = setTimeout;
window.setTimeout = (run, ms, ...rest) => waited(run, ms === 300 ? 60_000 : ms, ...rest);"""


# The page looks at the connections ten times as often as it does for people.
OFTEN = """const repeated = setInterval;
window.setInterval = (run, ms, ...rest) => repeated(run, ms === 5_000 ? 500 : ms, ...rest);"""


@pytest.fixture
def people(visitor: Visitor) -> Page:
    page = visitor.context.new_page()
    page.add_init_script(OFTEN)
    page.goto("/admin/people/")
    return page


def test_who_is_connected_is_listed_and_can_be_disconnected(people: Page, visit: Visit, bob: str) -> None:
    tab = visit(bob).tab()
    people.reload()
    entry = people.locator("#online > li").filter(has_text=bob)
    expect(entry).to_contain_text("1 connection")
    expect(entry).to_contain_text("from 127.0.0.1")
    press(entry.get_by_role("button", name="Disconnect"))
    wait_until(lambda: tab.state == "stopped")
    expect(entry).to_have_count(0)


def press(button: Locator) -> None:
    """Press it in one step: the page makes other buttons when somebody comes, also between a mouse's down and up."""
    button.dispatch_event("click")


def test_that_nobody_is_connected_is_said(people: Page) -> None:
    people.route("**/presence", lambda route: route.fulfill(json={"users": {}}))
    people.reload()
    expect(people.locator("#nobody")).to_be_visible()
    people.unroute("**/presence")
    expect(people.locator("#nobody")).to_be_hidden()  # the page has a bell of its own


def test_each_connection_tells_how_many_tabs_share_it(people: Page, visit: Visit, bob: str) -> None:
    """Three in one browser, one in another; also when some are closed, and when another tab has taken over."""
    one, other = visit(bob), visit(bob)
    one.context.add_init_script(COUNTED)
    told: list[str] = []  # the numbers that calls told

    def note(request: Request) -> None:
        address = urlsplit(request.url)
        if address.path == "/presence/tabs":
            told.extend(parse_qs(address.query)["tabs"])

    one.context.on("request", note)
    tabs = [one.tab() for _ in range(3)]
    other.tab()
    people.reload()
    lines = people.locator("#online > li").filter(has_text=bob).locator("ul li")
    expect(lines.filter(has_text="3 tabs")).to_have_count(1)
    expect(lines.filter(has_text="1 tab,")).to_have_count(1)
    before = len(told)
    assert before <= 2, f"at most one call for each tab that came, got {told}"
    tabs.pop().page.close()
    expect(lines.filter(has_text="2 tabs")).to_have_count(1)
    tabs.pop(0).page.close()
    expect(lines.filter(has_text="1 tab,")).to_have_count(2)
    assert "1" not in told, "who takes over tells with the stream's address"
    assert len(told) <= before + 1, f"at most one call for the tab that went, got {told}"


def test_the_recorder_tells_up_to_which_message_a_connection_was_sent(people: Page, belfry: Belfry, bob: str) -> None:
    with belfry.stream(bob) as stream:
        stream.wait_for("ready")
        belfry.publish({"to": bob, "title": "seen"})
        stream.wait_for_messages(1)
    wait_until(lambda: not belfry.is_online(bob))
    belfry.publish({"to": bob, "title": "not seen"})
    people.fill("#name", bob)
    said = people.locator("#user")
    wait_until(lambda: shown_again(people, "ended"), 20, what="the record, which is written once a second")
    expect(said).to_contain_text(f"{bob} is not connected")
    expect(said).to_contain_text("it was sent everything up to message 1.")
    expect(said).to_contain_text("The feed holds 2 messages, 1 to 2; 2 are unread.")


def shown_again(people: Page, expected: str) -> bool:
    people.get_by_role("button", name="Show").click()
    people.wait_for_timeout(200)
    return expected in people.locator("#user").inner_text()


def test_no_name_is_taken_for_a_connected_user_s(people: Page) -> None:
    """`constructor` is in every plain object."""
    people.clock.install()
    people.goto("/admin/people/?user=constructor")
    heading = people.locator("#user h3").first
    expect(heading).to_have_text("constructor is not connected")
    for _ in range(2):  # with the second answer the first has been shown
        with people.expect_response("**/presence"):
            people.clock.run_for(500)
    expect(heading).to_have_text("constructor is not connected")


def test_an_impossible_name_is_explained(people: Page) -> None:
    people.fill("#name", "two words")
    people.get_by_role("button", name="Show").click()
    expect(people.get_by_role("alert")).not_to_be_empty()


def test_one_of_several_connections_can_be_ended(people: Page, visit: Visit, bob: str) -> None:
    tabs = [visit(bob).tab(), visit(bob).tab()]
    people.reload()
    entry = people.locator("#online > li").filter(has_text=bob)
    expect(entry).to_contain_text("2 connections")
    press(entry.get_by_role("button", name="Disconnect connection").first)
    expect(entry).to_contain_text("1 connection")
    wait_until(lambda: sorted(tab.state for tab in tabs) == ["live", "stopped"])


def test_an_administrator_sees_whether_and_when_a_message_arrived(
    people: Page, visit: Visit, belfry: Belfry, bob: str
) -> None:
    tab = visit(bob).tab()
    belfry.publish({"to": bob, "title": "Invoice"})
    tab.expect_titles("Invoice")
    people.fill("#name", bob)
    people.get_by_role("button", name="Show").click()
    wait_until(lambda: asked_again(people, "It was sent:"), 20, what="the worker to tell where the connection stands")
    traced = people.locator("#trace")
    expect(traced).to_contain_text(f"Did {bob} get ")
    expect(traced.get_by_role("listitem").nth(0)).to_contain_text("Published.")
    expect(traced.get_by_role("listitem").nth(1)).to_contain_text("as it was published")
    expect(traced).to_contain_text("Now: unread, stored as message 1 of")
    tab.titles.first.click()  # reads it
    tab.expect_unread(0)
    wait_until(lambda: asked_again(people, "Read."), 20)
    expect(traced).to_contain_text(re.compile(r"It arrived, by \d.* at the latest: it was read\. Now: read"))


def asked_again(people: Page, expected: str) -> bool:
    people.get_by_role("button", name="Did “Invoice” arrive?").click()
    people.wait_for_timeout(200)
    return expected in people.locator("#trace").inner_text()


def test_a_message_that_was_not_sent_is_told_at_its_own_address(people: Page, belfry: Belfry, bob: str) -> None:
    sent = belfry.publish({"to": bob, "id": f"away-{bob}", "title": "Invoice"})["id"]
    people.goto(f"/admin/people/?user={bob}&message={sent}")
    expect(people.locator("#trace")).to_contain_text("Nothing says that it arrived. Now: unread")
    people.fill("#message", "another")
    people.get_by_role("button", name="Show").click()
    expect(people.get_by_role("alert")).to_contain_text("No message 'another' is known")


def test_a_late_answer_replaces_no_later_one(people: Page, alice: str, bob: str) -> None:
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    people.route(f"**/users/{alice}", hold)
    for name in (alice, bob):
        people.fill("#name", name)
        people.get_by_role("button", name="Show").click()
    heading = people.locator("#user h3").first
    expect(heading).to_have_text(f"{bob} is not connected")
    with people.expect_response(f"**/users/{alice}"):
        late[0].continue_()
    people.evaluate("() => new Promise((resolve) => setTimeout(resolve))")  # the page has seen it
    expect(heading).to_have_text(f"{bob} is not connected")
