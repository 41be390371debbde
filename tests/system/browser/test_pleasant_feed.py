"""What makes the feed pleasant: undo, long texts, small screens, modal dialogs, pages that navigate by themselves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import FloatRect, Locator, expect

from tests.browsing import LASTING, FeedTab, Visitor, wait_ms
from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.system.browser.test_any_page import ICON, SCRIPT, serve
from tests.waiting import wait_until

LONG = "line\n" * 200


@pytest.fixture
def visitor(visit: Visit, alice: str) -> Visitor:
    """Alice, whose pages keep what they would show for some seconds."""
    visitor = visit(alice)
    visitor.context.add_init_script(LASTING)
    return visitor


def noon_zone() -> str:
    """A time zone where it is about noon: no midnight falls within a test."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+}"  # the names of these zones have the sign that nobody expects


def expect_box(row: Locator, box: FloatRect) -> None:
    """The row comes to stand there. A new text of it is laid out, and measured, a moment after it is shown."""
    wait_until(lambda: row.bounding_box() == box, what=lambda: f"{box}, it is {row.bounding_box()}")


def bell_page(visitor: Visitor, body: str = "", attributes: str = "") -> FeedTab:
    """A page with a bell, and with `body`."""
    html = f'<!doctype html><html lang="en">{ICON}{SCRIPT}{body}<belfry-feed id="feed" {attributes}></belfry-feed>'
    tab = FeedTab(serve(visitor, html))
    tab.wait_connected()
    return tab


@pytest.mark.parametrize(("tool", "said"), [("Archive", "Archived."), ("Remove", "Removed.")])
def test_what_was_archived_or_removed_can_be_taken_back(
    tab: FeedTab, belfry: Belfry, alice: str, tool: str, said: str
) -> None:
    for title in ("1", "2", "3"):
        belfry.publish({"to": alice, "title": title})
    tab.expect_titles("3", "2", "1")
    tab.use(1, tool)
    tab.expect_titles("3", "1")
    tab.expect_unread(2)
    expect(tab.feed.get_by_text(said)).to_be_visible()
    tab.feed.get_by_role("button", name="Undo").click()
    tab.expect_titles("3", "2", "1")
    tab.expect_unread(3)
    expect(tab.feed.get_by_role("button", name="Undo")).to_have_count(0)


def test_everything_is_archived_at_once_and_can_be_taken_back(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    """Also what the list has not loaded. What was archived before stays archived, and what comes later stays."""
    belfry.publish({"to": alice, "title": "archived before"})
    tab.expect_titles("archived before")
    tab.use(0, "Archive")
    expect(tab.articles).to_have_count(0)
    expect(tab.feed.get_by_role("button", name="Archive all")).to_be_hidden()
    belfry.publish_all([{"to": alice, "title": str(number)} for number in range(130)])
    tab.expect_unread(130)
    tab.feed.get_by_role("button", name="Archive all").click()
    tab.expect_unread(0)
    expect(tab.articles).to_have_count(0)
    belfry.publish({"to": alice, "title": "later"})
    tab.expect_titles("later")
    expect(tab.feed.get_by_text("All archived.")).to_be_visible()
    tab.feed.get_by_role("button", name="Undo").click()
    tab.expect_unread(131)
    tab.choose("Archived")
    tab.expect_titles("archived before")


def test_archive_all_of_the_unread_tab_leaves_what_was_read(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    for title in ("read", "1", "2"):
        belfry.publish({"to": alice, "title": title})
    tab.expect_titles("2", "1", "read")
    tab.use(2, "Mark as read")
    tab.expect_unread(2)
    tab.choose("Unread")
    tab.expect_titles("2", "1")
    tab.feed.get_by_role("button", name="Archive all").click()
    tab.expect_unread(0)
    tab.choose("All")
    tab.expect_titles("read")


def test_the_list_is_grouped_by_day_where_the_page_wants_that(visit: Visit, belfry: Belfry, alice: str) -> None:
    for number in range(4):
        belfry.publish({"to": alice, "title": str(number)})
    tab = bell_page(visit(alice, timezone_id=noon_zone()), attributes="inline")
    headed = "feed => [...feed.shadowRoot.querySelectorAll('article')].map(({ dataset }) => dataset.day ?? '')"
    tab.expect_titles("3", "2", "1", "0")
    assert tab.feed.evaluate(headed) == ["", "", "", ""]
    tab.feed.evaluate("feed => feed.setAttribute('groups', 'day')")
    wait_until(lambda: tab.feed.evaluate(headed) == ["Today", "", "", ""], what="the heading of the day")
    belfry.publish({"to": alice, "title": "4"})
    tab.expect_titles("4", "3", "2", "1", "0")
    assert tab.feed.evaluate(headed) == ["Today", "", "", "", ""]
    tab.feed.evaluate("feed => { feed.lang = 'de'; }")
    tab.page.wait_for_function(f"({headed})(feed)[0] === 'Heute'", timeout=wait_ms())


def test_a_page_defines_tabs_by_tag_topic_and_level(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    tab = bell_page(visitor, attributes='inline tabs="Billing=tag:billing, all, Alerts=level:error, News=topic:news"')
    tab.feed.evaluate("(feed, token) => { feed.token = token; }", belfry.token(alice, "feed", topics=["news"]))
    tab.wait_connected()
    expect(tab.feed.get_by_role("tab")).to_have_text(["Billing", "All", "Alerts", "News"])
    expect(tab.feed.get_by_role("tab", name="Billing")).to_have_attribute("aria-selected", "true")
    belfry.publish({"to": alice, "title": "bill", "tags": ["x", "billing"]})
    belfry.publish({"to": alice, "title": "alert", "level": "error"})
    belfry.publish({"topic": "news", "title": "news", "tags": ["billing"], "level": "error"})
    tab.expect_titles("news", "bill")
    for name, titles in {"All": ("news", "alert", "bill"), "Alerts": ("news", "alert"), "News": ("news",)}.items():
        tab.choose(name)
        tab.expect_titles(*titles)
    belfry.publish({"to": alice, "title": "not news"})
    belfry.publish({"topic": "news", "title": "more news"})
    tab.expect_titles("more news", "news")
    tab.feed.evaluate("feed => { feed.tabs = ['unread']; }")
    expect(tab.feed.get_by_role("tab")).to_have_count(1)
    tab.expect_titles("more news", "not news", "news", "alert", "bill")


def test_mark_all_clears_the_unread_tab_and_can_be_taken_back(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    """Also with one message, and with more than the list has loaded. What was read before stays read."""
    belfry.publish({"to": alice, "title": "read before"})
    tab.expect_titles("read before")
    tab.choose("Unread")
    tab.feed.get_by_role("button", name="Mark all as read").click()
    expect(tab.articles).to_have_count(0)
    tab.expect_unread(0)  # the server has done it: it must not count what is published from here on
    tab.choose("All")
    belfry.publish_all([{"to": alice, "title": str(number)} for number in range(130)])
    tab.expect_unread(130)
    tab.choose("Unread")
    tab.feed.get_by_role("button", name="Mark all as read").click()
    expect(tab.articles).to_have_count(0)
    tab.expect_unread(0)
    tab.feed.get_by_role("button", name="Undo").click()
    tab.expect_unread(130)
    expect(tab.titles.first).to_have_text("129")


def test_a_long_text_shows_more_and_less(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "short", "body": "one line"})
    belfry.publish({"to": alice, "title": "long", "body": LONG})
    tab.expect_titles("long", "short")
    expect(tab.feed.locator(".new")).to_have_count(0)  # it has arrived
    row = tab.articles.first
    low = row.bounding_box()
    assert low
    row.locator("h3").click()
    expect(tab.feed.locator("article.unread h3")).to_have_text(["short"])
    more = row.get_by_role("button", name="Show more")
    expect(more).to_be_visible()
    expect_box(row, low)  # a click on the message does not unfold it
    more.click()
    expect(row.get_by_role("button", name="Show less")).to_be_in_viewport()
    wait_until(lambda: height(row) > 2_000, what="the whole text")
    row.get_by_role("button", name="Show less").click()
    expect_box(row, low)
    expect(tab.articles.nth(1).get_by_role("button", name="Show more")).to_have_count(0)
    long_titles = [{"body": LONG}, {"title": LONG, "url": "/x"}, {"title": LONG, "body": LONG}]
    for number, message in enumerate(long_titles, start=3):  # a text without a title is shown as the title
        belfry.publish({"to": alice, **message})
        expect(tab.titles).to_have_count(number)
        expect(tab.feed.locator(".new")).to_have_count(0)  # it has arrived
        row.get_by_role("button", name="Show more").click()
        row.get_by_role("button", name="Show less").click()
        wait_until(lambda: 0 < height(row) < 2 * low["height"], what="the short text")


def height(row: Locator) -> float:
    """The height of the row. It is 0 while the page replaces the row."""
    box = row.bounding_box()
    return box["height"] if box else 0.0


def test_rows_are_low_on_a_phone_and_have_one_menu(visit: Visit, belfry: Belfry, alice: str) -> None:
    phone = visit(alice, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for number in range(12):
        belfry.publish({"to": alice, "title": f"Message {number}", "body": "A text of one line"})
    tab = bell_page(phone)
    tab.feed.locator(".bell").tap()
    expect(tab.titles).to_have_count(12)
    in_sight = "rows => rows.filter((row) => row.getBoundingClientRect().bottom <= 844).length"
    wait_until(lambda: tab.articles.evaluate_all(in_sight) >= 9, what="nine rows in sight")
    row = tab.articles.first
    expect(row.get_by_role("button", name="Archive")).to_have_count(0)
    row.get_by_role("button", name="Actions").tap()
    row.get_by_role("button", name="Archive", exact=True).tap()
    expect(tab.titles).to_have_count(11)


def test_a_toast_can_be_used_above_a_modal_dialog(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    dialog = "<dialog id='modal'><button>OK</button></dialog>"
    tab = bell_page(visitor, dialog)
    tab.page.evaluate("modal.showModal()")
    belfry.publish({"to": alice, "title": "first"})
    tab.toasts.get_by_role("button", name="Close").click()
    expect(tab.toasts).to_have_count(0)
    belfry.publish({"to": alice, "title": "second"})
    expect(tab.toasts).to_have_text(["second"])
    tab.page.evaluate("modal.close()")
    tab.toasts.get_by_text("second").click()
    tab.expect_unread(1)


def test_a_toast_can_be_used_above_a_modal_dialog_that_opens_later_or_in_another_order(
    visitor: Visitor, belfry: Belfry, alice: str
) -> None:
    tab = bell_page(visitor, "<dialog id='early'></dialog><dialog id='late'></dialog><div id='host'></div>")
    tab.page.evaluate("window.setTimeout = () => 0")  # toasts stay
    belfry.publish({"to": alice, "title": "first"})
    expect(tab.toasts).to_have_text(["first"])
    tab.page.evaluate("late.showModal(); early.showModal();")
    tab.toasts.get_by_role("button", name="Close").click()
    expect(tab.toasts).to_have_count(0)
    tab.page.evaluate(
        """{
            const inside = document.createElement("dialog");
            host.attachShadow({ mode: "open" }).append(inside);
            inside.showModal();
        }"""
    )
    belfry.publish({"to": alice, "title": "second"})
    tab.toasts.get_by_text("second").click()
    tab.expect_unread(1)


@pytest.mark.parametrize("has_navigation", [True, False], ids=["navigation is told", "navigation is not told"])
def test_the_panel_closes_when_the_page_navigates_by_itself(
    visitor: Visitor, belfry: Belfry, alice: str, has_navigation: bool
) -> None:
    """As with a router: the page handles the click, and shows something else at another address."""
    belfry.publish({"to": alice, "title": "1", "url": "/elsewhere"})
    router = """<script>
        addEventListener("belfry-open", async (event) => {
            event.preventDefault();
            await new Promise((resolve) => setTimeout(resolve, 50));
            history.pushState({}, "", event.detail.message.url);
        });
    </script>"""
    without = "" if has_navigation else "Object.defineProperty(window, 'navigation', { value: undefined });"
    html = f'<!doctype html><html lang="en">{ICON}{SCRIPT}{router}<belfry-feed id="feed"></belfry-feed>'
    tab = FeedTab(serve(visitor, html, without))
    tab.wait_connected()
    tab.feed.locator(".bell").click()
    tab.articles.first.click()
    expect(tab.feed.get_by_role("dialog")).to_have_count(0)
    tab.page.wait_for_url("**/elsewhere")
    tab.feed.locator(".bell").click()
    tab.page.evaluate("history.replaceState({}, '', '/elsewhere?tab=2')")
    expect(tab.feed.get_by_role("dialog")).to_be_visible()


def test_no_connection_moves_no_row_and_does_not_blink(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    for number in range(3):
        belfry.publish({"to": alice, "title": str(number)})
    tab.expect_titles("2", "1", "0")
    expect(tab.feed.locator(".new")).to_have_count(0)  # it has arrived
    place = tab.articles.first.bounding_box()
    tab.feed.evaluate("""feed => {
        window.flips = 0;
        const notice = feed.shadowRoot.querySelector(".notice");
        let wasHidden = notice.hidden;
        const look = () => { if (wasHidden !== notice.hidden) window.flips++; wasHidden = notice.hidden; };
        new MutationObserver(look).observe(notice, { attributeFilter: ["hidden"] });
    }""")
    tab.page.route("**/stream?*", lambda route: route.abort())
    tab.page.route("**/feed?*", lambda route: route.abort())
    belfry.terminate()
    try:
        expect(tab.feed.get_by_text("No connection.")).to_be_visible()
        assert tab.articles.first.bounding_box() == place
        tries = tab.page.evaluate("performance.getEntriesByType('resource').length")
        more_tries = "n => performance.getEntriesByType('resource').length >= n + 3"
        tab.page.wait_for_function(more_tries, arg=tries, timeout=wait_ms(40))  # the delays between them grow
        assert tab.page.evaluate("window.flips") == 1
    finally:
        belfry.start()


def test_labels_of_actions_are_whole_and_run_in_their_own_direction(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    tab.page.set_viewport_size({"width": 320, "height": 700})
    label = "A label of an action that has many more words than any button has room for " + "w" * 40
    belfry.publish({"to": alice, "title": "שלום 1", "body": "טקסט", "actions": [{"label": label}, {"label": "כן"}]})
    tab.expect_titles("שלום 1")
    action = tab.articles.locator(".action").first
    assert action.evaluate("each => each.scrollWidth <= each.clientWidth && each.scrollHeight <= each.clientHeight + 1")
    for selector in ("h3", ".body", ".action"):
        assert tab.articles.locator(selector).last.evaluate("each => getComputedStyle(each).direction") == "rtl"
