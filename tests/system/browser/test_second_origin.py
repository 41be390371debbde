"""`BelfryRun` on a page of another origin: its own back end gives it tokens, and no cookie is involved."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browsing import BACK_SECONDS, wait_ms
from tests.servers import Belfry
from tests.upstream import Conversation, Upstream, running_upstream
from tests.waiting import wait_until

SCRIPT = """
import { BelfryRun } from "BELFRY/static/belfry.js";
const token = async () => (await fetch("/belfry-token")).text();
window.states = [];
window.begin = async () => {
    const messages = [{ role: "user", content: "Hello" }];
    window.run = await BelfryRun.start({ model: "any", messages }, { token });
    follow(run);
};
window.follow = (run) => {
    window.run = run;
    run.on("state", (state) => states.push(state));
    run.open();
};
window.again = (id) => follow(new BelfryRun(id, { token }));
window.streams = [];
window.EventSource = class extends EventSource {
    constructor(...given) { super(...given); window.streams.push(this); }
};
window.ready = true;
"""


@dataclass
class Shop:
    """Somebody else's web server: a page, and tokens for who is signed in there."""

    url: str = ""
    mint: Callable[[], str] = str
    script: str = ""
    minted: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[str, bytes]:
        if path == "/belfry-token":
            self.minted.append(self.mint())
            return "text/plain", self.minted[-1].encode()
        page = f"<!doctype html><title>Shop</title><script type=module>{self.script}</script>"
        return "text/html", page.encode()


@contextmanager
def running_shop() -> Iterator[Shop]:
    shop = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shop.cookies.append(self.headers.get("Cookie", ""))
            kind, body = shop.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server names it so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shop.url = f"http://localhost:{server.server_port}"  # another host, hence another site, than Belfry's 127.0.0.1
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield shop
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def shops() -> Iterator[tuple[Shop, Shop]]:
    """One that Belfry's settings name, and one that they don't."""
    with running_shop() as named, running_shop() as unnamed:
        yield named, unnamed


@pytest.fixture(scope="module")
def environment(upstream: Upstream, shops: tuple[Shop, Shop]) -> Mapping[str, str]:
    return {
        "BELFRY_CORS_ORIGINS": shops[0].url,
        "BELFRY_UPSTREAM_URL": upstream.url,
        "BELFRY_RETRY_MS": "100",
    }


@pytest.fixture
def open_page(browser: Browser, belfry: Belfry, alice: str) -> Iterator[Callable[[Shop], Page]]:
    """The shop's page, its script loaded."""
    context = browser.new_context()
    context.set_default_timeout(wait_ms())
    errors: list[str] = []
    context.on("weberror", lambda failure: errors.append(str(failure.error)))

    def start(shop: Shop) -> Page:
        shop.mint = lambda: belfry.token(alice, "complete")
        shop.script = SCRIPT.replace("BELFRY", belfry.url)
        page = context.new_page()
        page.goto(shop.url)
        page.wait_for_function("window.ready")
        return page

    yield start
    context.close()
    assert not errors


def begun(page: Page, upstream: Upstream) -> Conversation:
    page.evaluate("begin()")
    conversation = upstream.next()
    conversation.begin()
    conversation.say("One ")
    wait_until(lambda: text(page) == "One ", BACK_SECONDS)
    return conversation


def text(page: Page) -> Any:
    return page.evaluate("run.text")


def test_an_answer_comes_with_tickets_and_goes_on_after_a_cut(
    open_page: Callable[[Shop], Page], shops: tuple[Shop, Shop], upstream: Upstream
) -> None:
    page = open_page(shops[0])
    conversation = begun(page, upstream)
    page.evaluate("streams.at(-1).dispatchEvent(new Event('error'))")
    conversation.say("two ")
    wait_until(lambda: text(page) == "One two ", BACK_SECONDS)
    conversation.say("three")
    conversation.finish()
    wait_until(lambda: page.evaluate("run.status") == "done")
    assert text(page) == "One two three"
    urls = page.evaluate("streams.map(({ url }) => url)")
    assert len(urls) >= 2
    assert all("ticket=" in url for url in urls)
    assert not any(token in url for url in urls for token in shops[0].minted)
    assert page.context.cookies() == []
    assert set(shops[0].cookies) == {""}


def test_a_reload_goes_on_and_a_stop_stops(
    open_page: Callable[[Shop], Page], shops: tuple[Shop, Shop], upstream: Upstream
) -> None:
    page = open_page(shops[0])
    conversation = begun(page, upstream)
    run_id = page.evaluate("run.id")
    page.reload()
    page.wait_for_function("window.ready")
    page.evaluate("id => again(id)", run_id)
    wait_until(lambda: text(page) == "One ", BACK_SECONDS)
    conversation.say("two")
    wait_until(lambda: text(page) == "One two")
    page.evaluate("run.stop()")
    assert conversation.has_left()
    wait_until(lambda: page.evaluate("run.status") == "stopped")
    assert text(page) == "One two"


def test_a_page_of_an_origin_that_is_not_named_reads_nothing_and_starts_nothing(
    open_page: Callable[[Shop], Page], shops: tuple[Shop, Shop], belfry: Belfry
) -> None:
    page = open_page(shops[1])
    outcomes = page.evaluate(
        """async (url) => {
            const token = await (await fetch("/belfry-token")).text();
            const ask = (method, body) => fetch(`${url}/completions`, {
                method, body, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
            }).then(() => "read", (error) => error.name);
            const body = JSON.stringify({ model: "any", messages: [{ role: "user", content: "Hello" }] });
            return [await ask("GET"), await ask("POST", body)];
        }""",
        belfry.url,
    )
    assert outcomes == ["TypeError", "TypeError"]
    assert belfry.api(shops[1].minted[0]).get("/completions").json() == {"completions": []}
