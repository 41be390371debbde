"""`<belfry-feed>` on a page: what a person sees and does."""

from __future__ import annotations

import math
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import TimeoutError as LateError
from playwright.sync_api import expect

from tests.browsing import LASTING, FeedTab, Visitor, wait_ms
from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.system.conftest import StartBelfry
from tests.waiting import patient, wait_until


def test_what_was_missed_is_there_once_and_newest_first(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    tab = visitor.tab()
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")
    tab.page.close()
    for title in "234":
        belfry.publish({"to": alice, "title": title})
    tab = visitor.tab()
    tab.expect_titles("4", "3", "2", "1")
    belfry.publish({"to": alice, "title": "5"})
    tab.expect_titles("5", "4", "3", "2", "1")
    tab.expect_unread(5)


def test_a_click_reads_a_message(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    for title in "12":
        belfry.publish({"to": alice, "title": title})
    tab.expect_titles("2", "1")
    tab.articles.first.click()
    tab.expect_unread(1)
    expect(tab.feed.locator("article.unread h3")).to_have_text(["1"])
    tab.choose("Unread")
    tab.expect_titles("1")


def test_read_can_be_undone(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")
    tab.use(0, "Mark as read")
    tab.expect_unread(0)
    tab.use(0, "Mark as unread")
    tab.expect_unread(1)


def test_an_archived_message_moves_to_its_tab_and_back(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    for title in "12":
        belfry.publish({"to": alice, "title": title})
    tab.expect_titles("2", "1")
    tab.use(0, "Archive")
    tab.expect_titles("1")
    tab.expect_unread(1)
    tab.choose("Archived")
    tab.expect_titles("2")
    tab.use(0, "Move back")
    tab.expect_titles()
    tab.choose("All")
    tab.expect_titles("2", "1")


def test_a_removed_message_stays_away(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    for title in "12":
        belfry.publish({"to": alice, "title": title})
    tab.expect_titles("2", "1")
    tab.use(1, "Remove")
    tab.expect_titles("2")
    wait_until(lambda: len(belfry.reader(alice).feed()["messages"]) == 1, what="the server to know")
    tab.page.reload()
    tab.expect_titles("2")
    tab.expect_unread(1)


def test_everything_is_read_at_once(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish_all([{"to": alice, "title": str(number)} for number in range(40)])
    tab.expect_unread(40)
    tab.feed.get_by_role("button", name="Mark all as read").click()
    tab.expect_unread(0)
    expect(tab.feed.locator("article.unread")).to_have_count(0)
    tab.choose("Unread")
    expect(tab.feed).to_contain_text("All caught up")


def test_a_retracted_message_goes(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    receipt = belfry.publish({"to": alice, "title": "by mistake"})
    tab.expect_titles("by mistake")
    assert belfry.publisher.delete(f"/messages/{receipt['id']}").ok
    tab.expect_titles()
    tab.expect_unread(0)


def test_a_later_message_with_the_same_key_takes_the_earlier_one_s_place(
    tab: FeedTab, belfry: Belfry, alice: str
) -> None:
    for title in ("50 %", "100 %"):
        belfry.publish({"to": alice, "title": title, "key": "upload"})
    tab.expect_titles("100 %")
    tab.expect_unread(1)
    tab.page.reload()
    tab.expect_titles("100 %")
    tab.expect_unread(1)


def test_a_message_that_is_not_kept_is_told_but_not_listed(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    tab = visitor.tab()
    tab.feed.evaluate("feed => feed.addEventListener('belfry-message', e => window.heard = e.detail.message.title)")
    belfry.publish({"to": alice, "title": "only now", "transient": True})
    wait_until(lambda: tab.page.evaluate("window.heard") == "only now")
    tab.expect_titles()
    tab.expect_unread(0)


def test_a_message_leaves_by_itself_when_its_time_is_over(start_belfry: StartBelfry, visit: Visit, alice: str) -> None:
    """The page has no clock of its own for that: the server tells it, with the new count."""
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_TAIL_CHECK_SECONDS="0.5")
    tab = visit(alice, belfry.url).tab()
    tab.feed.evaluate(WATCH_LIST)
    seconds = math.ceil(patient(3))
    belfry.publish_all([{"to": alice, "title": "stays"}, {"to": alice, "title": "goes", "ttl": seconds}])
    both = "shown.includes('goes, stays: 2 unread')"
    wait_until(lambda: tab.page.evaluate(both), what=lambda: f"both messages in {tab.page.evaluate('shown')}")
    expect(tab.titles).to_have_text(["stays"], timeout=wait_ms(2 * seconds))
    tab.expect_unread(1)


# Keeps what the list has shown, since a slow test may look too late.
WATCH_LIST = """feed => {
    window.shown = [];
    const list = feed.shadowRoot.querySelector("[role=feed]");
    const look = () => {
        const titles = [...list.querySelectorAll("h3")].map((title) => title.textContent);
        shown.push(`${titles.join(", ")}: ${feed.unread} unread`);
    };
    new MutationObserver(look).observe(list, { childList: true });
}"""


def test_times_grow_older_while_one_looks(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    page = visitor.context.new_page()
    page.clock.install()
    page.goto("/")
    tab = FeedTab(page)
    tab.wait_connected()
    belfry.publish({"to": alice, "title": "Look"})
    time = tab.articles.first.locator("time")
    expect(time).to_have_text("now")
    for passed, text in (("05:00", "5 min. ago"), ("02:00:00", "2 hr. ago"), ("24:00:00", "yesterday")):
        page.clock.fast_forward(passed)
        expect(time).to_have_text(text)
    assert time.get_attribute("title"), "the moment itself is told to who points at it"


def test_an_event_type_that_the_feed_has_shown_arrives_live(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "1", "event": "build.done"})
    tab.page.reload()
    tab.wait_connected()
    belfry.publish({"to": alice, "title": "2", "event": "build.done"})
    tab.expect_titles("2", "1")


def test_an_empty_feed_says_so(tab: FeedTab) -> None:
    expect(tab.feed).to_contain_text("Nothing here yet")


def test_a_feed_that_can_t_be_loaded_says_so_and_can_be_tried_again(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    page.route("**/feed?*", lambda route: route.fulfill(status=503, body="{}"))
    page.goto("/")
    tab = FeedTab(page)
    expect(tab.feed).to_contain_text("could not be loaded")
    again = tab.feed.get_by_role("button", name="Try again")
    with page.expect_request("**/feed?*", timeout=wait_ms()):
        again.click()
    page.unroute("**/feed?*")
    with suppress(LateError):  # it may have healed by itself
        again.click(timeout=2_000)
    expect(tab.feed).to_contain_text("Nothing here yet")


def test_what_the_server_refuses_is_undone_on_the_page(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    visitor.context.add_init_script(LASTING)
    tab = visitor.tab()
    belfry.publish({"to": alice, "title": "stays"})
    tab.expect_titles("stays")
    tab.page.route("**/feed/*", lambda route: route.fulfill(status=503, body="{}"))
    tab.use(0, "Remove")
    expect(tab.feed.get_by_role("alert")).to_have_text("Your change could not be saved. It was undone.")
    tab.expect_titles("stays")


# Notes each time that this tab asks whether it is the one that tells of a message, and what it learned.
WATCH_TURNS = """window.turns = [];
if (navigator.locks) {
    const request = navigator.locks.request.bind(navigator.locks);
    navigator.locks.request = (name, options, run) => request(name, options, (lock) => {
        if (name.startsWith("belfry shown ")) turns.push(lock !== null);
        return run(lock);
    });
}"""


LOAD_TOASTS = """async () => {
    const { name } = performance.getEntriesByType("resource").find(({ name }) => name.endsWith("/element.js"));
    await import(name.replace("element.js", "toasts.js"));
}"""


def turns(tab: FeedTab) -> list[bool]:
    """For each message that came: whether this tab was the one to tell of it."""
    return list(tab.page.evaluate("turns"))


def shown_toasts(tab: FeedTab) -> int:
    """How many toasts the tab shows, once the module has loaded that an earlier message needs for its toast."""
    tab.page.evaluate(LOAD_TOASTS)
    return tab.toasts.count()


def test_a_toast_tells_what_comes_while_the_panel_is_closed_in_one_tab_only(
    visitor: Visitor, belfry: Belfry, alice: str
) -> None:
    for script in (LASTING, WATCH_TURNS):
        visitor.context.add_init_script(script)
    tabs = []
    for _ in range(3):
        page = visitor.context.new_page()
        page.goto("/admin/")
        tabs.append(FeedTab(page, "#bell"))
        tabs[-1].wait_connected()
    belfry.publish({"to": alice, "title": "Look"})
    for tab in tabs:
        tab.expect_unread(1)
    wait_until(lambda: all(turns(tab) for tab in tabs), what="each tab to ask whether it is its turn")
    assert sorted(turns(tab) for tab in tabs) == [[False], [False], [True]]
    assert [shown_toasts(tab) for tab in tabs] == [sum(turns(tab)) for tab in tabs]


def test_no_toast_where_the_panel_is_open(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    page = visitor.context.new_page()
    page.add_init_script(WATCH_TURNS)
    page.goto("/admin/")
    tab = FeedTab(page, "#bell")
    tab.wait_connected()
    tab.bell.click()
    belfry.publish({"to": alice, "title": "Look"})
    tab.expect_titles("Look")
    wait_until(lambda: turns(tab) == [True])
    assert shown_toasts(tab) == 0


def test_the_host_page_hears_of_messages_clicks_and_counts(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    tab.page.evaluate(
        """() => {
            window.heard = [];
            for (const name of ["message", "open", "action", "unread"])
                document.addEventListener(`belfry-${name}`, (event) => {
                    if (event.target.id !== "feed") return;
                    heard.push([name, event.detail.action?.id ?? event.detail.unread ?? event.detail.message.title]);
                    if (name === "open") event.preventDefault();
                });
        }"""
    )
    belfry.publish({"to": alice, "title": "T", "url": "/admin/", "actions": [{"label": "Yes", "id": "yes"}]})
    tab.expect_titles("T")
    tab.feed.get_by_role("button", name="Yes").click()
    tab.expect_unread(0)
    wait_until(lambda: tab.page.evaluate("heard.length") == 4, what="the count to be told before the click")
    tab.articles.first.get_by_role("link").click()
    wait_until(lambda: tab.page.evaluate("heard.length") == 5, what="the click to be told")
    assert tab.page.evaluate("heard") == [
        ["unread", 1],
        ["message", "T"],
        ["action", "yes"],
        ["unread", 0],
        ["open", "T"],
    ]
    assert urlsplit(tab.page.url).path == "/", "the cancelled link led away"


def test_the_whole_feed_is_used_by_keyboard(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    for title in ("old", "archived", "removed", "read"):
        belfry.publish({"to": alice, "title": title})
    page = visitor.context.new_page()
    page.goto("/admin/")
    tab = FeedTab(page, "#bell")
    tab.wait_connected()
    tab.bell.focus()
    page.keyboard.press("Enter")
    expect(tab.feed.get_by_role("tab", name="All")).to_be_focused()
    tab.expect_titles("read", "removed", "archived", "old")  # before that there is no message to move to
    page.keyboard.press("Tab")
    expect(tab.articles.first).to_be_focused()
    page.keyboard.press("Enter")
    tab.expect_unread(3)
    page.keyboard.press("ArrowDown")
    expect(tab.articles.nth(1)).to_be_focused()
    page.keyboard.press("Delete")
    tab.expect_titles("read", "archived", "old")
    expect(tab.articles.nth(1)).to_be_focused()
    page.keyboard.press("e")
    tab.expect_titles("read", "old")
    tab.expect_unread(1)
    page.keyboard.press("Escape")
    expect(tab.bell).to_be_focused()
    expect(tab.feed.get_by_role("dialog")).to_be_hidden()


def test_tabs_move_by_arrows_the_other_way_round_from_right_to_left(tab: FeedTab) -> None:
    tab.feed.get_by_role("tab", name="All").focus()
    tab.page.keyboard.press("ArrowRight")
    expect(tab.feed.get_by_role("tab", name="Unread")).to_be_focused()
    tab.page.evaluate("document.documentElement.dir = 'rtl'")
    tab.page.keyboard.press("ArrowRight")
    expect(tab.feed.get_by_role("tab", name="All")).to_be_focused()


def test_new_messages_are_read_out(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "Hello"})
    expect(tab.feed.locator("[aria-live=polite]")).to_have_text("New message: Hello")


def test_it_speaks_chinese_where_the_page_does(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "你好"})
    tab.page.evaluate(
        """() => {
            document.documentElement.lang = "zh-CN";
            const made = document.createElement("belfry-feed");
            made.id = "second";
            document.querySelector("main").append(made);
        }"""
    )
    bell = tab.page.locator("#second .bell")
    expect(bell).to_have_accessible_name("通知，1 条未读")  # noqa: RUF001 - Chinese punctuation


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_follow_the_page(visit: Visit, alice: str, theme: str) -> None:
    tab = visit(alice, color_scheme=theme).tab()
    colour = tab.feed.locator(".panel").evaluate("panel => getComputedStyle(panel).color")
    assert (int(colour.split("(")[1].split(",")[0]) > 128) == (theme == "dark")
