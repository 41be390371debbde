"""A native EventSource outlives a restart of the server behind the shipped nginx.conf, and a worker that stops."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping

import pytest
from playwright.sync_api import Page

from tests.browsing import BACK_SECONDS, wait_ms
from tests.servers import HOST, Belfry, ShippedNginx
from tests.system.browser.conftest import Visit
from tests.system.conftest import StartBelfry, in_front_of
from tests.upstream import Upstream, running_upstream
from tests.waiting import wait_until

OPEN = """(address) => {
    const source = window.source = new EventSource(address);
    window.told = { ready: 0, errors: 0, closed: 0, messages: [] };
    source.addEventListener("ready", () => { told.ready += 1; });
    source.addEventListener("failed", () => { told.messages.push("failed"); });
    source.onmessage = ({ data }) => { told.messages.push(data); };
    source.onerror = () => {
        told.errors += 1;
        if (source.readyState === EventSource.CLOSED) told.closed += 1;
    };
}"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "500", "BELFRY_UPSTREAM_URL": upstream.url}


@pytest.fixture
def nginx(belfry: Belfry) -> Iterator[ShippedNginx]:
    with in_front_of(f"{HOST}:{belfry.port}") as server:
        yield server


@pytest.fixture
def page(visit: Visit, nginx: ShippedNginx, alice: str) -> Page:
    """A page of the site that does nothing itself."""
    page = visit(alice, nginx.url).context.new_page()
    page.goto("/login")
    return page


def wait(page: Page, condition: str) -> None:
    page.wait_for_function(f"() => {condition}", timeout=wait_ms(BACK_SECONDS))  # the page allows no eval


def go_away_for_a_while(page: Page, belfry: Belfry) -> None:
    try:
        assert belfry.terminate() == 0
        wait(page, "told.errors >= 4")  # several tries met nobody but nginx
    finally:
        belfry.start()  # the next test needs it as well


def test_a_feed_s_stream_comes_back_after_a_restart(belfry: Belfry, page: Page, alice: str) -> None:
    page.evaluate(OPEN, "/stream")
    wait(page, "told.ready >= 1")
    go_away_for_a_while(page, belfry)
    belfry.publish({"to": alice, "title": "after"})
    wait(page, "told.messages.some((data) => JSON.parse(data).title === 'after')")
    assert page.evaluate("[told.closed, source.readyState]") == [0, 1]


def test_a_run_s_stream_comes_back_after_a_restart(belfry: Belfry, page: Page, alice: str, upstream: Upstream) -> None:
    api = belfry.api(belfry.token(alice, "complete"))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "user": alice}
    address = api.post("/completions", json=body).json()["stream"]
    conversation = upstream.next_request(alice)
    conversation.begin()
    conversation.say("Hel")
    page.evaluate(OPEN, address)
    wait(page, "told.messages.length > 0")
    go_away_for_a_while(page, belfry)
    wait(page, "told.messages.includes('failed') && told.messages.includes('[DONE]')")  # its producer is gone


def test_a_worker_that_stops_ends_no_event_source_that_comes_over_a_kept_connection(
    start_belfry: StartBelfry, visit: Visit, alice: str
) -> None:
    belfry = start_belfry(BELFRY_DEMO="1", BELFRY_RETRY_MS="500")
    page = visit(alice, belfry.url).context.new_page()
    page.goto("/login")
    page.evaluate("fetch('/health/live').then(() => {})")  # the browser keeps this connection
    belfry.signal(signal.SIGTERM)
    wait_until(lambda: page.evaluate("fetch('/health/ready').then(({status}) => status, () => 503)") == 503)
    page.evaluate(OPEN, "/stream")
    wait(page, "told.errors >= 1")
    assert page.evaluate("told.closed") == 0
