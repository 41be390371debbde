"""The pages below a path of a proxy: what they load and call, their links, redirects and cookies, and `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.browsing import FeedTab, wait_ms
from tests.conftest import absent
from tests.servers import Belfry, Nginx, RedisServer, SubPathNginx

PAGES = ("/", "/chat", "/admin/", "/admin/people/", "/admin/dashboard/", "/docs")
WAYS: Mapping[str, tuple[bool, str, str]] = {
    "header": (False, "/push", ""),
    "setting": (False, "", "/push"),
    "setting, path passed on": (True, "", "/push/"),
}


@pytest.fixture(scope="module", params=WAYS)
def proxy(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[SubPathNginx]:
    if Nginx.binary() is None:
        absent("nginx")
    passes_on, header, prefix = WAYS[request.param]
    belfry = Belfry(redis_server.url, {"BELFRY_DEMO": "1", "BELFRY_PATH_PREFIX": prefix})
    nginx = SubPathNginx(belfry.port, passes_on=passes_on, header=header)
    try:
        belfry.start()
        yield nginx.start()
    finally:
        nginx.destroy()
        belfry.destroy()


def test_every_page_stays_below_the_path(browser: Browser, proxy: SubPathNginx, alice: str) -> None:
    context = browser.new_context(base_url=proxy.url)
    context.set_default_timeout(wait_ms())
    page = context.new_page()
    outside: list[str] = []
    failed: list[str] = []

    def note(path: str) -> None:
        if not path.startswith("/push/"):
            outside.append(path)

    page.on("request", lambda request: note(urlsplit(request.url).path))
    page.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.goto("/push/admin")  # a redirect to the page, and one to the sign-in
    page.get_by_label("Name").fill(alice)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Send a message")).to_be_visible()
    page.get_by_label("User id").fill(alice)
    page.get_by_label("Title").fill("below")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#results h3")).to_have_text("below")
    for path in PAGES:
        page.goto(f"/push{path}")
        links = page.locator("a, form").evaluate_all(
            "all => all.map((each) => new URL(each.href ?? each.action).pathname)"
        )
        for link in links:
            note(link)
    page.goto("/push/")
    tab = FeedTab(page)
    tab.expect_titles("below")
    tab.wait_connected()
    assert not failed  # before the sign-out: until the page is gone, its connection may be refused
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{proxy.url}/push/login?next=/push/")
    assert not outside
    assert not [cookie for cookie in context.cookies() if "session" in cookie.get("name", "")]
    context.close()
