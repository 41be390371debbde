"""The AI SDK's `useChat` in a React page, with the glue of the documentation: an answer outlives its page."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import absent
from tests.servers import REPOSITORY
from tests.system.browser.conftest import Visit
from tests.upstream import Conversation, Upstream, chunk, running_upstream
from tests.waiting import patient

HERE = Path(__file__).parent
COMPLETIONS = REPOSITORY / "docs/completions.md"
SAMPLE = r"^```js\n(const api = .*?useChat.*?)^```$"
ICON = '<link rel="icon" href="data:,">'
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        upstream.play = upstream.hand_over
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1", "BELFRY_UPSTREAM_URL": upstream.url}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's script: the documentation's sample, bundled as an app's build does it."""
    esbuild = HERE / "node_modules/.bin/esbuild"
    if not esbuild.exists():
        absent("npm and the packages of tests/system/browser")
    (sample,) = re.findall(
        r"^```js\n(const api = .*?useChat.*?)^```$", COMPLETIONS.read_text(), re.MULTILINE | re.DOTALL
    )
    source = tmp_path_factory.mktemp("use_chat") / "page.jsx"
    source.write_text((HERE / "use_chat.jsx").read_text().replace("SAMPLE;", sample))
    options = ("--bundle", "--jsx=automatic", "--format=iife", "--log-level=warning")
    done = subprocess.run(
        [esbuild, source, *options, '--define:process.env.NODE_ENV="production"'],
        env={"NODE_PATH": str(HERE / "node_modules"), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def opened(visit: Visit, user: str, script: str, chat: str) -> Page:
    """The page of a chat on a device of its own."""
    page = visit(user).context.new_page()
    code = script.replace("</script", "<\\/script")
    html = f'<!doctype html><meta charset="utf-8">{ICON}<div id="app"></div><script>{code}</script>'
    page.route("**/use-chat", lambda route: route.fulfill(body=html, content_type="text/html"))
    with page.expect_response("**/completions/*/stream?*"):  # the status is "ready" before it knows of a run to resume
        page.goto(f"/use-chat#{chat}")
    return page


def ask(page: Page, upstream: Upstream) -> Conversation:
    """Ask, and return the upstream's side of the answer, begun."""
    expect(page.get_by_role("status")).to_have_text("ready")
    page.get_by_role("button", name="Ask").click()
    conversation = upstream.next(patient(20))
    conversation.begin()
    return conversation


def test_an_answer_goes_on_after_a_reload(visit: Visit, alice: str, script: str, upstream: Upstream) -> None:
    page = opened(visit, alice, script, "reload")
    conversation = ask(page, upstream)
    conversation.say("Hel")
    expect(page.locator(".assistant .text")).to_have_text("Hel")
    page.reload()
    expect(page.locator(".assistant .text")).to_have_text("Hel")
    conversation.say("lo")
    expect(page.locator(".assistant .text")).to_have_text("Hello")
    conversation.finish()
    expect(page.get_by_role("status")).to_have_text("ready")
    expect(page.locator("p")).to_have_text(["hi", "Hello"])


def test_a_second_device_joins_an_answer(visit: Visit, alice: str, script: str, upstream: Upstream) -> None:
    first = opened(visit, alice, script, "devices")
    conversation = ask(first, upstream)
    conversation.say("One, ")
    expect(first.locator(".assistant .text")).to_have_text("One, ")
    second = opened(visit, alice, script, "devices")
    expect(second.locator(".assistant .text")).to_have_text("One, ")
    conversation.say("two")
    conversation.finish()
    for page in (first, second):
        expect(page.locator(".assistant .text")).to_have_text("One, two")
        expect(page.get_by_role("status")).to_have_text("ready")


def test_an_answer_that_its_page_left_is_whole(visit: Visit, alice: str, script: str, upstream: Upstream) -> None:
    page = opened(visit, alice, script, "left")
    conversation = ask(page, upstream)
    conversation.say("Hel")
    expect(page.locator(".assistant .text")).to_have_text("Hel")
    page.get_by_role("button", name="Leave").click()
    expect(page.get_by_role("status")).to_have_text("ready")
    conversation.say("lo")
    conversation.finish()
    page.reload()
    expect(page.locator("p")).to_have_text(["hi", "Hello"])


def test_reasoning_and_tool_calls_have_parts_of_their_own(
    visit: Visit, alice: str, script: str, upstream: Upstream
) -> None:
    page = opened(visit, alice, script, "parts")
    conversation = ask(page, upstream)
    for delta in ({"reasoning_content": "Hm."}, {"content": "Hello"}, {"tool_calls": [CALL]}):
        conversation.send(f"data: {chunk(delta)}\n\n".encode())
    conversation.send(f"data: {chunk({}, 'tool_calls')}\n\ndata: [DONE]\n\n".encode())
    conversation.end()
    for _ in range(2):
        expect(page.locator(".assistant .reasoning")).to_have_text("Hm.")
        expect(page.locator(".assistant .text")).to_have_text("Hello")
        expect(page.locator(".assistant i")).to_have_text("tool-find input-available")
        page.reload()


def test_a_failed_answer_is_an_error(visit: Visit, alice: str, script: str, upstream: Upstream) -> None:
    page = opened(visit, alice, script, "failed")
    conversation = ask(page, upstream)
    conversation.say("Hel")
    expect(page.locator(".assistant .text")).to_have_text("Hel")
    conversation.cut()
    expect(page.get_by_role("status")).to_contain_text("Error: ")
    expect(page.locator(".assistant .text")).to_have_text("Hel")
