"""Hostile texts through every field: what comes out is what went in, or it was refused. And no text becomes code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.servers import Belfry

WAIT_MS = 30_000
FORGED = "event: evil\ndata: forged\nid: forged\n\n"
LINE_ENDS = ["\r", "\n", "\r\n", "\x00", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\n\n", "\r\r", "\r\n\r\n"]
CORPUS = [
    *LINE_ENDS,
    *[f"a{end}b" for end in LINE_ENDS],
    *[f"a{end}{FORGED}" for end in ("\n", "\n\n", "\x00\n\n")],
    f"a\r\r{FORGED}".replace("\n", "\r"),
    "a%0A%0Aevent:%20evil%0A",
    "a%0d%0a%0d%0a",
    "\\r\\n\\nevent: evil",
    "&#10;&#13;",
    "\ufeffevent: evil",
    ": comment",
    "data: x",
    " leading and trailing ",
    "\U0001f514 ünïcödé",
]
FIELDS = ["id", "event", "key", "title", "body", "url", "level", "tags", "actions", "data", "topic", "to"]

MARKUP = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg/onload=window.pwned=1>",
    '"><iframe srcdoc="<script>parent.pwned=1</script>">',
    "<a href=javascript:window.pwned=1>x</a>",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "</script><script>window.pwned=1</script>",
    "<template shadowrootmode=open><img src=x onerror=window.pwned=1></template>",
]
ADDRESSES = [
    "javascript:window.pwned=1",
    "JaVaScRiPt:window.pwned=1",
    "java\tscript:window.pwned=1",
    "\x01javascript:window.pwned=1",
    " javascript:window.pwned=1",
    "data:text/html,<script>parent.pwned=1</script>",
    "vbscript:x",
    "//evil.example/",
    "/\\evil.example/",
    "https:evil.example",
    "blob:https://evil.example/x",
]

COLLECT = """([cursor, types]) => {
  window.received = [];
  const source = new EventSource(`/stream?last_event_id=${cursor}`);
  for (const type of types) {
    source.addEventListener(type, (event) => received.push([event.type, event.data, event.lastEventId]));
  }
}"""


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1"}


@pytest.fixture
def window(browser: Browser, belfry: Belfry, alice: str) -> Iterator[BrowserContext]:
    """A browser in which alice has signed in. A script of a text, a dialog, or a break of the policy fails the test."""
    dialogs: list[str] = []
    context = browser.new_context(base_url=belfry.url)
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(
        "window.violations = []; document.addEventListener('securitypolicyviolation',"
        " (event) => violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));"
    )
    context.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page = context.new_page()
    page.goto("/login")
    page.fill("#name", alice)
    page.click("button.primary")
    page.wait_for_url("/")
    yield context
    for page in context.pages:
        assert page.evaluate("[window.pwned ?? null, window.violations]") == [None, []]
    context.close()
    assert not dialogs


def message_with(field: str, text: str, user: str) -> dict[str, Any]:
    """A message for `user` that has `text` in one field."""
    value: Any = {"tags": [text], "actions": [{"label": text}], "data": {text: [text]}}.get(field, text)
    return {field: value} if field in {"topic", "to"} else {"to": user, field: value}


def publish_corpus(belfry: Belfry, user: str) -> list[dict[str, Any]]:
    """Everything that was not refused and went to `user`, in order."""
    accepted = []
    for field in FIELDS:
        for text in CORPUS:
            message = message_with(field, text, user)
            answer = belfry.publisher.publish(message)
            assert answer.status_code in {200, 201, 422}, (field, text, answer.text)
            if answer.status_code == 201 and message.get("to") == user:
                accepted.append(message)
    return accepted


def shown(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name in {"title", "body", "tags", "actions", "data"}}


def test_what_comes_out_is_what_went_in(belfry: Belfry, alice: str) -> None:
    accepted = publish_corpus(belfry, alice)
    assert len(accepted) > len(CORPUS)
    with belfry.stream(alice, cursor=None) as stream:
        before = stream.next_event().id
    page = belfry.reader(alice).feed(limit=100)
    assert [shown(message) for message in page["messages"]] == [shown(message) for message in accepted[::-1][:100]]
    start = f"{before.split('.')[0]}.0-{before.split('-')[1]}"
    with belfry.stream(alice, cursor=start) as stream:
        received = stream.wait_for_messages(len(accepted))
        assert [shown(message) for message in received] == [shown(message) for message in accepted]
        assert {event.event for event in stream.events} - {"heartbeat"} == {"ready", "message"}
        assert all(event.id.startswith(before.split(".")[0]) for event in stream.events if event.event == "message")


def test_a_browser_s_eventsource_agrees(belfry: Belfry, window: BrowserContext, alice: str) -> None:
    (page,) = window.pages
    cursor = belfry.reader(alice).feed()["cursor"]
    accepted = publish_corpus(belfry, alice)
    page.goto("/docs")
    page.evaluate(COLLECT, [cursor, ["message", "evil", "forged", "", "reset"]])
    page.wait_for_function("count => received.length >= count", arg=len(accepted))
    received = page.evaluate("received")
    assert {kind for kind, _, _ in received} == {"message"}
    assert [shown(json.loads(data)) for _, data, _ in received] == [shown(message) for message in accepted]
    assert not [last_id for _, _, last_id in received if "forged" in last_id]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_no_http_and_no_path_is_refused(belfry: Belfry, alice: str, address: str) -> None:
    for message in ({"url": address}, {"actions": [{"label": "x", "url": address}]}):
        answer = belfry.publisher.publish({"to": alice, **message})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_url")


def test_markup_is_shown_as_text_and_runs_nowhere(belfry: Belfry, window: BrowserContext, alice: str) -> None:
    (feed,) = window.pages
    for text in MARKUP:
        belfry.publish(
            {"to": alice, "title": text, "body": f"body {text}", "tags": [text[:64]], "data": {text: text},
             "actions": [{"label": text, "url": "/ok"}], "url": "https://example.com/" }
        )  # fmt: skip
    expect_texts(feed)  # arrived live
    feed.reload()
    expect_texts(feed)  # out of the history


def expect_texts(page: Page) -> None:
    for text in MARKUP:
        page.locator("#feed").get_by_text(text, exact=True).first.wait_for()
    assert page.locator("a[href^='javascript' i], iframe, belfry-feed script, belfry-feed img[src=x]").count() == 0
    assert page.locator("a[target=_blank]:not([rel~=noopener])").count() == 0


def test_markup_in_the_admin_page_s_answers_is_text(window: BrowserContext, alice: str) -> None:
    (page,) = window.pages
    page.goto("/admin/")
    for number, text in enumerate([*MARKUP, *ADDRESSES], 1):
        page.fill("#target", alice)
        page.fill("#title", text)
        page.fill("#url", text)
        page.click("#send")
        page.wait_for_function("count => document.querySelectorAll('#results > li').length >= count", arg=number)


def test_markup_in_the_sign_in_is_text(window: BrowserContext) -> None:
    page = window.new_page()
    for text in MARKUP:
        page.goto("/login")
        page.fill("#name", f"{text} {{")
        page.click("button.primary")
        page.locator("[role=alert]").wait_for()
