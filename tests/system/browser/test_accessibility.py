"""axe-core finds nothing to complain of, on any page, in both themes, with everything open."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import LASTING, FeedTab
from tests.conftest import absent
from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until

AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
LEVELS = ("info", "success", "warning", "error")


def violations(page: Page) -> list[str]:
    if not AXE.exists():
        absent("axe-core (npm)")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {node['html']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("path", ["/admin/", "/admin/people/", "/admin/dashboard/", "/chat", "/docs"])
def test_an_empty_page(visit: Visit, alice: str, path: str) -> None:
    page = visit(alice, viewport={"width": 320, "height": 700}).context.new_page()
    page.goto(path)
    page.wait_for_load_state("networkidle") if path == "/docs" else FeedTab(page, "#bell").wait_connected()
    assert not violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, visit: Visit, belfry: Belfry, alice: str) -> FeedTab:
    """A feed that shows all that it can."""
    for level in LEVELS:
        belfry.publish({"to": alice, "title": f"A {level}", "body": "And more of it.", "level": level, "url": "/"})
    full = {
        "title": "Much",
        "tags": ["one", "two"],
        "actions": [{"label": "Yes", "id": "y"}, {"label": "No", "id": "n"}],
    }
    belfry.publish({"to": alice, **full})
    belfry.reader(alice).post("/feed/read", json={"ids": [belfry.publish({"to": alice, "title": "read"})["id"]]})
    tab = visit(alice, color_scheme=request.param, reduced_motion="reduce").tab()
    tab.expect_unread(5)
    return tab


def test_the_feed_page(tab: FeedTab) -> None:
    tab.feed.get_by_role("button", name="Settings").click()
    tab.articles.first.hover()
    assert not violations(tab.page)


def test_the_empty_feed(tab: FeedTab) -> None:
    tab.choose("Archived")
    expect(tab.feed).to_contain_text("Nothing archived")
    assert not violations(tab.page)


@pytest.mark.parametrize("broken", ["nothing", "the feed", "the stream"])
def test_the_panel(tab: FeedTab, broken: str) -> None:
    """With messages; with an error and nothing else; with messages and the word that there is no connection."""
    page = tab.page
    paths = {"nothing": "**/nothing", "the feed": "**/feed?*", "the stream": "**/stream?*"}
    page.route(paths[broken], lambda route: route.fulfill(status=503, body="{}"))
    page.goto("/")
    panel = FeedTab(page, "#bell")
    panel.bell.click()
    said = {"nothing": "A warning", "the feed": "could not be loaded", "the stream": "No connection"}
    expect(panel.feed).to_contain_text(said[broken])
    assert not violations(page)


def test_the_empty_panel(visit: Visit, bob: str) -> None:
    for theme in ("light", "dark"):
        panel = FeedTab(visit(bob, color_scheme=theme, reduced_motion="reduce").tab().page, "#bell")
        panel.bell.click()
        for name, said in {
            "All": "Nothing here yet",
            "Unread": "All caught up",
            "Archived": "Nothing archived",
        }.items():
            panel.choose(name)
            expect(panel.feed).to_contain_text(said)
            assert not violations(panel.page)


def test_a_long_feed_with_the_focus_out_of_sight(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish_all([{"to": alice, "title": str(number)} for number in range(100)])
    tab.expect_unread(105)
    tab.walk()
    tab.articles.first.focus()
    tab.page.evaluate("scrollTo(0, 0)")
    expect(tab.articles.first).to_have_attribute("aria-posinset", "1")
    assert not violations(tab.page)


def test_the_panel_over_the_admin_page(tab: FeedTab) -> None:
    tab.page.goto("/admin/")
    bell = FeedTab(tab.page, "#bell")
    bell.wait_connected()
    bell.bell.click()
    assert not violations(tab.page)


def test_the_admin_page_with_results_and_a_toast(tab: FeedTab, alice: str) -> None:
    page = tab.page
    page.add_init_script(LASTING)
    page.goto("/admin/")
    FeedTab(page, "#bell").wait_connected()
    page.get_by_text("More", exact=True).click()
    page.fill("#target", alice)
    page.fill("#title", "Hello")
    page.click("#send")
    page.locator(".toast").hover()
    assert not violations(page)


def test_the_admin_page_with_recent_messages(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"topic": "news", "title": f"News of {alice}", "level": "warning"})
    belfry.publish({"to": [f"{alice}-{number}" for number in range(30)], "title": f"Many of {alice}"})
    root = belfry.api(belfry.token("root", "admin"))
    wait_until(lambda: f"Many of {alice}" in root.get("/messages").text, 20, what="the messages to be recorded")
    page = tab.page
    page.goto("/admin/")
    expect(page.locator("#recent")).to_contain_text(f"Many of {alice}")
    expect(page.locator("#recent")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#recent").get_by_role("button", name="Send again").first).to_be_visible()
    page.fill("#target", alice[:3])
    assert not violations(page)


def test_the_page_about_people_with_a_message_traced(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    sent = belfry.publish({"to": alice, "title": "Invoice"})["id"]
    page = tab.page
    page.goto(f"/admin/people/?user={alice}&message={sent}")
    page.locator("#trace li").first.wait_for()
    page.locator("#online li li").first.wait_for()
    assert not violations(page)


def test_the_question_before_a_message_to_everyone(tab: FeedTab) -> None:
    tab.page.goto("/admin/")
    tab.page.get_by_label("Everyone", exact=True).check()
    tab.page.get_by_label("Title").fill("to everyone")
    tab.page.click("#send")
    tab.page.get_by_role("dialog", name="Send this to").wait_for()
    assert not violations(tab.page)


def test_the_sign_in(tab: FeedTab) -> None:
    tab.page.goto("/login")
    assert not violations(tab.page)
