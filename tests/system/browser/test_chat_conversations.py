"""The page `/chat` as a chat: several turns on every device, changed, asked again and deleted; in every language."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browsing import Visitor
from tests.system.browser.conftest import Visit
from tests.system.browser.test_accessibility import violations
from tests.upstream import Upstream, chunk, running_upstream, saying, sending
from tests.waiting import wait_until

LANGUAGES = ("en-US", "ar", "de-DE", "es-ES", "fr-FR", "ja-JP", "ko-KR", "pt-BR", "zh-CN", "zh-TW")
# "ar" is written from right to left, "de-DE" is found without its region and "zh-TW" with it.
# The others only have other texts.
NIGHTLY_LANGUAGES = set(LANGUAGES) - {"ar", "de-DE", "zh-TW"}
CONVERSATION_BYTES = 60_000
CODE = "Ring it:\n\n```python title=x\nbell.ring()\n```\n\nDone."
# The texts that the page has, beside those of its language. `ENGLISH` tells which of them are functions.
LEFT_OUT = """async (lang) => {
    const { load, ENGLISH } = await import("/static/pages/chat_texts.js");
    const { texts, lang: found, dir } = await load(lang);
    const main = document.querySelector("main");
    const wrong = [];
    for (const each of main.querySelectorAll("[data-text]"))
        if (each.textContent !== texts[each.dataset.text]) wrong.push(each.dataset.text);
    for (const each of main.querySelectorAll("[data-label]"))
        if (each.ariaLabel !== texts[each.dataset.label]) wrong.push(each.dataset.label);
    const missing = Object.keys(ENGLISH).filter((name) => typeof texts[name] !== typeof ENGLISH[name] || !texts[name]);
    return { wrong, missing, found, dir, lang: main.lang, shown: main.dir };
}"""


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    shared_upstream.play = saying("A ", "tower.")
    yield shared_upstream
    shared_upstream.play = shared_upstream.hand_over
    shared_upstream.let_go()


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_DEMO": "1",
        "BELFRY_RETRY_MS": "100",
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
        "BELFRY_CONVERSATION_BYTES": str(CONVERSATION_BYTES),
    }


class Device:
    """The page on one of a person's devices."""

    def __init__(self, visitor: Visitor, address: str = "/chat") -> None:
        self.page: Page = visitor.context.new_page()
        self.page.goto(address)
        self.questions = self.page.locator(".question p")
        self.answers = self.page.locator(".answer .markdown")
        self.last = self.page.locator(".answer").last
        self.outcome = self.page.locator(".answer .outcome").last
        self.notice = self.page.locator("#notice")
        self.prompt = self.page.locator("#prompt")
        self.title = self.page.locator("#conversation-title")
        self.list = self.page.locator("#runs a")

    def ask(self, text: str) -> None:
        self.prompt.fill(text)
        self.prompt.press("Enter")
        expect(self.questions.last).to_have_text(text)
        self.wait_answered()

    def wait_answered(self) -> None:
        expect(self.last).to_have_attribute("aria-busy", "false")

    def button(self, name: str, within: Locator | None = None) -> Locator:
        return (within or self.page).get_by_role("button", name=name)

    def expect_said(self, *pairs: tuple[str, str]) -> None:
        expect(self.questions).to_have_text([asked for asked, _ in pairs])
        expect(self.answers).to_have_text([answered for _, answered in pairs])


@pytest.fixture
def device(visitor: Visitor) -> Device:
    return Device(visitor)


@pytest.fixture
def other(device: Device, visit: Visit, alice: str) -> Device:
    """Another device, with the conversation open that the first one has begun."""
    device.ask("What is a belfry?")
    found = Device(visit(alice), device.page.url)
    found.expect_said(("What is a belfry?", "A tower."))
    found.page.wait_for_function("() => document.querySelector('#bell').client.state === 'live'")
    return found


class TestAnotherDevice:
    def test_shows_what_is_asked_next_and_its_answer_as_it_comes(
        self, device: Device, other: Device, upstream: Upstream
    ) -> None:
        upstream.play = upstream.hand_over
        device.prompt.fill("How high?")
        device.prompt.press("Enter")
        conversation = upstream.next()
        conversation.begin()
        conversation.say("Very ")
        for each in (device, other):
            expect(each.questions).to_have_text(["What is a belfry?", "How high?"])
            expect(each.answers.last).to_have_text("Very")
        conversation.say("high.")
        conversation.finish()
        for each in (device, other):
            each.expect_said(("What is a belfry?", "A tower."), ("How high?", "Very high."))
            each.wait_answered()

    def test_lists_a_new_conversation(self, device: Device, other: Device) -> None:
        device.button("New chat").or_(device.page.get_by_role("link", name="New chat")).click()
        device.page.wait_for_url("**/chat")
        device.ask("Another matter?")
        expect(other.list).to_have_count(2)
        expect(other.list.first).to_contain_text("Another matter?")

    def test_shows_the_new_title(self, device: Device, other: Device) -> None:
        device.button("Rename").click()
        field = device.page.get_by_label("Title")
        expect(field).to_have_value("What is a belfry?")
        expect(field).to_be_focused()
        field.fill("Bells")
        field.press("Enter")
        for each in (device, other):
            expect(each.title).to_have_text("Bells")
            expect(each.list).to_contain_text(["Bells"])
        expect(device.button("Rename")).to_be_focused()

    def test_is_told_that_the_conversation_was_deleted(self, device: Device, other: Device) -> None:
        device.button("Delete").click()
        device.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        expect(device.list).to_have_count(1)
        device.button("Delete").click()
        device.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        device.page.wait_for_url("**/chat")
        expect(device.list).to_have_count(0)
        expect(other.notice).to_contain_text("was deleted on another device")
        expect(other.list).to_have_count(0)

    def test_that_has_not_seen_the_last_question_is_refused_and_shows_it(
        self, device: Device, other: Device, upstream: Upstream
    ) -> None:
        other.page.evaluate("document.querySelector('#bell').client.close()")
        device.ask("How high?")
        other.prompt.fill("How heavy?")
        other.prompt.press("Enter")
        expect(other.notice).to_contain_text("Another device has continued")
        expect(other.questions).to_have_text(["What is a belfry?", "How high?"])
        expect(other.prompt).to_have_value("How heavy?")
        other.prompt.press("Enter")
        expect(other.questions).to_have_text(["What is a belfry?", "How high?", "How heavy?"])
        other.wait_answered()
        assert len(upstream.conversations[-1].body["messages"]) == 5


class TestAQuestion:
    def test_is_edited_and_replaces_what_came_after(self, device: Device, upstream: Upstream) -> None:
        for text in ("One?", "Two?", "Three?"):
            device.ask(text)
        device.button("Edit: Two?").click()
        expect(device.prompt).to_be_focused()
        expect(device.prompt).to_have_value("Two?")
        expect(device.page.locator("#editing")).to_be_visible()
        upstream.play = saying("Two it is.")
        device.prompt.fill("Two and a half?")
        device.prompt.press("Enter")
        wanted = (("One?", "A tower."), ("Two and a half?", "Two it is."))
        device.expect_said(*wanted)
        expect(device.page.locator("#editing")).to_be_hidden()
        device.wait_answered()
        device.page.reload()
        device.expect_said(*wanted)
        assert [each["content"] for each in upstream.conversations[-1].body["messages"]] == [
            "One?", "A tower.", "Two and a half?",
        ]  # fmt: skip

    def test_that_is_sent_before_the_page_is_ready_is_sent_then(self, device: Device, visit: Visit, alice: str) -> None:
        device.ask("One?")
        visitor, address = visit(alice, locale="de-DE"), device.page.url
        page = visitor.context.new_page()
        held: list[Route] = []

        def hold_first(route: Route) -> None:
            if held:
                route.fallback()
            held.append(route)

        page.route("**/conversations/*", hold_first)
        page.goto(address, wait_until="commit")
        wait_until(lambda: page.evaluate("true") and held, 20)  # it asks for the conversation, and does not know it yet
        page.fill("#prompt", "Two?")
        page.click("#send")
        held[0].continue_()
        expect(page.locator(".question p")).to_have_text(["One?", "Two?"])
        expect(page.locator(".answer .markdown")).to_have_text(["A tower.", "A tower."])

    def test_is_not_edited_after_all(self, device: Device) -> None:
        device.ask("One?")
        for leave in (device.prompt, device.button("Cancel")):
            device.button("Edit: One?").click()
            leave.press("Escape" if leave is device.prompt else "Enter")
            expect(device.page.locator("#editing")).to_be_hidden()
            expect(device.prompt).to_have_value("")
        device.ask("Two?")
        expect(device.questions).to_have_text(["One?", "Two?"])

    def test_is_asked_again(self, device: Device, upstream: Upstream) -> None:
        device.ask("One?")
        device.ask("Two?")
        expect(device.button("Ask again")).to_have_count(1)
        upstream.play = saying("Better.")
        device.button("Ask again").click()
        device.expect_said(("One?", "A tower."), ("Two?", "Better."))
        device.page.reload()
        device.expect_said(("One?", "A tower."), ("Two?", "Better."))


class TestAnAnswer:
    def test_folds_its_reasoning_and_keeps_all_that_was_said(self, device: Device, upstream: Upstream) -> None:
        call = {"index": 0, "id": "t", "function": {"name": "find", "arguments": '{"q":"bell"}'}}
        deltas: list[dict[str, Any]] = [
            {"reasoning_content": "Hm, bells."},
            {"content": "Let me look."},
            {"tool_calls": [call]},
        ]
        datas = [*[chunk(delta) for delta in deltas], chunk({}, "tool_calls"), "[DONE]"]
        upstream.play = sending(*[f"data: {data}\n\n".encode() for data in datas])
        device.ask("Bells?")
        for _ in range(2):  # as it came, and as it was kept
            thoughts = device.page.locator(".thoughts")
            expect(thoughts.get_by_text("Hm, bells.")).to_be_hidden()
            thoughts.get_by_text("Reasoning").click()
            expect(thoughts.get_by_text("Hm, bells.")).to_be_visible()
            tool = device.page.locator(".call")
            tool.get_by_text("The model wants to call find.").click()
            expect(tool.locator("pre")).to_have_text('{"q":"bell"}')
            expect(device.answers).to_have_text(["Let me look."])
            device.page.reload()

    @pytest.mark.parametrize(
        ("delta", "reason", "told"),
        [
            ({"refusal": "Not this."}, "stop", "The model refused to answer: Not this."),
            ({"content": "Too lo"}, "length", "The answer reached its limit"),
            ({"content": "Well"}, "content_filter", "A content filter ended the answer"),
        ],
    )
    def test_tells_how_it_ended_also_later(
        self, device: Device, upstream: Upstream, delta: dict[str, Any], reason: str, told: str
    ) -> None:
        upstream.play = sending(*[f"data: {data}\n\n".encode() for data in (chunk(delta), chunk({}, reason), "[DONE]")])
        device.ask("Bells?")
        expect(device.outcome).to_contain_text(told)
        device.page.reload()
        expect(device.outcome).to_contain_text(told)

    def test_has_code_with_its_language_and_a_button_that_copies_it(self, device: Device, upstream: Upstream) -> None:
        upstream.play = saying(CODE)
        device.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        device.ask("How?")
        block = device.page.locator(".code-block")
        expect(block.locator(".code-head span")).to_have_text("python")
        block.get_by_role("button", name="Copy").click()
        expect(block.get_by_role("button")).to_have_text("Copied")
        assert device.page.evaluate("navigator.clipboard.readText()") == "bell.ring()"


class TestImages:
    def test_go_with_a_question_and_are_shown(self, device: Device, upstream: Upstream) -> None:
        device.page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png(8)})
        pictures = device.page.locator("#images").get_by_role("img", name="Image")
        expect(pictures).to_have_count(1)
        device.page.evaluate(PASTE, png(6).hex())
        expect(pictures).to_have_count(2)
        device.button("Remove the image").first.click()
        expect(pictures).to_have_count(1)
        device.ask("What is this?")
        expect(pictures).to_have_count(0)
        text, image = upstream.conversations[-1].body["messages"][0]["content"]
        assert text == {"type": "text", "text": "What is this?"}
        assert image["image_url"]["url"].startswith("data:image/png;base64,")
        for _ in range(2):
            shown = device.page.locator(".question canvas")
            expect(shown).to_have_count(1)
            expect(shown).to_have_js_property("width", 6)
            device.page.reload()
        device.button("Edit: What is this?").click()
        expect(pictures).to_have_count(1)

    def test_that_are_none_are_told(self, device: Device) -> None:
        device.page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"no image"})
        expect(device.notice).to_contain_text("x.png: The browser cannot read this file as an image.")

    def test_beyond_the_room_are_refused_with_the_reason_and_stay(self, device: Device) -> None:
        device.page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png(150)})
        expect(device.page.locator("#images canvas")).to_have_count(1)
        device.prompt.fill("What is this?")
        device.prompt.press("Enter")
        expect(device.notice).to_contain_text(f"Expected at most {CONVERSATION_BYTES} bytes")
        expect(device.prompt).to_have_value("What is this?")
        expect(device.page.locator("#images canvas")).to_have_count(1)


def test_no_language_lacks_a_text(visitor: Visitor) -> None:
    page = Device(visitor).page
    for locale in LANGUAGES:
        assert page.evaluate(LEFT_OUT, locale)["missing"] == [], locale


@pytest.mark.parametrize(
    "locale",
    [pytest.param(each, marks=[pytest.mark.nightly] * (each in NIGHTLY_LANGUAGES)) for each in LANGUAGES],
)
def test_the_page_speaks_the_language_of_its_reader(visit: Visit, alice: str, locale: str) -> None:
    visitor = visit(alice, locale=locale, viewport={"width": 320, "height": 700}, color_scheme="dark")
    device = Device(visitor)
    device.page.wait_for_function("() => document.querySelector('main').lang")  # its texts are loaded
    told = device.page.evaluate(LEFT_OUT, locale)
    assert (told["wrong"], told["missing"]) == ([], [])
    assert (told["lang"], told["shown"]) == (told["found"], told["dir"])
    assert told["dir"] == ("rtl" if locale == "ar" else "ltr")
    assert told["found"] == (locale if locale in ("pt-BR", "zh-CN", "zh-TW") else locale[:2])
    device.ask("What is a belfry?")
    device.page.locator("#earlier summary").click()
    assert not violations(device.page)
    assert device.page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_that_can_be_open_is_complained_of_by_axe(
    visit: Visit, upstream: Upstream, alice: str, theme: str
) -> None:
    call = json.dumps({"q": "bell"})
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "Hm."},
        {"content": CODE},
        {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "find", "arguments": call}}]},
    ]
    datas = [*[chunk(delta) for delta in deltas], chunk({}, "length"), "[DONE]"]
    upstream.play = sending(*[f"data: {data}\n\n".encode() for data in datas])
    device = Device(visit(alice, color_scheme=theme, reduced_motion="reduce"))
    device.page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png(8)})
    device.ask("Bells?")
    folded = device.page.locator(".answer summary")
    expect(folded).to_have_count(2)  # the reasoning, and the call, whose arguments the page fetches at the end
    for details in folded.all():
        details.click()
    device.button("Edit: Bells?").click()
    assert not violations(device.page)
    for name in ("Rename", "Delete"):
        device.button(name).first.click()
        device.page.get_by_role("dialog").wait_for()
        assert not violations(device.page)
        device.page.keyboard.press("Escape")


PASTE = """(hex) => {
    const bytes = Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], "b.png", { type: "image/png" }));
    document.querySelector("#prompt").dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""


def png(side: int) -> bytes:
    """A square of noise, which does not compress."""
    noise = random.Random(side)
    rows = b"".join([b"\0" + noise.randbytes(3 * side) for _ in range(side)])

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
