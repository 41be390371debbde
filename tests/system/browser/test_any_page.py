"""The bell on any page: whatever its language, below any path, set up early or late, wherever the bell stands."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import FeedTab, Visitor
from tests.conftest import absent
from tests.servers import Belfry, Nginx, SubPathNginx
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until

SCRIPT = '<script type="module" src="/static/belfry.js"></script>'
ICON = '<link rel="icon" href="data:,">'


def serve(visitor: Visitor, html: str, script: str = "") -> Page:
    """A page of the server's own origin with this content."""
    page = visitor.context.new_page()
    if script:
        page.add_init_script(script)
    page.route("**/page", lambda route: route.fulfill(body=html, headers={"Content-Type": "text/html"}))
    page.goto("/page")
    return page


@pytest.mark.parametrize("lang", ["en_US", "zh_CN", "C", "", "de_DE.UTF-8", "POSIX", "x", "he", "-"])
def test_no_language_tag_costs_the_bell(visitor: Visitor, belfry: Belfry, alice: str, lang: str) -> None:
    tab = FeedTab(serve(visitor, f'<!doctype html><html lang="{lang}">{ICON}{SCRIPT}<belfry-feed id="feed" inline>'))
    tab.wait_connected()
    belfry.publish({"to": alice, "title": "1"})  # not before, since it is a minute old in a minute
    tab.expect_titles("1")
    title = {"zh_CN": "通知", "de_DE.UTF-8": "Benachrichtigungen"}.get(lang, "Notifications")
    expect(tab.feed.get_by_role("heading", name=title)).to_be_visible()
    now = {"zh_CN": "刚刚", "de_DE.UTF-8": "jetzt"}.get(lang, "now")
    expect(tab.articles.locator("time")).to_have_text(now)


def test_a_browser_without_a_locale_shows_bell_and_dashboard(visitor: Visitor) -> None:
    """WebKit's `navigator.language` is then "C"."""
    no_locale = """for (const [name, value] of [["language", "C"], ["languages", ["C"]]])
        Object.defineProperty(navigator, name, { value, configurable: true });"""
    tab = FeedTab(serve(visitor, f'<!doctype html>{ICON}{SCRIPT}<belfry-feed id="feed"></belfry-feed>', no_locale))
    tab.wait_connected()
    expect(tab.feed.locator(".bell")).to_be_visible()
    page = visitor.context.new_page()
    page.add_init_script(no_locale)
    page.goto("/admin/dashboard/")
    expect(page.locator(".plot canvas").first).to_be_visible()


def test_properties_that_are_set_before_the_module_has_loaded_count(visitor: Visitor, belfry: Belfry, bob: str) -> None:
    """The page is signed in as alice; the token is bob's."""
    belfry.publish({"to": bob, "title": "for bob"})
    setup = f"""<script>
        feed.token = () => {json.dumps(belfry.token(bob, "feed"))};
        feed.texts = {{ title: "Inbox" }};
        feed.topics = [];
    </script>"""
    page = f'<!doctype html><html lang="en">{ICON}<belfry-feed id="feed" inline></belfry-feed>{setup}{SCRIPT}'
    tab = FeedTab(serve(visitor, page))
    tab.expect_titles("for bob")
    expect(tab.feed.get_by_role("heading", name="Inbox")).to_be_visible()
    own = set(tab.feed.evaluate("feed => Object.keys(feed)"))
    assert not own & {"token", "texts", "topics"}, "own properties hide those of the class"


def test_properties_that_are_set_later_count(visitor: Visitor, belfry: Belfry, alice: str, bob: str) -> None:
    for user in (alice, bob):
        belfry.publish({"to": user, "title": f"for {user}"})
    page = f'<!doctype html><html lang="en">{ICON}{SCRIPT}<belfry-feed id="feed" inline></belfry-feed>'
    tab = FeedTab(serve(visitor, page))
    tab.expect_titles(f"for {alice}")
    tab.feed.evaluate(
        "(feed, token) => { feed.token = token; feed.texts = { title: 'Inbox' }; }", belfry.token(bob, "feed")
    )
    tab.expect_titles(f"for {bob}")
    expect(tab.feed.get_by_role("heading", name="Inbox")).to_be_visible()
    belfry.publish({"to": bob, "title": "live"})
    tab.expect_titles("live", f"for {bob}")


def test_attributes_that_change_later_count(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    page = f'<!doctype html><html lang="en">{ICON}{SCRIPT}<belfry-feed id="feed"></belfry-feed>'
    tab = FeedTab(serve(visitor, page))
    tab.wait_connected()
    expect(tab.feed.locator(".bell")).to_be_visible()
    tab.feed.evaluate("feed => feed.setAttribute('inline', '')")
    expect(tab.feed.locator(".bell")).to_have_count(0)
    tab.page.evaluate("document.documentElement.lang = ' ja '")
    expect(tab.feed.get_by_role("button", name="設定")).to_be_visible()
    tab.feed.evaluate("feed => { feed.lang = 'zh_TW'; }")
    expect(tab.feed.get_by_role("heading", name="通知")).to_be_visible()
    tab.feed.evaluate("feed => feed.setAttribute('events', 'order')")
    belfry.publish({"to": alice, "title": "1", "event": "order"})
    tab.expect_titles("1")
    tab.feed.evaluate("feed => feed.setAttribute('token-url', '/nowhere')")
    wait_until(lambda: tab.state == "waiting", what="the session not to count any more")


@pytest.mark.parametrize("attribute", ["", 'server="/push/"'], ids=["where the module came from", "attribute"])
def test_below_a_path_everything_that_is_called_is_below_it(
    visit: Visit, belfry: Belfry, alice: str, attribute: str
) -> None:
    if Nginx.binary() is None:
        absent("nginx")
    proxy = SubPathNginx(belfry.port)
    try:
        proxy.start()
        visitor = visit(alice)
        page = visitor.context.new_page()
        html = f"""<!doctype html><html lang="en">{ICON}<belfry-feed id="feed" inline {attribute}></belfry-feed>
            <script>feed.token = {json.dumps(belfry.token(alice, "feed"))};</script>
            <script type="module" src="{proxy.url}/push/static/belfry.js"></script>"""
        page.route("**/page", lambda route: route.fulfill(body=html, headers={"Content-Type": "text/html"}))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(urlsplit(request.url).path))
        page.goto(f"{proxy.url}/page")
        tab = FeedTab(page)
        tab.wait_connected()
        belfry.publish({"to": alice, "title": "1"})
        tab.expect_titles("1")
        tab.articles.first.click()
        tab.expect_unread(0)
        wanted = {"/push/tickets", "/push/stream", "/push/feed", "/push/feed/read"}
        wait_until(lambda: page.evaluate("true") and wanted <= set(asked), what=lambda: f"{wanted} in {asked}")
        assert [path for path in asked if not path.startswith("/push/")] == ["/page"]
    finally:
        proxy.destroy()


@pytest.mark.parametrize(("place", "opens_up"), [("top: 0", False), ("bottom: 0", True), ("top: 60%", True)])
def test_the_panel_opens_where_there_is_room(visitor: Visitor, place: str, opens_up: bool) -> None:
    html = f"""<!doctype html><html lang="en">{ICON}{SCRIPT}
        <style>belfry-feed {{ position: fixed; right: 20px; {place} }}</style>
        <belfry-feed id="feed"></belfry-feed>"""
    page = serve(visitor, html)
    page.set_viewport_size({"width": 900, "height": 600})
    tab = FeedTab(page)
    tab.wait_connected()
    tab.feed.locator(".bell").click()
    dialog = tab.feed.get_by_role("dialog")

    def has_room() -> bool:
        bell, panel = tab.feed.locator(".bell").bounding_box(), dialog.bounding_box()
        if not bell or not panel or panel["height"] < 300 or panel["y"] < 0:
            return False
        bottom = panel["y"] + panel["height"]
        return bottom <= 600 and (bottom <= bell["y"]) == opens_up

    wait_until(has_room, what=lambda: f"room for the panel, which is at {dialog.bounding_box()}")
    page.set_viewport_size(
        {"width": 900, "height": 260}
    )  # above and below the bell there is less room than a row takes
    wait_until(lambda: int(dialog.evaluate("panel => panel.offsetHeight")) >= 240, what="the panel to use the window")


@pytest.mark.parametrize(
    "script",
    [
        "delete window.Notification;",
        """window.Notification = class {
            static permission = "granted";
            static requestPermission = async () => "granted";
            constructor() { throw new TypeError("Illegal constructor"); }
        };""",
        """delete window.AudioContext;
        window.Notification = class {
            static permission = "default";
            static requestPermission = () => { throw new TypeError("1 argument required"); };
        };""",
    ],
    ids=["missing", "throws", "asking throws"],
)
def test_where_there_are_no_desktop_notifications_the_box_says_so(
    visitor: Visitor, belfry: Belfry, alice: str, script: str
) -> None:
    """As in web views, and in Chrome on Android. Errors of the page fail the test."""
    hidden = "Object.defineProperty(document, 'hidden', { get: () => window.isHidden ?? false });"
    html = f'<!doctype html><html lang="en">{ICON}{SCRIPT}<belfry-feed id="feed"></belfry-feed>'
    tab = FeedTab(serve(visitor, html, script + hidden))
    tab.wait_connected()
    tab.feed.locator(".bell").click()
    tab.feed.get_by_role("button", name="Settings").click()
    box = tab.feed.get_by_label("Notify on the desktop")
    box.click()
    sound = tab.feed.get_by_label("Play a sound")
    sound.click()
    expect(sound).to_be_checked(checked="AudioContext" not in script)
    if "delete" in script:
        expect(tab.feed.get_by_text("The browser does not show desktop notifications")).to_be_visible()
    else:
        tab.page.evaluate("window.isHidden = true")
        belfry.publish({"to": alice, "title": "1"})
    expect(box).not_to_be_checked()
    assert tab.page.evaluate("localStorage.getItem('belfry.desktop')") != "yes"


@pytest.mark.parametrize(
    "script",
    [
        "navigator.locks.request = () => Promise.reject(new DOMException('no', 'SecurityError'));",
        "window.BroadcastChannel = class { constructor() { throw new DOMException('no', 'SecurityError'); } };",
    ],
    ids=["locks", "channels"],
)
def test_where_the_browser_blocks_what_tabs_share_each_tab_connects_itself(
    visitor: Visitor, belfry: Belfry, alice: str, script: str
) -> None:
    """As in a sandboxed frame."""
    html = f'<!doctype html><html lang="en">{ICON}{SCRIPT}<belfry-feed id="feed" inline></belfry-feed>'
    tab = FeedTab(serve(visitor, html, script))
    tab.wait_connected()
    belfry.publish({"to": alice, "title": "1"})
    tab.expect_titles("1")


def test_an_address_that_is_none_costs_no_bell_and_explains_itself(visitor: Visitor) -> None:
    """The scheme is missing."""
    html = f'<!doctype html><html lang="en">{ICON}<belfry-feed id="feed" server="push.example.com:8000"></belfry-feed>'
    watch = "<script>addEventListener('belfry-error', ({ detail }) => { window.problem = detail; });</script>"
    tab = FeedTab(serve(visitor, html + watch + SCRIPT))
    tab.feed.locator(".bell").click()
    expect(tab.feed.locator(".notice")).to_contain_text("Notifications are not available on this page.")
    tab.page.wait_for_function("window.problem")
    problem = tab.page.evaluate("problem")
    assert (problem["code"], "push.example.com:8000" in problem["detail"]) == ("address_malformed", True)
    assert "The attribute server" in problem["remedy"]


def test_the_module_may_be_loaded_from_two_addresses(visitor: Visitor) -> None:
    html = f'<!doctype html><html lang="en">{ICON}{SCRIPT}{SCRIPT.replace(".js", ".js?again")}<belfry-feed id="feed">'
    FeedTab(serve(visitor, html)).wait_connected()
