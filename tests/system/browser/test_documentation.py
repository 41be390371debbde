"""The documentation in a browser, at `/docs/` of a running server and under its policy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browsing import wait_ms
from tests.documentation import built_documentation
from tests.servers import Belfry
from tests.system.browser.test_accessibility import violations

LEFT = "net::ERR_ABORTED"  # the reader has followed a link before the page was complete
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
def page(browser: Browser, belfry: Belfry) -> Iterator[Page]:
    """A page on a phone. A complaint of the browser fails the test, for example of a script that the policy forbids."""
    built_documentation()
    context = browser.new_context(base_url=belfry.url, viewport=PHONE)
    context.set_default_timeout(wait_ms())
    complaints: list[str] = []
    context.on("weberror", lambda failure: complaints.append(str(failure.error)))
    context.on("console", lambda line: complaints.append(line.text))
    context.on("requestfailed", lambda request: complaints.append(request.url) if request.failure != LEFT else None)
    yield context.new_page()
    context.close()
    assert not complaints


def test_a_reader_searches_and_follows_a_result_on_a_phone(page: Page) -> None:
    page.goto("/docs/settings/")
    assert not violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("searchbox").fill("several nodes sticky")
    page.get_by_role("searchbox").press("Enter")
    result = page.get_by_role("link", name="Several nodes – Scaling")
    expect(result).to_be_visible()
    assert not violations(page)
    result.click()
    page.wait_for_url("**/docs/scaling/**")
    expect(page.get_by_role("heading", name="Several nodes")).to_be_in_viewport()
    page.get_by_text("Pages", exact=True).click()
    page.get_by_role("link", name="HTTP reference").click()
    expect(page.get_by_role("heading", name="POST /publish")).to_be_visible()
