"""The feed tells the truth: failed changes are undone, failed loads are repeated, each end has its true words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browsing import BACK_SECONDS, LASTING, NO_POLLING, FeedTab, Visitor, wait_ms
from tests.host_site import HostSite, host_site
from tests.servers import Belfry, Nginx
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until

Bell = Callable[[], FeedTab]
UNDONE = "Your change could not be saved. It was undone."


@pytest.fixture
def way(nginx: Nginx, visit: Visit, alice: str) -> FeedTab:
    """Alice's page `/` behind an nginx, whose end cuts every connection."""
    visitor = visit(alice, nginx.url)
    visitor.context.add_init_script(LASTING)
    return visitor.tab()


@pytest.fixture
def tab(visitor: Visitor) -> FeedTab:
    """Alice's page `/`, which does not stop telling that a change was undone."""
    visitor.context.add_init_script(LASTING)
    return visitor.tab()


def test_changes_without_a_server_are_undone_in_sight_and_the_truth_is_fetched_afterwards(
    way: FeedTab, nginx: Nginx, belfry: Belfry, alice: str
) -> None:
    belfry.publish_all([{"to": alice, "title": title} for title in "123"])
    way.expect_titles("3", "2", "1")
    nginx.kill()
    wait_until(lambda: way.state == "waiting", BACK_SECONDS)
    way.use(0, "Archive")
    expect(way.feed.get_by_text(UNDONE)).to_be_visible()
    with way.page.expect_event("requestfailed", lambda request: request.method == "DELETE"):
        way.use(1, "Remove")
    way.expect_titles("3", "2", "1")
    belfry.reader(alice).delete(f"/feed/{belfry.reader(alice).feed()['messages'][2]['id']}").raise_for_status()
    nginx.start()
    wait_until(lambda: way.state == "live", BACK_SECONDS)
    way.expect_titles("3", "2")
    way.expect_unread(2)
    assert [message["title"] for message in belfry.reader(alice).feed()["messages"]] == ["3", "2"]


def test_a_change_whose_reply_was_lost_is_shown_as_the_server_has_it(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish_all([{"to": alice, "title": title} for title in "12"])
    tab.expect_titles("2", "1")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    tab.page.route("**/feed/archive*", lose, times=1)
    tab.use(0, "Archive")
    expect(tab.feed.get_by_text(UNDONE)).to_be_visible()
    tab.expect_titles("1")
    tab.expect_unread(1)


@pytest.mark.parametrize("status", [500, 503, 409])
def test_a_change_that_the_server_refuses_is_undone(tab: FeedTab, belfry: Belfry, alice: str, status: int) -> None:
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")
    tab.page.route("**/feed/read*", lambda route: route.fulfill(status=status, json={"code": "x", "detail": "y"}))
    tab.feed.get_by_role("button", name="Mark all as read").click()
    expect(tab.feed.get_by_text(UNDONE)).to_be_visible()
    expect(tab.feed.locator("article.unread")).to_have_count(1)
    tab.expect_unread(1)


def test_a_first_load_that_failed_is_repeated_until_it_succeeds(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "1"})
    page = tab.page.context.new_page()
    page.route("**/feed?*", lambda route: route.fulfill(status=500, json={}), times=4)
    page.goto("/")
    expect(FeedTab(page).titles).to_have_text(["1"], timeout=wait_ms(BACK_SECONDS))  # the delays between tries grow


@pytest.fixture(scope="module")
def site() -> Iterator[HostSite]:
    with host_site() as site:
        yield site


@pytest.fixture(scope="module")
def environment(site: HostSite) -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "100", "BELFRY_CORS_ORIGINS": site.url}


@pytest.fixture
def shop(belfry: Belfry, site: HostSite, alice: str) -> Belfry:
    """The server, whose feed the site embeds."""
    site.belfry = belfry.url
    site.mint = lambda: belfry.token(alice, "feed")
    site.failures = []
    return belfry


@pytest.fixture
def bell(browser: Browser, site: HostSite, shop: Belfry) -> Iterator[Bell]:
    """Opens the site's page; the browser has never been at Belfry's own pages."""
    assert shop.url == site.belfry
    context = browser.new_context()
    context.set_default_timeout(wait_ms())

    def start() -> FeedTab:
        tab = FeedTab(context.new_page())
        tab.page.goto(site.url)
        return tab

    yield start
    context.close()


def test_a_token_address_that_fails_at_first_leaves_no_trace(
    bell: Bell, site: HostSite, shop: Belfry, alice: str
) -> None:
    shop.publish_all([{"to": alice, "title": title} for title in "12"])
    site.failures = [500, 500, 500]
    tab = bell()
    wait_until(lambda: tab.state == "live", BACK_SECONDS)
    tab.feed.locator(".bell").click()
    tab.expect_titles("2", "1")
    tab.expect_unread(2)


def test_a_bell_that_an_administrator_disconnected_says_so_and_can_come_back(
    bell: Bell, shop: Belfry, alice: str
) -> None:
    tab = bell()
    tab.wait_connected()
    button = tab.feed.locator(".bell")
    expect(button).to_have_accessible_name("Notifications")
    shop.api(shop.token("root", "admin")).delete(f"/presence/{alice}").raise_for_status()
    wait_until(lambda: tab.state == "stopped")
    expect(button).to_have_accessible_name("Notifications, not connected")
    button.click()
    expect(tab.feed.locator(".notice")).to_contain_text("An administrator ended the connection.")
    shop.publish({"to": alice, "title": "meanwhile"})
    tab.feed.get_by_role("button", name="Connect again").click()
    tab.wait_connected()
    tab.expect_titles("meanwhile")
    expect(button).to_have_accessible_name("Notifications, 1 unread")


def test_a_user_who_is_forgotten_sees_no_message_any_more(bell: Bell, shop: Belfry, alice: str) -> None:
    shop.publish({"to": alice, "title": "private"})
    tab, other = bell(), bell()
    for each in (tab, other):
        each.wait_connected()
        each.feed.locator(".bell").click()
        each.expect_titles("private")
    shop.api(shop.token("root", "admin")).delete(f"/users/{alice}").raise_for_status()
    for each in (tab, other):
        expect(each.feed.locator(".notice")).to_contain_text("Your access was withdrawn.")
        each.expect_titles()
        each.expect_unread(0)


def test_signing_out_in_one_tab_ends_the_others(visit: Visit, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "private"})
    visitor = visit(alice)
    tab, other = visitor.tab(), visitor.tab()
    tab.expect_titles("private")
    other.page.get_by_role("button", name="Sign out").click()
    expect(tab.feed.locator(".notice")).to_contain_text("You are signed out.")
    tab.expect_titles()
    tab.expect_unread(0)


def test_the_notice_stays_while_it_tries_again(visitor: Visitor) -> None:
    """It would blink with each try, and move the list."""
    visitor.context.add_init_script(NO_POLLING)  # a page that polls has a connection
    tab = visitor.tab()
    tab.feed.evaluate(
        """feed => {
            window.hidden = [];
            const notice = feed.shadowRoot.querySelector(".notice");
            new MutationObserver(() => hidden.push(notice.hidden)).observe(notice, { attributes: true });
        }"""
    )
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.method)
        route.abort()

    tab.page.route("**/stream?*", refuse)
    tab.page.evaluate(
        "for (const each of [feed, bell]) each.client.close(); for (const each of [feed, bell]) each.client.open();"
    )
    expect(tab.feed.locator(".notice")).to_be_visible()
    tab.page.evaluate("hidden.length = 0")
    wait_until(lambda: bool(tab.state) and asked.count("GET") > 2, BACK_SECONDS, what="some tries")
    assert True not in tab.page.evaluate("hidden")
