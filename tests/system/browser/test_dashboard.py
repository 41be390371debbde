"""The dashboard: the last hour stands there at once, and each point of two workers comes over Belfry's own stream."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from playwright.sync_api import ConsoleMessage, Page, Route, expect

from tests.browsing import Visitor, wait_ms
from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.system.browser.test_accessibility import violations
from tests.waiting import wait_until

# How many pixels of the plot's canvas are not those of its axes and grid, which are shades of grey.
DRAWN = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let drawn = 0;
    for (let at = 0; at < data.length; at += 4) {
        const shades = [data[at], data[at + 1], data[at + 2]];
        if (data[at + 3] > 128 && Math.max(...shades) - Math.min(...shades) > 60) drawn += 1;
    }
    return drawn;
}"""


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "100", "BELFRY_FIGURES_SECONDS": "1", "WEB_CONCURRENCY": "2"}


@pytest.fixture
def dashboard(visitor: Visitor, belfry: Belfry) -> Page:
    with belfry.api(belfry.token("root", "admin")) as admin:
        wait_until(lambda: admin.get("/admin/figures").json()["points"], 20)
    return opened(visitor)


def opened(visitor: Visitor) -> Page:
    """The page with its stream: messages that are published from here on are delivered to it."""
    page = visitor.context.new_page()
    # The page has two streams: the bell's and the one with the figures.
    with page.expect_response(lambda answer: "/stream?" in answer.url and "figures" in answer.url, timeout=wait_ms()):
        page.goto("/admin/dashboard/")
    expect(page.locator("#state")).to_contain_text("2 workers", timeout=wait_ms())
    return page


def cell(page: Page, name: str, column: int = 0) -> str:
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=True))
    return row.get_by_role("cell").nth(column).inner_text()


def highest(page: Page, name: str) -> float:
    """The highest of the hour, out of a text such as `3.5/s`."""
    found = re.match(r"[\d.]+", cell(page, name, 2).replace(",", ""))
    return float(found[0]) if found else 0.0


def test_points_come_over_the_stream(dashboard: Page, belfry: Belfry, alice: str) -> None:
    dashboard.route("**/admin/figures", lambda route: route.abort())  # no other way is left
    belfry.publish_all([{"to": alice, "data": number, "event": "quiet"} for number in range(40)])
    wait_until(lambda: highest(dashboard, "Messages") >= 4, 20)  # a slow machine may spread the 40 over ten points
    wait_until(lambda: highest(dashboard, "Deliveries") >= 4, 20)
    wait_until(lambda: highest(dashboard, "Latency, 99 %") > 0, 20)  # it is counted when the last reader was written to


def test_every_connection_is_counted(dashboard: Page, visit: Visit, bob: str) -> None:
    before = highest(dashboard, "Connections")
    tabs = [visit(f"{bob}-{number}").tab() for number in range(3)]
    assert len(tabs) == 3
    wait_until(lambda: float(cell(dashboard, "Connections")) >= 3, 20)
    wait_until(lambda: highest(dashboard, "Connections") >= max(before, 3), 20)


def test_the_plots_are_drawn(dashboard: Page) -> None:
    figure = dashboard.locator("figure").filter(has=dashboard.get_by_role("heading", name="Connections"))
    wait_until(lambda: figure.locator("canvas").evaluate(DRAWN) > 20, 20)
    label = re.compile(r"^Plot: Connections \d+; the table has the numbers")
    expect(figure.get_by_role("img")).to_have_attribute("aria-label", label)


def test_the_hour_stands_there_although_no_point_comes(dashboard: Page, visitor: Visitor) -> None:
    dashboard.close()
    page = visitor.context.new_page()
    page.route("**/stream?*", lambda route: route.abort())
    page.goto("/admin/dashboard/")
    expect(page.locator("#state")).to_contain_text("2 workers", timeout=wait_ms())
    wait_until(lambda: highest(page, "Workers") >= 2, what="the highest number of workers")


def test_without_a_stream_it_asks(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    page.route("**/stream?*", lambda route: route.abort())
    page.goto("/admin/dashboard/")
    for _ in range(3):
        with page.expect_response("**/admin/figures", timeout=wait_ms()) as answer:
            pass
        assert answer.value.ok


def test_a_failure_is_told_and_passes(visitor: Visitor) -> None:
    page = visitor.context.new_page()

    def refuse(route: Route) -> None:
        route.fulfill(status=503, json={})

    page.route("**/admin/figures", refuse)
    page.route("**/stream?*", lambda route: route.abort())
    page.goto("/admin/dashboard/")
    expect(page.get_by_role("alert")).to_contain_text("can't be fetched", timeout=wait_ms())
    page.unroute("**/admin/figures")
    expect(page.get_by_role("alert")).to_be_empty(timeout=wait_ms(30))  # it asks every 5 s until it was told a number


def test_it_keeps_to_the_policy_of_the_pages(visitor: Visitor) -> None:
    told: list[ConsoleMessage] = []
    page = visitor.context.new_page()
    page.on("console", lambda line: told.append(line))  # noqa: PLW0108 - it looks at the signature
    answer = page.goto("/admin/dashboard/")
    assert answer
    assert "trusted-types belfry-push" in answer.headers["content-security-policy"]
    page.locator("canvas").last.wait_for()
    assert not [line.text for line in told if line.type in {"error", "warning"}]


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("light", 320),
        ("dark", 1280),
        pytest.param("light", 1280, marks=pytest.mark.nightly),
        pytest.param("dark", 320, marks=pytest.mark.nightly),
    ],
)
def test_it_is_accessible_and_no_wider_than_the_window(
    dashboard: Page, visit: Visit, alice: str, theme: str, width: int
) -> None:
    dashboard.close()
    page = opened(visit(alice, color_scheme=theme, reduced_motion="reduce", viewport={"width": width, "height": 700}))
    assert not violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
