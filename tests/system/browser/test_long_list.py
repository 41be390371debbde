"""A long feed: every message is reached, few are in the page, and nothing that is read or has the focus moves away."""

from __future__ import annotations

import pytest
from playwright.sync_api import CDPSession, Locator, Page, expect

from tests.browsing import CONNECTED_SECONDS, FeedTab, Visitor, cpu_milliseconds, cpu_session, scroll, wait_ms
from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until

MANY = 300  # many times as many as fit on a screen
MOST = 990  # nearly as many as a feed keeps
ROWS_MOST = 70  # what fits on a large screen and one and a half on either side of it
SCROLL_STEPS = 60
STEP_PX = 300  # three turns of a wheel
STEP_ROUNDS = 3
STEP_ROWS = 32  # a step takes the CPU time that this many rows take when they are laid out; about 16 as a rule
COPIES = 300
FEW = ROWS_MOST  # messages that are all in the page
ARRIVALS = 3
ARRIVAL_ROUNDS = 3
ARRIVAL_RATIO = 2.0

# Lay out copies of a row, ten at a time, in a box beside the list: that costs the same however long the list is.
COPY_ROWS = """(feed, count) => {
    const row = feed.shadowRoot.querySelector("article");
    const box = document.createElement("div");
    box.style = "position: fixed; contain: strict; width: 40rem; height: 40rem";
    feed.shadowRoot.append(box);
    for (let made = 0; made < count; made += 10) {
        box.replaceChildren(...Array.from({ length: 10 }, () => row.cloneNode(true)));
        box.lastChild.getBoundingClientRect();
    }
    box.remove();
}"""
PLACES = ("in the page", "in the panel")
# Wait until a row stays where it is, then answer its place in the window. The list measures rows in later frames.
SETTLED_TOP = """async ([feed, title, ms]) => {
    const deadline = Date.now() + ms;
    const frame = () => new Promise(requestAnimationFrame);
    const isIt = (row) => row.querySelector("h3").textContent === title;
    const top = () => [...feed.shadowRoot.querySelectorAll("article")].find(isIt)?.getBoundingClientRect().top;
    for (let place, still = 0; still < 10;) {
        if (Date.now() > deadline) throw new Error(`${title} does not stay: it is at ${place} px`);
        await frame();
        const now = top();
        still = now !== undefined && now === place ? still + 1 : 0;
        place = now;
    }
    return top();
}"""
FRAME = "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"


def fill(belfry: Belfry, user: str, count: int = MANY) -> list[str]:
    """Messages of every height; answers their titles, newest first."""
    bodies = ["", "A line.", "text " * 40, "text " * 200]
    belfry.publish_all([{"to": user, "title": str(at), "body": bodies[at * 7 % 4]} for at in range(count)])
    return [str(at) for at in reversed(range(count))]


@pytest.fixture(params=PLACES)
def tab(request: pytest.FixtureRequest, visitor: Visitor, belfry: Belfry, alice: str) -> FeedTab:
    """A long feed, as a part of `/` or in the panel under the bell."""
    fill(belfry, alice)
    return opened(visitor, request.param)


def opened(visitor: Visitor, place: str) -> FeedTab:
    tab = visitor.tab()
    if place == "in the page":
        return tab
    tab.bell.click()
    panel = FeedTab(tab.page, "#bell")
    expect(panel.articles.first).to_be_visible()
    return panel


def title_of(at: int) -> str:
    """What is written in row `at`."""
    return str(MANY - at)


def rows(tab: FeedTab) -> list[int]:
    """The numbers of the rows in the page."""
    return [int(at) for at in tab.articles.evaluate_all("rows => rows.map((row) => row.ariaPosInSet)")]


def row(tab: FeedTab, at: int) -> Locator:
    """Row `at` of the whole list. Its place among the rows in the page changes whenever the list measures a row."""
    return tab.feed.locator(f'article[aria-posinset="{at}"]')


def load_all(tab: FeedTab, count: int = MANY) -> None:
    titles, _ = tab.walk()
    assert len(titles) == count


def to_top(tab: FeedTab) -> None:
    tab.feed.evaluate("feed => { scrollTo(0, 0); feed.shadowRoot.querySelector('.list').scrollTop = 0; }")
    expect(tab.articles.first).to_have_attribute("aria-posinset", "1")


def scroll_to_row(tab: FeedTab, at: int) -> None:
    """Scroll, by the room that the rows take together, until row `at` is in sight."""
    tab.feed.evaluate(
        """async (feed, at) => {
            const list = feed.shadowRoot.querySelector(".list");
            const scroller = list.scrollHeight > list.clientHeight ? list : document.scrollingElement;
            for (let tries = 0; tries < 50; tries++) {
                const rows = [...feed.shadowRoot.querySelectorAll("article")];
                const row = rows.find((row) => Number(row.ariaPosInSet) === at);
                if (row) return row.scrollIntoView({ block: "center" });
                scroller.scrollTop += (at - rows.at(-1).ariaPosInSet) * 60;
                await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
            }
            throw new Error(`row ${at} was not found`);
        }""",
        at,
    )
    tab.page.evaluate(FRAME)


def top_of(tab: FeedTab, title: str) -> float:
    """Where the message stands in the window once it stays there, in pixels."""
    return float(tab.page.evaluate(SETTLED_TOP, [tab.feed.element_handle(), title, wait_ms()]))


def focused_title(page: Page) -> str:
    title = "document.activeElement?.shadowRoot?.activeElement?.closest('article')?.querySelector('h3').textContent"
    return str(page.evaluate(title))


@pytest.mark.parametrize("place", PLACES)
def test_all_are_reached_in_order_each_once_with_few_in_the_page(
    visitor: Visitor, belfry: Belfry, alice: str, place: str
) -> None:
    expected = fill(belfry, alice, MOST)
    tab = opened(visitor, place)
    titles, most = tab.walk()
    assert titles == expected
    assert most <= ROWS_MOST
    assert rows(tab)[-1] == MOST


def test_older_ones_are_fetched_only_as_one_scrolls(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    fill(belfry, alice, 100)
    asked: list[str] = []
    visitor.context.on("request", lambda request: asked.append(request.url) if "/feed?" in request.url else None)
    tab = visitor.tab()
    expect(tab.articles.first).to_be_visible()
    assert not [url for url in asked if "before=" in url]
    tab.walk()
    assert len([url for url in asked if "before=" in url]) == 3


def test_any_place_shows_what_belongs_there_without_a_hole(tab: FeedTab) -> None:
    load_all(tab)
    for at in (150, 20, 280, 149, 1):
        scroll_to_row(tab, at)
        top_of(tab, title_of(at))  # the list has measured the rows that came into sight
        near = rows(tab)
        assert near == list(range(near[0], near[-1] + 1)), "a row is missing, or twice"
        assert at in near
        assert len(near) <= ROWS_MOST
        expect(row(tab, at)).to_be_in_viewport()


def test_what_one_reads_stays_where_it_is_when_messages_come(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    load_all(tab)
    scroll_to_row(tab, 150)
    before = top_of(tab, title_of(150))
    for number in range(5):
        belfry.publish({"to": alice, "title": f"new {number}", "body": "text " * 50})
    expect(row(tab, 150 + 5).locator("h3")).to_have_text(title_of(150))
    tab.expect_unread(MANY + 5)
    assert abs(top_of(tab, title_of(150)) - before) <= 2


def test_the_row_with_the_focus_stays_in_the_page_however_far_one_scrolls(tab: FeedTab) -> None:
    load_all(tab)
    to_top(tab)
    row(tab, 5).focus()  # a long text, of which more is shown while it has the focus
    scroll_to_row(tab, 250)
    assert focused_title(tab.page) == title_of(5)
    assert len(rows(tab)) <= ROWS_MOST + 1
    tab.page.keyboard.press("ArrowDown")
    assert focused_title(tab.page) == title_of(6)
    expect(tab.articles.locator(":scope:focus")).to_be_in_viewport()


def test_keys_lead_through_the_whole_list(tab: FeedTab) -> None:
    load_all(tab)
    to_top(tab)
    row(tab, 1).focus()
    for _ in range(120):
        tab.page.keyboard.press("ArrowDown")
    assert focused_title(tab.page) == title_of(121)
    tab.page.keyboard.press("End")
    assert focused_title(tab.page) == title_of(MANY)
    expect(tab.articles.locator(":scope:focus")).to_be_in_viewport()
    tab.page.keyboard.press("Home")
    assert focused_title(tab.page) == title_of(1)
    expect(tab.articles.locator(":scope:focus")).to_be_in_viewport()


def test_a_message_that_is_removed_far_down_leaves_the_focus_to_the_next(tab: FeedTab) -> None:
    load_all(tab)
    scroll_to_row(tab, 200)
    row(tab, 200).focus()
    assert focused_title(tab.page) == title_of(200)
    tab.page.keyboard.press("Delete")
    wait_until(lambda: focused_title(tab.page) == title_of(201))
    expect(tab.articles.locator(":scope:focus")).to_have_attribute("aria-posinset", "200")
    expect(tab.articles.locator(":scope:focus")).to_have_attribute("aria-setsize", str(MANY - 1))


@pytest.mark.alone
def test_a_step_costs_the_page_no_more_than_some_rows(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    """Compared with rows that are laid out in the same minute, since CPU time differs by machine and by its other work.

    On a machine where a step takes 4 ms, a frame has 16.
    """
    fill(belfry, alice, MOST)
    tab = visitor.tab()
    load_all(tab, MOST)
    tab.page.evaluate("scrollTo(0, 20_000)")
    session = cpu_session(tab.page)
    ratios = [step_cost(tab, session) / row_cost(tab, session) for _ in range(STEP_ROUNDS)]
    assert min(ratios) <= STEP_ROWS, ratios


def step_cost(tab: FeedTab, session: CDPSession) -> float:
    """What it costs the page to be scrolled by one step."""
    before = work(session)
    scroll(tab.page, SCROLL_STEPS, STEP_PX)
    return (work(session) - before) / SCROLL_STEPS


def row_cost(tab: FeedTab, session: CDPSession) -> float:
    """What it costs the page to lay out a copy of a row."""
    before = work(session)
    tab.feed.evaluate(COPY_ROWS, COPIES)
    return (work(session) - before) / COPIES


@pytest.mark.alone
def test_a_message_that_comes_costs_the_page_the_same_however_long_the_list(
    visit: Visit, belfry: Belfry, alice: str, bob: str
) -> None:
    """Compared with a short list in the same minute, since CPU time differs by machine and by what else it does."""
    fill(belfry, alice, MOST)
    long = visit(alice).tab()
    load_all(long, MOST)
    fill(belfry, bob, FEW)
    short = visit(bob).tab()
    ratios = [arrival_cost(long, belfry, alice) / arrival_cost(short, belfry, bob) for _ in range(ARRIVAL_ROUNDS)]
    assert min(ratios) <= ARRIVAL_RATIO, ratios


def arrival_cost(tab: FeedTab, belfry: Belfry, user: str) -> float:
    """What one message more costs the page that shows the user's list."""
    session, before_all = cpu_session(tab.page), tab.unread
    before = work(session)
    for number in range(ARRIVALS):
        belfry.publish({"to": user, "title": f"new {number}"})
        wait_until(lambda number=number: tab.unread == before_all + number + 1)  # type: ignore[misc]  # mypy infers no type for such a lambda
        tab.page.evaluate(FRAME)
    return (work(session) - before) / ARRIVALS


def work(session: CDPSession) -> float:
    """What scripts, styles and layout have cost so far, in milliseconds of CPU time."""
    spent = cpu_milliseconds(session)
    return spent["ScriptDuration"] + spent["LayoutDuration"] + spent["RecalcStyleDuration"]


def test_rows_know_their_number_and_how_many_there_are_once_that_is_known(tab: FeedTab) -> None:
    expect(tab.articles.first).to_have_attribute("aria-posinset", "1")
    expect(tab.articles.first).to_have_attribute("aria-setsize", "-1")
    load_all(tab)
    expect(tab.articles.last).to_have_attribute("aria-posinset", str(MANY))
    expect(tab.articles.last).to_have_attribute("aria-setsize", str(MANY))


def test_a_page_that_does_not_come_can_be_asked_for_again(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    """Without a connection nothing but the button asks again."""
    titles = fill(belfry, alice, 60)
    tab = FeedTab(visitor.context.new_page())
    tab.page.route("**/stream?*", lambda route: route.abort())
    tab.page.route("**/feed?*after=*", lambda route: route.abort())  # a slow page would use long polling instead
    tab.page.goto("/")
    expect(tab.articles.first).to_be_visible()
    tab.page.route("**/feed?*before=*", lambda route: route.fulfill(status=503, body="{}"))
    end = tab.feed.locator(".end")

    def reaches_the_end() -> bool:
        tab.page.mouse.wheel(0, 10_000)
        return "could not be loaded" in (end.text_content() or "")

    wait_until(reaches_the_end)  # the list grows while it measures its rows, so one step may not be enough
    again = tab.feed.get_by_role("button", name="Try again").element_handle()
    with tab.page.expect_request(lambda request: request.method == "HEAD", timeout=wait_ms(CONNECTED_SECONDS)):
        pass  # another try to connect failed, which the panel has shown
    assert again.evaluate("button => button.isConnected"), "a press of the button is lost when another takes its place"
    tab.page.unroute("**/feed?*before=*")
    again.click()
    assert tab.walk()[0] == titles
