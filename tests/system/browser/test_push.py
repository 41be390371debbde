"""Web Push in Chromium, on a site of another origin: its service worker shows a push, and a click marks it as read.

No test browser reaches a real push service. So a stand-in takes the push, and the browser gets its text over CDP.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Worker, expect

from app.launch.demo import new_push_key
from tests.browsing import Visitor, wait_ms
from tests.host_site import HostSite, host_site
from tests.push_service import Browser as Device
from tests.push_service import PushService, push_service
from tests.servers import Belfry
from tests.waiting import wait_until

PAGE = "<!doctype html><html lang=en><title>Shop</title><link rel=icon href=data:,></html>"
WORKER = """
self.belfry = { server: "BELFRY" };
importScripts("BELFRY/static/belfry-push.js");
self.looked = 0; // how often it asked which pages are open
const { clients } = self;
const matchAll = clients.matchAll.bind(clients);
clients.matchAll = async (query) => { const found = await matchAll(query); self.looked++; return found; };
"""
SHOWN = """async () => {
    const { registration } = window;
    return (await registration.getNotifications()).map(({ title, body, tag }) => [title, body, tag]);
}"""
# A script may construct the event of a click, and only the browser may let it wait for something.
CLICK = """async () => {
    const [notification] = await registration.getNotifications();
    self.dispatchEvent(new NotificationEvent("notificationclick", { notification, action: "" }));
}"""

# No test browser reaches a push service that would make a subscription. A real one outlives its page, as this one does.
SUBSCRIBED = """
    const made = { ...SUBSCRIPTION, unsubscribe: async () => delete localStorage.made };
    PushManager.prototype.getSubscription = async () => (localStorage.made ? made : null);
    PushManager.prototype.subscribe = async (wanted) => {
        window.wanted = wanted;
        localStorage.made = true;
        return made;
    };
"""
REFUSED = """(name) => {
    try {
        trustedTypes.createPolicy(name, { createScriptURL: (url) => url });
        return false;
    } catch {
        return true;
    }
}"""


@pytest.fixture(scope="module")
def site() -> Iterator[HostSite]:
    with host_site() as running:
        yield running


@pytest.fixture(scope="module")
def environment(site: HostSite) -> Mapping[str, str]:
    return {
        "BELFRY_CORS_ORIGINS": site.url,
        "BELFRY_DEMO": "1",
        "BELFRY_PUSH_PRIVATE_KEY": new_push_key(),
        "BELFRY_PUSH_NETWORKS": "127.0.0.0/8",
        "BELFRY_PUSH_DELAY_SECONDS": "0",
    }


@pytest.fixture
def service() -> Iterator[PushService]:
    with push_service() as running:
        yield running


@pytest.fixture
def context(browser_with_windows: Browser, belfry: Belfry, site: HostSite, tmp_path: Path) -> Iterator[BrowserContext]:
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "sw.js").write_text(WORKER.replace("BELFRY", belfry.url))
    site.folder = tmp_path
    context = browser_with_windows.new_context(base_url=site.url, permissions=["notifications"])
    context.set_default_timeout(wait_ms())
    yield context
    context.close()


def opened(context: BrowserContext) -> Page:
    """A page of the site that has its service worker. A page that was there before the worker is not its page."""
    page = context.new_page()
    page.goto("/")
    page.evaluate("""async () => {
        await navigator.serviceWorker.register("/sw.js");
        window.registration = await navigator.serviceWorker.ready;
    }""")
    return page


def delivery(context: BrowserContext, page: Page, origin: str) -> Callable[[Mapping[str, Any]], None]:
    """A function that delivers a push to the service worker."""
    found: list[str] = []
    session = context.new_cdp_session(page)
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: found.extend(each["registrationId"] for each in event["registrations"]),
    )
    session.send("ServiceWorker.enable")
    wait_until(lambda: bool(page.evaluate("1") and found), 60, what="the service worker's registration")

    def deliver(push: Mapping[str, Any]) -> None:
        told = {"origin": origin, "registrationId": found[-1], "data": json.dumps(push)}
        session.send("ServiceWorker.deliverPushMessage", told)

    return deliver


def worker_of(context: BrowserContext) -> Worker:
    def known() -> list[Worker]:
        context.cookies()  # a call lets events in
        return context.service_workers

    (worker,) = wait_until(known, 60, what="the service worker")
    return worker


def test_a_push_is_shown_and_a_click_marks_its_message_as_read(
    context: BrowserContext, belfry: Belfry, site: HostSite, service: PushService, alice: str
) -> None:
    device = Device()
    with belfry.reader(alice) as api:
        subscription = device.subscription(service.endpoint("phone"))
        assert api.request("POST", "/push/subscriptions", json=subscription).status_code == 201
        belfry.publish({"to": alice, "id": "m1", "title": "Shipped", "body": "Tuesday", "key": "order", "push": True})
        wait_until(lambda: bool(service.at("phone")), 60, what="the push")
        push = device.read(service.at("phone")[0])

        page = opened(context)
        deliver = delivery(context, page, site.url)
        deliver({**push, "title": "Older"})
        deliver(push)
        wait_until(lambda: page.evaluate(SHOWN) == [["Shipped", "Tuesday", "order"]], 60, what="one notification")
        assert api.request("GET", "/feed").json()["unread"] == 1
        worker_of(context).evaluate(CLICK)
        wait_until(lambda: api.request("GET", "/feed").json()["unread"] == 0, 60, what="the message to be read")
        wait_until(lambda: page.evaluate(SHOWN) == [], 60, what="the notification to close")


def test_a_user_takes_pushes_in_the_settings_and_ends_them_there(
    browser_with_windows: Browser, belfry: Belfry, service: PushService, alice: str
) -> None:
    device = Device()
    subscription = device.subscription(service.endpoint("laptop"))
    visitor = Visitor(browser_with_windows, belfry.url, alice, permissions=["notifications"])
    visitor.context.add_init_script(SUBSCRIBED.replace("SUBSCRIPTION", json.dumps(subscription)))
    page = visitor.tab().page
    feed = page.locator("#feed")
    feed.get_by_role("button", name="Settings").click()
    box = feed.get_by_label("Notify me on this device")
    expect(box).not_to_be_checked()
    with page.expect_response("**/push/subscriptions") as added:
        box.check()
    assert added.value.status == 201
    expect(box).to_be_enabled()
    with belfry.reader(alice) as api:
        asked = api.request("GET", "/push/key").json()
        assert page.evaluate("window.wanted.applicationServerKey") == asked["key"]
        for name in ("belfry-push", "other"):
            assert page.evaluate(REFUSED, name), "the page's scripts can make no policy of their own"

        belfry.publish({"to": alice, "id": "m2", "title": "Shipped", "push": True})
        wait_until(lambda: bool(service.at("laptop")), 60, what="the push")
        deliver = delivery(visitor.context, page, belfry.url)
        deliver(device.read(service.at("laptop")[0]))
        worker = worker_of(visitor.context)
        shown = "async () => (await registration.getNotifications()).map(({ title }) => title)"
        wait_until(lambda: worker.evaluate(shown) == ["Shipped"], 60, what="the notification")
        worker.evaluate(CLICK)
        wait_until(lambda: api.request("GET", "/feed").json()["unread"] == 0, 60, what="the message to be read")
        wait_until(lambda: worker.evaluate(shown) == [], 60, what="the notification to close")

        page.evaluate("localStorage['belfry.push.renewed'] -= 86_400_000")
        with page.expect_response("**/push/subscriptions") as renewed:
            page.reload()
        assert renewed.value.status == 201
        feed.get_by_role("button", name="Settings").click()
        expect(box).to_be_checked()
        with page.expect_response("**/push/subscriptions") as removed:
            box.uncheck()
        assert removed.value.status == 204
    visitor.close()


def test_a_page_that_is_looked_at_shows_its_messages_itself_and_what_is_no_push_of_belfry_is_ignored(
    context: BrowserContext, site: HostSite
) -> None:
    def push(name: str) -> dict[str, str]:
        return {"id": name, "user": "a", "proof": "p", "tag": name, "title": name}

    other = opened(context)
    deliver = delivery(context, other, site.url)
    seen = context.new_page()
    seen.goto("/")
    seen.wait_for_function("navigator.serviceWorker.controller !== null")
    deliver({"something": "else"})
    deliver(push("seen"))
    worker = worker_of(context)
    wait_until(lambda: worker.evaluate("self.looked") == 1, 60, what="the worker to look for pages")
    seen.close()
    pages = "async () => (await self.clients.matchAll()).length"
    wait_until(lambda: worker.evaluate(pages) == 0, 60, what="the worker to know that the page is closed")
    deliver(push("unseen"))
    wait_until(lambda: other.evaluate(SHOWN) == [["unseen", "", "unseen"]], 60, what="the other push")
