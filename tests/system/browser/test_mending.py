"""The connection breaks in every way that it can, and mends itself: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route, expect

from tests.browsing import BACK_SECONDS, NO_POLLING, FeedTab
from tests.conftest import absent
from tests.servers import Belfry, Nginx
from tests.system.browser.conftest import Visit
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

# Each delay between two tries takes hours.
HOURS = "Math.random = () => 10_000;"
# A stream is tried again beside the polling after seconds instead of minutes.
SOON = "const wait = setTimeout; window.setTimeout = (run, ms) => wait(run, ms >= 60_000 ? ms / 60 : ms);"
# A stream that says nothing counts as held back after half a second instead of five.
HELD_BACK_SOON = "const held = setTimeout; window.setTimeout = (run, ms) => held(run, ms === 5_000 ? 500 : ms);"
# It is then given up after `lateMs` instead of half a minute.
GIVEN_UP_SOON = """window.lateMs = 500;
const late = setTimeout;
window.setTimeout = (run, ms) => late(run, ms === 30_000 ? lateMs : ms);
"""


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "100"}


def test_a_reload_shows_everything_once(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    for title in "123":
        belfry.publish({"to": alice, "title": title})
        tab.page.reload()
    tab.expect_titles("3", "2", "1")


@pytest.fixture
def way(nginx: Nginx, visit: Visit, alice: str) -> FeedTab:
    """Alice's page `/` behind an nginx, whose end cuts every connection."""
    return visit(alice, nginx.url).tab()


def test_what_was_missed_is_counted_once(way: FeedTab, nginx: Nginx, belfry: Belfry, alice: str) -> None:
    """The count that comes with `ready` knows the missed ones already."""
    nginx.kill()
    wait_until(lambda: way.state == "waiting", BACK_SECONDS)
    for title in "123":
        belfry.publish({"to": alice, "title": title})
    nginx.start()
    wait_until(lambda: way.titles.all_inner_texts() == ["3", "2", "1"], BACK_SECONDS)
    wait_until(lambda: way.state == "live", BACK_SECONDS)
    way.expect_unread(3)


def test_a_single_change_that_was_missed_is_shown(way: FeedTab, nginx: Nginx, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "read elsewhere"})
    expect(way.feed.locator("article.unread")).to_have_count(1)
    nginx.kill()
    wait_until(lambda: way.state == "waiting", BACK_SECONDS)
    belfry.reader(alice).post("/feed/read", json={"all": True}).raise_for_status()
    nginx.start()
    wait_until(lambda: way.state == "live", BACK_SECONDS)
    expect(way.feed.locator("article.unread")).to_have_count(0)
    way.expect_titles("read elsewhere")


def test_what_comes_while_the_feed_is_fetched_again_stays(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    """The page that arrives last is the older one."""
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")

    def hold(route: Route) -> None:
        answer = route.fetch()
        belfry.publish({"to": alice, "title": "2"})
        tab.expect_unread(2)
        route.fulfill(response=answer)

    tab.page.route("**/feed?limit=*", hold, times=1)
    tab.choose("Unread")
    tab.expect_titles("2", "1")


def test_it_comes_back_at_once_when_the_browser_is_online_again(
    nginx: Nginx, visit: Visit, belfry: Belfry, alice: str
) -> None:
    visitor = visit(alice, nginx.url)
    visitor.context.add_init_script(HOURS)
    tab = visitor.tab()
    tries: list[str] = []
    tab.page.on("requestfailed", lambda request: tries.append(request.url) if request.method == "HEAD" else None)
    nginx.kill()
    visitor.context.set_offline(True)
    wait_until(lambda: tab.state == "waiting" and tries, BACK_SECONDS, what="the delay to begin")
    expect(tab.feed).to_contain_text("No connection")
    belfry.publish({"to": alice, "title": "missed"})
    nginx.start()
    visitor.context.set_offline(False)
    wait_until(lambda: tab.state == "live", BACK_SECONDS)
    tab.expect_titles("missed")
    expect(tab.feed).not_to_contain_text("No connection")


def test_a_server_that_restarts_is_found_again(start_belfry: StartBelfry, visit: Visit, alice: str) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_RETRY_MS="100")
    visitor = visit(alice, belfry.url)
    visitor.context.add_init_script(SOON)  # a server may take so long to start that the page polls for a minute
    tab = visitor.tab()
    belfry.kill()
    wait_until(lambda: tab.state != "live")
    belfry.start()
    belfry.publish({"to": alice, "title": "after"})
    wait_until(lambda: tab.titles.all_inner_texts() == ["after"], BACK_SECONDS)
    wait_until(lambda: tab.state == "live", BACK_SECONDS)


def test_a_server_with_no_room_is_tried_again_until_it_has_some(
    start_belfry: StartBelfry, visit: Visit, alice: str, bob: str
) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_MAX_CONNECTIONS="1")
    with belfry.stream(bob):
        page = visit(alice, belfry.url).context.new_page()
        refusals: list[int] = []
        page.on(
            "response",
            lambda answer: refusals.append(answer.status) if urlsplit(answer.url).path == "/stream" else None,
        )
        page.goto("/")
        tab = FeedTab(page)
        wait_until(lambda: tab.state == "waiting" and len(refusals) > 2, BACK_SECONDS)
        assert set(refusals) == {503}
        expect(tab.feed).to_contain_text("No connection")
        belfry.publish({"to": alice, "title": "meanwhile"})
    wait_until(lambda: tab.state == "live", BACK_SECONDS)
    tab.expect_titles("meanwhile")
    belfry.publish({"to": alice, "title": "at last"})
    tab.expect_titles("at last", "meanwhile")
    expect(tab.feed).not_to_contain_text("No connection")


def test_an_evicted_tab_stops_until_its_user_wants_to_go_on(
    start_belfry: StartBelfry, visit: Visit, alice: str
) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_RETRY_MS="100", BELFRY_MAX_CONNECTIONS_PER_USER="1")
    first = visit(alice, belfry.url).tab()
    second = visit(alice, belfry.url).tab()
    wait_until(lambda: first.state == "stopped")
    asked: list[str] = []
    first.page.on("request", lambda request: asked.append(request.url))
    first.page.wait_for_timeout(1_000)  # long enough to come back, were it to do so
    belfry.publish({"to": alice, "title": "missed"})
    second.expect_titles("missed")
    assert first.state == "stopped"
    assert not [url for url in asked if urlsplit(url).path == "/stream"]
    first.feed.get_by_role("button", name="Continue here").click()
    first.expect_titles("missed")
    wait_until(lambda: second.state == "stopped")


@pytest.mark.parametrize("with_token", [False, True], ids=["cookie", "token"])
def test_a_stream_that_is_sent_on_goes_on_elsewhere_at_once_and_asks_for_nothing_else(
    start_belfry: StartBelfry, visit: Visit, alice: str, with_token: bool
) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_STREAM_SECONDS="1", BELFRY_HEARTBEAT_SECONDS="0.5")
    page = visit(alice, belfry.url).context.new_page()
    page.add_init_script(NO_POLLING)  # a stream may be late on a slow machine, and is one nevertheless
    page.goto("/health/live")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {urlsplit(request.url).path}"))
    page.evaluate(FOLLOW, belfry.token(alice, "feed") if with_token else "")
    page.wait_for_function("heard.readies > 0")
    sent = 0
    while page.evaluate("heard.readies") < 4:
        belfry.publish({"to": alice, "data": sent})
        sent += 1
        page.wait_for_timeout(20)
    page.wait_for_function("(sent) => heard.numbers.length >= sent", arg=sent)
    assert page.evaluate("heard.numbers") == list(range(sent))
    assert set(page.evaluate("heard.states")) == {"connecting", "live"}
    calls = {call for call in asked if not call.startswith("GET /static/")}
    assert calls == {"GET /stream", *(["POST /tickets"] if with_token else [])}


# Nobody knows how many tabs there are, so nothing is told of that. A slow browser may tell it late otherwise.
FOLLOW = """async (token) => {
    navigator.locks.query = async () => ({});
    const { BelfryClient } = await import("/static/belfry.js");
    const client = new BelfryClient(token ? { token: () => token } : {});
    window.heard = { readies: 0, numbers: [], states: [] };
    client.on("ready", () => heard.readies++);
    client.on("message", ({ data }) => heard.numbers.push(data));
    client.on("state", (state) => heard.states.push(state));
    await client.open();
}"""


def test_a_session_that_is_gone_is_said(way: FeedTab, nginx: Nginx) -> None:
    nginx.kill()
    wait_until(lambda: way.state == "waiting", BACK_SECONDS)
    way.page.context.clear_cookies()
    nginx.start()
    wait_until(lambda: way.state == "denied", BACK_SECONDS)
    expect(way.feed).to_contain_text("You are signed out")


def test_history_that_was_lost_is_fetched_again(start_belfry: StartBelfry, visit: Visit, alice: str) -> None:
    """More came while it was away than the server keeps: it can't catch up, and shows what there is."""
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_RETRY_MS="100", BELFRY_HISTORY_LENGTH="3")
    nginx = Nginx(belfry.port)
    try:
        nginx.start()
        tab = visit(alice, nginx.url).tab()
        tab.feed.evaluate("feed => feed.client.on('reset', () => { window.wasReset = true; })")
        belfry.publish({"to": alice, "title": "seen"})
        tab.expect_titles("seen")
        nginx.kill()
        wait_until(lambda: tab.state == "waiting", BACK_SECONDS)
        belfry.publish_all([{"to": alice, "title": str(number)} for number in range(6)])
        nginx.start()
        wait_until(lambda: tab.titles.all_inner_texts() == ["5", "4", "3"], BACK_SECONDS)
        assert tab.page.evaluate("window.wasReset")
        tab.expect_unread(3)
    finally:
        nginx.destroy()


class BufferingProxy(Nginx):
    """nginx as somebody set it who wanted everything buffered."""

    SETTINGS = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; proxy_buffers 64 64k;"

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        text = self._config_path.read_text()
        self._config_path.write_text(text.replace("location / {", f"location / {{ {self.SETTINGS}", 1))


def test_behind_a_proxy_that_buffers_it_polls(belfry: Belfry, visit: Visit, alice: str) -> None:
    if Nginx.binary() is None:
        absent("nginx")
    proxy = BufferingProxy(belfry.port)
    try:
        proxy.start()
        page = visit(alice, proxy.url).context.new_page()
        page.add_init_script(HELD_BACK_SOON)
        page.goto("/")
        tab = FeedTab(page)
        wait_until(lambda: tab.state == "polling", BACK_SECONDS, what="the page to give the stream up")
        for title in "12":
            belfry.publish({"to": alice, "title": title})
            tab.expect_titles(*reversed("12"[: int(title)]))
        tab.expect_unread(2)
        tab.articles.first.click()
        tab.expect_unread(1)
    finally:
        proxy.destroy()


def test_it_returns_to_a_stream_when_one_gets_through(visit: Visit, belfry: Belfry, alice: str) -> None:
    """It polls until the stream beside it is ready, and not a moment longer."""
    page = visit(alice).context.new_page()
    for script in (SOON, HELD_BACK_SOON, GIVEN_UP_SOON):
        page.add_init_script(script)
    held: list[Route] = []

    def hold(route: Route) -> None:  # no answer
        held.append(route)

    page.route("**/stream?*", hold)
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if "after=" in request.url else None)
    page.goto("/")
    tab = FeedTab(page)
    wait_until(lambda: tab.state == "polling", BACK_SECONDS, what="the page to give the stream up")
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")
    wait_until(lambda: tab.state == "polling" and len(held) > 1, BACK_SECONDS, what="another try")
    page.evaluate("lateMs = 30_000")  # the next try has time
    page.unroute("**/stream?*")
    wait_until(lambda: tab.state == "live", BACK_SECONDS)
    belfry.publish({"to": alice, "title": "2"})
    tab.expect_titles("2", "1")
    FeedTab(page, "#bell").expect_unread(2)
    polled = len(polls)  # the last poll has been reported by now
    belfry.publish({"to": alice, "title": "3"})
    tab.expect_titles("3", "2", "1")
    tab.expect_unread(3)
    assert len(polls) == polled
