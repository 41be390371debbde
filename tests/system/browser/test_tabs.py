"""Many tabs, one connection: they all hear the same, and all count the same, whoever leads."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from playwright.sync_api import Route, expect

from tests.browsing import NO_SILENCE, FeedTab, Visitor, wait_ms
from tests.servers import Api, Belfry
from tests.system.browser.conftest import Visit
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

TABS = 10
STEPS = 40
TAKE_OVER_SECONDS = 40.0  # a leader may be silent for 10 s, and the others look every 3 s
# A list of the streams that a page opened.
WATCH_STREAMS = """window.streams = [];
window.EventSource = class extends EventSource {
    constructor(...given) { super(...given); window.streams.push(this); }
};"""


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "100"}


def leaders(tabs: list[FeedTab]) -> list[FeedTab]:
    """The tabs with an open stream of their own."""
    return [tab for tab in tabs if tab.page.evaluate("window.streams.some((stream) => stream.readyState < 2)")]


def one_of(tabs: list[FeedTab]) -> list[FeedTab]:
    """The only tab, or none."""
    return tabs if len(tabs) == 1 else []


def watched_tabs(visitor: Visitor, count: int) -> list[FeedTab]:
    """Tabs that keep a list of the streams they opened. The bell is left out: one feed a tab."""
    visitor.context.add_init_script(WATCH_STREAMS)
    return [visitor.tab() for _ in range(count)]


def test_ten_tabs_share_one_connection(start_belfry: StartBelfry, visit: Visit, alice: str) -> None:
    """The server allows one: a second one would evict the first, whose tabs would stop."""
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_MAX_CONNECTIONS_PER_USER="1")
    visitor = visit(alice, belfry.url)
    visitor.context.add_init_script(NO_SILENCE)  # a tab that the machine makes wait does not lose the lead
    tabs = watched_tabs(visitor, TABS)
    assert len(leaders(tabs)) == 1
    belfry.publish({"to": alice, "title": "for all"})
    for tab in tabs:
        tab.expect_titles("for all")
        assert tab.state == "live"


@pytest.mark.parametrize("query", ["Promise.reject(new Error())", "new Promise(() => {})"], ids=["refused", "hanging"])
def test_tabs_that_can_t_be_counted_connect_all_the_same(
    visitor: Visitor, belfry: Belfry, alice: str, query: str
) -> None:
    visitor.context.add_init_script(f"if (navigator.locks) navigator.locks.query = () => {query};")
    tab = visitor.tab()
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")


def test_a_tab_that_comes_later_has_what_the_others_have(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    visitor.tab()
    for number in range(5):
        belfry.publish({"to": alice, "title": str(number)})
        tab = visitor.tab()
        tab.expect_titles(*[str(title) for title in range(number, -1, -1)])
        tab.expect_unread(number + 1)


def test_messages_of_types_that_nobody_named_arrive_in_every_tab(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    """An EventSource hears only the types that it listens for, so the server sends every message under one type."""
    tabs = [visitor.tab() for _ in range(2)]
    for tab in tabs:
        tab.feed.evaluate("({ client }) => { window.all = []; client.on('*', ({ event }) => all.push(event)); }")
    sent = ["order.shipped", "toString", "ready-2", "x:y"]
    for event in sent:
        belfry.publish({"to": alice, "title": event, "event": event})
    belfry.publish({"to": alice, "title": "typing", "event": "typing", "transient": True})
    for tab in tabs:
        tab.expect_titles(*reversed(sent))
        tab.expect_unread(len(sent))
        tab.page.wait_for_function("all.length === 5", timeout=wait_ms())
        assert tab.page.evaluate("all") == [*sent, "typing"]
    tabs[0].page.close()  # it leads; the other one continues from its own place
    belfry.publish({"to": alice, "title": "later", "event": "later"})
    tabs[1].expect_titles("later", *reversed(sent))


# What the other tabs say, as a list; and a client at an old place, which says what it hears.
WATCH_CHANNEL = """window.said = [];
window.BroadcastChannel = class extends BroadcastChannel {
    constructor(name) {
        super(name);
        this.addEventListener("message", ({ data }) => said.push(JSON.stringify(data)));
    }
};"""
FOLLOW_FROM = """async (cursor) => {
    const { BelfryClient } = await import("/static/belfry.js");
    window.heard = [];
    const client = new BelfryClient();
    client.on("message", (message) => heard.push(message.title));
    await client.open(cursor);
}"""


def test_what_comes_while_a_tab_catches_up_waits_its_turn(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    cursor = belfry.reader(alice).get("/feed").json()["cursor"]
    belfry.publish({"to": alice, "title": "missed"})
    leader = visitor.tab()
    follower = visitor.context.new_page()
    follower.add_init_script(WATCH_CHANNEL)
    held, may_wait = list[Route](), [True]
    follower.route("**/feed?after=*", lambda route: held.append(route) if may_wait else route.continue_())
    follower.goto("/docs")
    follower.evaluate(FOLLOW_FROM, cursor)
    wait_until(lambda: follower.evaluate("1") and held, what="the tab to catch up")
    belfry.publish({"to": alice, "title": "meanwhile"})
    leader.expect_titles("meanwhile", "missed")
    wait_until(lambda: follower.evaluate("said.some((each) => each.includes('meanwhile'))"), what="the leader's word")
    may_wait.clear()
    for route in held:
        route.continue_()
    wait_until(lambda: follower.evaluate("heard.length") == 2)
    assert follower.evaluate("heard") == ["missed", "meanwhile"]


def test_another_tab_takes_over_when_the_leader_is_closed(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    visitor.context.add_init_script(NO_SILENCE)  # another tab leads because the leader is closed
    tabs = watched_tabs(visitor, 3)
    for title in "12":
        (leader,) = leaders(tabs)
        tabs.remove(leader)
        leader.page.close()
        belfry.publish({"to": alice, "title": title})
        for tab in tabs:
            tab.expect_titles(*reversed("12"[: int(title)]))
        wait_until(lambda: len(leaders(tabs)) == 1)


def test_a_leader_that_hangs_is_replaced(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    """It keeps its lock, and learns when it goes on that it leads no more."""
    tabs = watched_tabs(visitor, 2)
    (leader,) = wait_until(lambda: one_of(leaders(tabs)), what="a single leader")
    (other,) = [tab for tab in tabs if tab is not leader]
    hanging = hang(leader)
    belfry.publish({"to": alice, "title": "1"})
    wait_until(
        lambda: other.titles.all_inner_texts() == ["1"] and leaders([other]),
        TAKE_OVER_SECONDS,
        what="the other tab to take over",
    )
    hanging.fulfill()
    wait_until(lambda: leaders(tabs) == [other], what="the leader to step down")
    belfry.publish({"to": alice, "title": "2"})
    for tab in tabs:
        tab.expect_titles("2", "1")
        tab.expect_unread(2)


def hang(tab: FeedTab) -> Route:
    """Let nothing run on the page until somebody answers the returned call, for which the page waits."""
    held: list[Route] = []

    def hold(route: Route) -> None:  # no answer yet
        held.append(route)

    tab.page.route("**/hang", hold)
    call = "const call = new XMLHttpRequest(); call.open('GET', '/hang', false); call.send();"
    tab.page.evaluate(f"() => void setTimeout(() => {{ {call} }})")
    wait_until(lambda: tab.page.context.cookies() and held, what="the page to hang")  # a call lets events in
    return held[0]


def test_the_badge_is_the_same_in_every_tab_and_browser_whatever_happens(
    visit: Visit, belfry: Belfry, alice: str
) -> None:
    tabs = [visitor.tab() for visitor in (visit(alice), visit(alice)) for _ in range(2)]
    reader = belfry.reader(alice)
    dice = random.Random(4)
    for step in range(STEPS):
        _do_something(dice, step, belfry, alice)
        if step % 5 == 0:
            count = _recount(reader)
            for tab in tabs:
                tab.expect_unread(count)
    count = _recount(reader)
    titles = [message["title"] for message in reader.feed(limit=100)["messages"]]
    for tab in tabs:
        tab.expect_unread(count)
        expect(tab.titles.first).to_have_text(titles[0])
        # A message that came back stands there once the feed was fetched again, a moment after the count.
        wait_until(lambda tab=tab: tab.walk()[0] == titles, what=f"{titles}")  # type: ignore[misc]  # mypy infers no type for such a lambda


def _do_something(dice: random.Random, step: int, belfry: Belfry, alice: str) -> None:
    reader = belfry.reader(alice)
    ids = [message["id"] for message in reader.feed(limit=30)["messages"]]
    what = dice.choice(["publish", "publish", "everyone", "key", "read", "unread", "archive", "back", "remove", "all"])
    if what == "publish" or not ids:
        belfry.publish({"to": alice, "title": f"{step}"})
    elif what == "everyone":
        belfry.publish({"everyone": True, "title": f"{step}"})
    elif what == "key":
        belfry.publish({"to": alice, "title": f"{step}", "key": "progress"})
    elif what == "remove":
        reader.delete(f"/feed/{dice.choice(ids)}").raise_for_status()
    elif what == "all":
        reader.post("/feed/read", json={"all": True}).raise_for_status()
    else:
        path = "read" if what in ("read", "unread") else "archive"
        on = what in ("read", "archive")
        change = {"ids": dice.sample(ids, min(3, len(ids))), "read" if path == "read" else "archived": on}
        reader.post(f"/feed/{path}", json=change).raise_for_status()


def _recount(reader: Api) -> int:
    """The naive way: look at every message."""
    return sum(not message["read"] for message in reader.feed(limit=100)["messages"])
