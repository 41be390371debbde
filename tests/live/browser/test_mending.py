"""The connection breaks in every way that it can, and mends itself: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route, expect

from tests.browsing import FeedTab, Visitor
from tests.conftest import absent
from tests.live.browser.conftest import Visit
from tests.live.conftest import StartBelfry
from tests.servers import Belfry, Nginx
from tests.waiting import wait_until

BACK_SECONDS = 40.0  # the longest delay between two tries, and the try


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "100"}


def test_a_reload_shows_everything_once(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    for title in "123":
        belfry.publish({"to": alice, "title": title})
        tab.page.reload()
    tab.expect_titles("3", "2", "1")


def test_it_comes_back_when_the_browser_is_online_again(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    context = tab.page.context
    context.set_offline(True)
    cut(tab)
    wait_until(lambda: tab.state == "waiting", BACK_SECONDS)
    expect(tab.feed).to_contain_text("No connection")
    belfry.publish({"to": alice, "title": "missed"})
    context.set_offline(False)
    tab.expect_titles("missed")
    tab.wait_connected()
    expect(tab.feed).not_to_contain_text("No connection")


def cut(tab: FeedTab) -> None:
    """End the page's stream as a network does that doesn't come back: the browser's own retry fails as well."""
    for _ in range(2):
        tab.page.evaluate("for (const stream of streams) stream.dispatchEvent(new Event('error'))")


@pytest.fixture
def tab(visitor: Visitor) -> FeedTab:
    visitor.context.add_init_script(
        """window.streams = [];
        window.EventSource = class extends EventSource {
            constructor(...given) { super(...given); window.streams.push(this); }
        };"""
    )
    return visitor.tab()


def test_a_server_that_restarts_is_found_again(start_belfry: StartBelfry, visit: Visit, alice: str) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_RETRY_MS="100")
    tab = visit(alice, belfry.url).tab()
    belfry.kill()
    wait_until(lambda: tab.state != "live")
    belfry.start()
    belfry.publish({"to": alice, "title": "after"})
    wait_until(lambda: tab.titles.all_inner_texts() == ["after"], BACK_SECONDS)
    wait_until(lambda: tab.state == "live", BACK_SECONDS)


def test_an_overloaded_server_is_tried_again_until_it_answers(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=503, headers={"Retry-After": "1"}, body="")

    page = visitor.context.new_page()
    page.route("**/stream*", refuse)
    page.goto("/")
    tab = FeedTab(page)
    wait_until(lambda: tab.state == "waiting" and len(refused) > 4, BACK_SECONDS)
    expect(tab.feed).to_contain_text("No connection")
    page.unroute("**/stream*")
    wait_until(lambda: tab.state == "live", BACK_SECONDS)
    belfry.publish({"to": alice, "title": "at last"})
    tab.expect_titles("at last")


def test_a_page_out_of_the_back_forward_cache_goes_on(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")
    tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    assert tab.page.evaluate("streams.every((stream) => stream.readyState === 2)"), (
        "an open stream keeps a page out of it"
    )
    belfry.publish({"to": alice, "title": "2"})
    tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    tab.expect_titles("2", "1")
    belfry.publish({"to": alice, "title": "3"})
    tab.expect_titles("3", "2", "1")


def test_an_evicted_tab_stops_until_its_user_wants_to_go_on(
    start_belfry: StartBelfry, visit: Visit, alice: str
) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_RETRY_MS="100", BELFRY_MAX_CONNECTIONS_PER_USER="1")
    first = visit(alice, belfry.url).tab()
    second = visit(alice, belfry.url).tab()
    wait_until(lambda: first.state == "stopped")
    first.page.wait_for_timeout(1_000)  # long enough to come back, were it to do so
    assert (first.state, second.state) == ("stopped", "live")
    belfry.publish({"to": alice, "title": "missed"})
    first.feed.get_by_role("button", name="Continue here").click()
    first.expect_titles("missed")
    wait_until(lambda: second.state == "stopped")


@pytest.mark.parametrize("with_token", [False, True], ids=["cookie", "token"])
def test_a_stream_that_is_sent_on_goes_on_elsewhere_at_once_and_asks_for_nothing_else(
    start_belfry: StartBelfry, visit: Visit, alice: str, with_token: bool
) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_STREAM_SECONDS="1", BELFRY_HEARTBEAT_SECONDS="0.5")
    page = visit(alice, belfry.url).context.new_page()
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
    assert set(asked) == {"GET /static/belfry.js", "GET /stream", *(["POST /tickets"] if with_token else [])}


FOLLOW = """async (token) => {
    const { BelfryClient } = await import("/static/belfry.js");
    const client = new BelfryClient(token ? { token: () => token } : {});
    window.heard = { readies: 0, numbers: [], states: [] };
    client.on("ready", () => heard.readies++);
    client.on("message", ({ data }) => heard.numbers.push(data));
    client.on("state", (state) => heard.states.push(state));
    await client.open();
}"""


def test_a_session_that_ends_is_said(tab: FeedTab) -> None:
    tab.page.context.clear_cookies()
    cut(tab)
    expect(tab.feed).to_contain_text("You are signed out", timeout=BACK_SECONDS * 1_000)
    assert tab.state == "denied"


def test_history_that_was_lost_is_fetched_again(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")
    with tab.page.expect_request("**/feed?*"):
        tab.page.evaluate("streams.at(-1).dispatchEvent(new MessageEvent('reset', {data: '{}'}))")
    tab.expect_titles("1")


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
        visitor = visit(alice, f"http://127.0.0.1:{proxy.port}")
        page = visitor.context.new_page()
        page.goto("/")
        tab = FeedTab(page)
        tab.wait_connected("polling")
        for title in "12":
            belfry.publish({"to": alice, "title": title})
            tab.expect_titles(*reversed("12"[: int(title)]))
        tab.expect_unread(2)
        tab.articles.first.click()
        tab.expect_unread(1)
    finally:
        proxy.destroy()
