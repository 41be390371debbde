"""The documentation's samples for a native EventSource outlive a restart during which a proxy says 503."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page

from tests.browsing import BACK_SECONDS, wait_ms
from tests.servers import HOST, REPOSITORY, Belfry
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until


def sample(page: str, word: str) -> str:
    """The only example of a page of the documentation that has this word in it."""
    blocks = re.findall(r"^```js\n(.*?)^```$", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return str(found)


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_RETRY_MS": "200"}


@contextmanager
def refusing(port: int) -> Iterator[list[str]]:
    """A proxy whose server is away: it answers 503. Yields the paths of streams that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)
            asked.append(self.path)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    class Proxy(ThreadingHTTPServer):
        allow_reuse_address = True

    server = Proxy((HOST, port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def shown(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.shown")
    return found


@pytest.mark.parametrize("name", ["README.md", "docs/http.md", "docs/identity.md"])
@pytest.mark.timeout(180)
def test_a_sample_goes_on_after_a_restart(belfry: Belfry, visit: Visit, alice: str, name: str) -> None:
    page = visit(alice).context.new_page()
    page.goto("/login")
    head = (
        "window.shown = []; const show = (messages) => window.shown.push(...messages.map(({ id }) => id));"
        f"const server = location.origin; const getToken = () => {belfry.token(alice, 'feed')!r};"
    )
    page.evaluate(f"async () => {{ {head} {sample(name, 'setTimeout(listen')} }}")
    wait_until(lambda: belfry.is_online(alice), BACK_SECONDS, what="the sample to be connected")
    belfry.publish({"to": alice, "id": "first"})
    page.wait_for_function("() => window.shown.includes('first')", timeout=wait_ms(BACK_SECONDS))
    belfry.terminate()
    try:
        with refusing(belfry.port) as asked:
            wait_until(lambda: bool(asked), BACK_SECONDS, what="the sample to ask while the server is away")
    finally:
        belfry.start()  # the next sample needs it as well
    belfry.publish({"to": alice, "id": "second"})
    page.wait_for_function("() => window.shown.includes('second')", timeout=wait_ms(BACK_SECONDS))
    belfry.publish({"to": alice, "id": "third"})
    page.wait_for_function("() => window.shown.includes('third')", timeout=wait_ms(BACK_SECONDS))
    assert [each for each in shown(page) if each in {"first", "second", "third"}] == ["first", "second", "third"]
