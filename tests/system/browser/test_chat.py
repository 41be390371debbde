"""The page `/chat`: an answer shows as it comes, survives what happens to its page, and never becomes code."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import pytest
from playwright.sync_api import ConsoleMessage, Page, Route, expect

from tests.browsing import BACK_SECONDS, LASTING, NO_POLLING, FeedTab, Visitor, wait_ms
from tests.conftest import starting
from tests.servers import HOST, REPOSITORY, START_SECONDS, Belfry, RedisServer, free_port, owner_of
from tests.system.browser.conftest import Visit
from tests.system.browser.test_accessibility import violations
from tests.system.conftest import StartBelfry
from tests.upstream import Conversation, Upstream, chunk, content, running_upstream, saying, sending
from tests.waiting import patient, wait_until

SECONDS = 30.0  # only a test that fails waits so long
LOST = "The worker that produced the answer is gone"
NUMBERS = ("One", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
RECORD_STREAMS = """window.streams = [];
window.EventSource = class extends EventSource {
    constructor(...given) { super(...given); window.streams.push(this); }
};"""
RUN_STREAM = "streams.filter(({ url }) => url.includes('/completions/')).at(-1)"  # the bell has one as well
RICH = """# Bells

Some **bold**, *slanted*, ~~struck~~ and `code &amp; more`, &lt;this&gt;, a [link](https://example.com/a?b=1).

1. one
2. two
   - [x] done

> quoted

| Bell | Weight |
|:-----|-------:|
| Tenor | 1 t<br>at least |

```python
print("<b>")
```

---

![a picture](https://example.com/x.png) and [defined below][d].

[d]: https://example.com/d
"""
ATTACKS = """<script>alert(1)</script>

<img src=x onerror=alert(1)> inline <svg onload=alert(1)></svg>

[one](javascript:alert(1)) [two](JaVaScRiPt:alert(1)) [three](data:text/html,<script>alert(1)</script>)
[four](&#106;avascript:alert(1)) [five](java\tscript:alert(1)) [six](vbscript:x) <javascript:alert(1)>

![seven](javascript:alert(1)) ![eight](x" onerror="alert(1)) [nine](https://a.example "\\" onclick=alert(1)")

<iframe srcdoc="<script>parent.alert(1)</script>"></iframe><style>*{display:none}</style>

<a href="javascript:alert(1)">ten</a> `<script>alert(1)</script>`

```"><img src=x onerror=alert(1)>
<script>alert(1)</script>
```

| <img src=x onerror=alert(1)> |
|---|
| <script>alert(1)</script> |
"""


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    """Waits for the test to take each request, unless the test lets it play something."""
    yield shared_upstream
    shared_upstream.play = shared_upstream.hand_over
    shared_upstream.let_go()


@pytest.fixture(scope="module")
def standin_url() -> Iterator[str]:
    """The model server that comes with the demo."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "app.launch.standin", str(port)], cwd=REPOSITORY) as process:
        try:
            wait_until(lambda: is_open(port), START_SECONDS, what="the stand-in")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def is_open(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture(scope="module")
def environment(shared_upstream: Upstream, standin_url: str) -> Mapping[str, str]:
    upstreams = f'[{{"url": "{standin_url}", "models": ["standin"]}}]'
    return {
        "BELFRY_DEMO": "1",
        "BELFRY_RETRY_MS": "100",
        "BELFRY_UPSTREAMS": upstreams,
        "BELFRY_UPSTREAM_URL": shared_upstream.url,
    }


class Chat:
    """The page, and a person at it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.questions = page.locator(".question p")
        self.answers = page.locator(".answer .markdown")
        self.answer = self.answers.last
        self.outcome = page.locator(".answer .outcome").last
        self.notice = page.locator("#notice")
        self.stop = page.get_by_role("button", name="Stop")

    def ask(self, text: str, model: str = "any") -> None:
        self.page.fill("#model", model)
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")
        self.page.wait_for_url("**/chat/*")
        expect(self.questions.last).to_have_text(text)  # from here on the last answer is the one to this question

    def wait_ended(self, seconds: float = SECONDS) -> None:
        expect(self.page.locator(".answer").last).to_have_attribute("aria-busy", "false", timeout=wait_ms(seconds))

    def reload_from_new_worker(self) -> None:
        """Load the page again, which waits for a worker that begins."""
        self.page.reload(timeout=wait_ms(BACK_SECONDS))

    @property
    def text(self) -> str:
        return self.answer.inner_text()

    def has_gone_on(self, length: int) -> bool:
        """Whether the answer is longer now, or has ended: on a slow machine it may end before the page is there."""
        ended = self.page.locator(".answer").last.get_attribute("aria-busy") == "false"
        return ended or len(self.text) > length


@pytest.fixture
def chat(visitor: Visitor) -> Chat:
    visitor.context.add_init_script(RECORD_STREAMS)
    return opened(visitor)


def opened(visitor: Visitor, address: str = "/chat") -> Chat:
    page = visitor.context.new_page()
    page.goto(address)
    return Chat(page)


def begun(chat: Chat, upstream: Upstream, *texts: str) -> Conversation:
    """A question was asked, and these are the first chunks of the answer."""
    chat.ask("What is a belfry?")
    conversation = upstream.next()
    conversation.begin()
    conversation.say(*texts)
    expect(chat.answer).to_contain_text(texts[-1].strip())
    return conversation


def cut(chat: Chat) -> None:
    """End the page's stream as a network does that doesn't come back: the browser's own retry fails as well."""
    for _ in range(2):
        chat.page.evaluate("for (const stream of streams) stream.dispatchEvent(new Event('error'))")


class TestAnAnswer:
    def test_appears_word_by_word(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "One")
        for count in range(2, len(NUMBERS) + 1):
            conversation.say(f" {NUMBERS[count - 1]}")
            expect(chat.answer).to_have_text(" ".join(NUMBERS[:count]))
        conversation.finish()
        chat.wait_ended()
        assert chat.text == " ".join(NUMBERS)

    def test_of_the_stand_in_has_its_markup(self, chat: Chat) -> None:
        chat.ask("Say something", "standin")
        chat.wait_ended()
        assert "stand-in for a language model" in chat.text
        expect(chat.answer.locator("strong")).to_have_text("streamed word by word")
        expect(chat.questions).to_have_text(["Say something"])

    def test_is_followed_by_the_next_question_with_all_that_was_said(self, chat: Chat, upstream: Upstream) -> None:
        begun(chat, upstream, "A ", "tower.").finish()
        chat.wait_ended()
        chat.ask("How high?")
        second = upstream.next()
        assert second.body["messages"] == [
            {"role": "user", "content": "What is a belfry?"},
            {"role": "assistant", "content": "A tower."},
            {"role": "user", "content": "How high?"},
        ]
        second.begin()
        second.say("Very.")
        second.finish()
        chat.wait_ended()
        expect(chat.answers).to_have_text(["A tower.", "Very."])
        chat.page.reload()
        expect(chat.answers).to_have_text(["A tower.", "Very."])
        expect(chat.questions).to_have_text(["What is a belfry?", "How high?"])

    def test_goes_on_after_a_reload(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "One ", "two ")
        chat.page.reload()
        expect(chat.answer).to_have_text("One two")
        conversation.say("three ", "four")
        conversation.finish()
        chat.wait_ended()
        assert chat.text == "One two three four"
        expect(chat.questions).to_have_text(["What is a belfry?"])

    def test_of_the_stand_in_is_the_same_after_reloads_in_the_middle(self, chat: Chat) -> None:
        chat.ask("Reload me", "standin")
        for _ in range(3):
            wait_until(partial(chat.has_gone_on, len(chat.text)))
            chat.page.reload()
            expect(chat.answer).not_to_be_empty()
        chat.wait_ended()
        reloaded = chat.text
        chat.page.reload()
        chat.wait_ended()
        assert chat.text == reloaded
        assert reloaded.count("stand-in for a language model") == 1
        assert reloaded.endswith("/long.")

    def test_is_the_same_on_another_device(self, chat: Chat, upstream: Upstream, visit: Visit, alice: str) -> None:
        conversation = begun(chat, upstream, "One ", "two ")
        other = opened(visit(alice), chat.page.url)
        expect(other.answer).to_have_text("One two")
        expect(other.questions).to_have_text(["What is a belfry?"])
        conversation.say("three")
        for each in (chat, other):
            expect(each.answer).to_have_text("One two three")
        conversation.finish()
        for each in (chat, other):
            each.wait_ended()

    def test_is_listed_and_opens_from_the_list(self, chat: Chat, upstream: Upstream) -> None:
        begun(chat, upstream, "A tower.").finish()
        chat.wait_ended()
        chat.page.get_by_role("link", name="New chat").click()
        expect(chat.answers).to_have_count(0)
        chat.page.get_by_role("link", name="What is a belfry?").click()
        expect(chat.answers).to_have_text(["A tower."])
        expect(chat.page.get_by_role("link", name="What is a belfry?")).to_have_attribute("aria-current", "page")

    def test_that_nobody_watched_rings_the_bell_and_opens_from_there(
        self, chat: Chat, upstream: Upstream, visitor: Visitor
    ) -> None:
        conversation = begun(chat, upstream, "A ")
        chat.page.close()
        tab = visitor.tab()
        conversation.say("tower.")
        conversation.finish()
        tab.expect_titles("Your answer is ready")
        tab.articles.first.get_by_role("link").first.click()
        tab.page.wait_for_url("**/chat/*")
        expect(Chat(tab.page).answers).to_have_text(["A tower."])

    def test_that_is_in_sight_needs_no_notification(
        self, visitor: Visitor, belfry: Belfry, upstream: Upstream, alice: str
    ) -> None:
        visitor.context.add_init_script(LASTING)
        chat = opened(visitor)
        conversation = begun(chat, upstream, "A ")
        FeedTab(chat.page, "#bell").wait_connected()
        run = chat.page.url.rsplit("/", 1)[1]
        belfry.publish({"to": alice, "id": f"run:{run}", "title": "Your answer is ready", "data": {"run": run}})
        belfry.publish({"to": alice, "title": "Another matter"})
        tab = FeedTab(chat.page, "#bell")
        expect(tab.toasts).to_have_text(["Another matter"])
        expect(tab.bell).to_have_accessible_name("Notifications, 1 unread")
        conversation.finish()

    def test_with_tool_calls_shows_its_text(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "Let me look. ")
        calls = '{"choices":[{"index":0,"delta":{"content":null,"tool_calls":[{"index":0,"id":"t","function":{}}]}}]}'
        conversation.send(f"data: {calls}\n\n".encode())
        conversation.send(f"data: {content('Done.')}\n\n".encode())
        conversation.send(b'data: {"choices":[{"index":1,"delta":{"content":"another choice"}}]}\n\n')
        conversation.finish({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
        chat.wait_ended()
        assert chat.text == "Let me look. Done."


class TestAnEnd:
    def test_by_the_stop_button_keeps_the_text_and_lets_the_upstream_go(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "One ", "two ")
        chat.stop.click()
        chat.wait_ended()
        assert conversation.has_left(patient(SECONDS))
        expect(chat.outcome).to_contain_text("Stopped.")
        expect(chat.answer).to_have_text("One two")
        expect(chat.stop).to_be_hidden()
        chat.page.reload()
        expect(chat.outcome).to_contain_text("Stopped.")
        expect(chat.answer).to_have_text("One two")

    def test_of_the_upstream_is_told_and_the_question_can_be_asked_again(self, chat: Chat, upstream: Upstream) -> None:
        begun(chat, upstream, "One ").cut()
        chat.wait_ended()
        expect(chat.outcome).to_have_class(re.compile("problem"))
        expect(chat.answer).to_have_text("One")
        upstream.play = saying("One ", "two")
        chat.page.get_by_role("button", name="Ask again").click()
        expect(chat.answers).to_have_text(["One two"])

    def test_of_the_worker_is_told_with_the_text_kept(
        self, servers: Callable[[int], Belfry], upstream: Upstream, visit: Visit, alice: str
    ) -> None:
        belfry = servers(1)
        chat = opened(visit(alice, belfry.url))
        begun(chat, upstream, "One ", "two ")
        os.kill(belfry.worker(), signal.SIGKILL)
        chat.wait_ended(BACK_SECONDS)
        expect(chat.outcome).to_contain_text(LOST)
        expect(chat.answer).to_have_text("One two")
        chat.page.reload()
        expect(chat.outcome).to_contain_text(LOST)
        expect(chat.answer).to_have_text("One two")

    def test_that_came_while_the_stream_was_refused_is_found(self, chat: Chat, upstream: Upstream) -> None:
        """204 and every other refusal look the same to an EventSource: the answer is taken whole, once."""
        conversation = begun(chat, upstream, "One ")
        chat.page.route("**/stream?last_event_id=*", lambda route: route.fulfill(status=204))
        cut(chat)
        conversation.say("two")
        conversation.finish()
        chat.wait_ended(BACK_SECONDS)
        assert chat.text == "One two"

    def test_of_a_run_that_never_was_is_said(self, visitor: Visitor) -> None:
        chat = opened(visitor, "/chat/nothing")
        chat.wait_ended()
        expect(chat.outcome).to_have_class(re.compile("problem"))
        expect(chat.outcome).not_to_be_empty()

    def test_of_a_run_that_has_expired_is_said(self, visitor: Visitor) -> None:
        page = visitor.context.new_page()
        gone = {"status": 410, "code": "run_gone", "detail": "It has expired."}
        page.route("**/completions/old**", lambda route: route.fulfill(status=410, json=gone))
        page.goto("/chat/old")
        expect(Chat(page).outcome).to_contain_text("It has expired.")


@pytest.fixture(scope="module")
def servers(redis_server: RedisServer, environment: Mapping[str, str]) -> Iterator[Callable[[int], Belfry]]:
    """A server with so many workers, none of which an earlier test has killed a moment ago."""
    with starting(redis_server.url, **environment) as start:
        first = cache(lambda workers: start(WEB_CONCURRENCY=str(workers)))

        def whole(workers: int) -> Belfry:
            server = first(workers)
            wait_until(server.all_serve, START_SECONDS, what="all workers to serve")
            return server

        yield whole


class TestAWorkerThatIsKilled:
    """The page is loaded again meanwhile, and shows what there is: the text so far and what became of the rest."""

    @pytest.fixture
    def belfry(self, servers: Callable[[int], Belfry], workers: int) -> Belfry:
        return servers(workers)

    @pytest.mark.parametrize(
        ("workers", "texts"),
        [
            pytest.param(1, ["One ", "two "], id="in mid-answer-1"),
            pytest.param(2, ["One ", "two "], id="in mid-answer-2"),
            pytest.param(1, [], id="before the first token-1"),
            pytest.param(2, [], id="before the first token-2", marks=pytest.mark.nightly),
        ],
    )
    def test_while_it_answers_leaves_the_text_so_far(
        self, belfry: Belfry, upstream: Upstream, visit: Visit, alice: str, texts: list[str]
    ) -> None:
        chat = opened(visit(alice, belfry.url))
        chat.ask("What is a belfry?")
        conversation = upstream.next()
        if texts:
            conversation.begin()
            conversation.say(*texts)
            expect(chat.answer).to_have_text("One two")
        os.kill(owner_of(conversation.client_port, belfry.workers()), signal.SIGKILL)
        for _ in range(2):
            chat.reload_from_new_worker()
            chat.wait_ended(BACK_SECONDS)
            expect(chat.questions).to_have_text(["What is a belfry?"])
            expect(chat.outcome).to_contain_text(LOST)
            assert chat.text == "".join(texts).strip()

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
    def test_after_the_end_costs_nothing(self, belfry: Belfry, upstream: Upstream, visit: Visit, alice: str) -> None:
        chat = opened(visit(alice, belfry.url))
        conversation = begun(chat, upstream, "One ", "two ")
        port = conversation.client_port
        producing = owner_of(port, belfry.workers())
        conversation.say("three")
        conversation.finish()
        chat.wait_ended()
        os.kill(producing, signal.SIGKILL)
        chat.reload_from_new_worker()
        chat.wait_ended(BACK_SECONDS)
        assert chat.text == "One two three"
        expect(chat.outcome).to_be_empty()

    @pytest.mark.parametrize("workers", [2])
    def test_that_only_watches_costs_nothing(
        self, belfry: Belfry, upstream: Upstream, visit: Visit, alice: str, workers: int
    ) -> None:
        chat = opened(visit(alice, belfry.url))
        conversation = begun(chat, upstream, "One ")
        producing = owner_of(conversation.client_port, belfry.workers())
        others = set(belfry.workers()) - {producing}
        assert len(others) == workers - 1
        for pid in others:
            os.kill(pid, signal.SIGKILL)
        chat.reload_from_new_worker()
        conversation.say("two")
        expect(chat.answer).to_have_text("One two", timeout=wait_ms(BACK_SECONDS))
        conversation.finish()
        chat.wait_ended(BACK_SECONDS)
        expect(chat.outcome).to_be_empty()


class TestAConnection:
    def test_that_breaks_goes_on_where_it_was(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "One ")
        chat.page.context.set_offline(True)
        cut(chat)
        expect(chat.notice).to_contain_text("No connection")
        conversation.say("two ")
        chat.page.context.set_offline(False)
        conversation.say("three")
        expect(chat.answer).to_have_text("One two three")
        expect(chat.notice).to_be_empty()
        assert "last_event_id=" in chat.page.evaluate(RUN_STREAM + ".url"), "it starts over"
        conversation.finish()
        chat.wait_ended()

    def test_to_a_server_that_restarts_is_found_again(
        self, start_belfry: StartBelfry, environment: Mapping[str, str], upstream: Upstream, visit: Visit, alice: str
    ) -> None:
        belfry = start_belfry(**environment)
        chat = opened(visit(alice, belfry.url))
        begun(chat, upstream, "One ")
        belfry.kill()
        expect(chat.notice).to_contain_text("No connection")
        belfry.start()
        chat.wait_ended(BACK_SECONDS)
        expect(chat.answer).to_have_text("One")
        expect(chat.outcome).to_contain_text(LOST)

    def test_that_a_proxy_holds_back_is_replaced_by_looking(self, chat: Chat, upstream: Upstream) -> None:
        chat.page.route(re.compile("/completions/.*/stream"), lambda _: None)  # never answered
        chat.ask("What is a belfry?")
        conversation = upstream.next()
        conversation.begin()
        conversation.say("One ")
        expect(chat.answer).to_have_text("One", timeout=wait_ms(BACK_SECONDS))
        expect(chat.notice).to_contain_text("proxy")
        conversation.say("two")
        conversation.finish()
        chat.wait_ended()
        assert chat.text == "One two"

    def test_of_somebody_who_signed_out_asks_to_sign_in_and_leads_back(
        self, chat: Chat, upstream: Upstream, alice: str
    ) -> None:
        conversation = begun(chat, upstream, "One ")
        address = chat.page.url
        chat.page.context.clear_cookies()
        cut(chat)
        expect(chat.notice).to_contain_text("You are signed out")
        chat.notice.get_by_role("link").click()
        chat.page.fill("#name", alice)
        chat.page.get_by_role("button", name="Sign in").click()
        chat.page.wait_for_url(address)
        conversation.finish()
        expect(chat.answers).to_have_text(["One"])

    def test_that_a_goodbye_ended_for_good_waits_for_the_user(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "One ")
        chat.page.evaluate(
            RUN_STREAM + """.dispatchEvent(new MessageEvent("goodbye", { data: '{"reason":"replaced"}' }))"""
        )
        expect(chat.notice).to_contain_text("Open in too many places")
        conversation.say("two")
        chat.notice.get_by_role("button").click()
        expect(chat.answer).to_have_text("One two")
        conversation.finish()
        chat.wait_ended()

    def test_comes_back_with_a_page_out_of_the_back_forward_cache(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "One ")
        FeedTab(chat.page, "#bell").wait_connected()
        assert chat.page.evaluate(
            """() => {
                dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
                return streams.every(({ readyState }) => readyState === EventSource.CLOSED);
            }"""
        )
        conversation.say("two")
        chat.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        expect(chat.answer).to_have_text("One two")
        conversation.finish()
        chat.wait_ended()

    def test_that_has_fallen_silent_is_replaced(self, visitor: Visitor, upstream: Upstream) -> None:
        visitor.context.add_init_script(RECORD_STREAMS)
        page = visitor.context.new_page()
        page.clock.install()
        page.goto("/chat")
        chat = Chat(page)
        conversation = begun(chat, upstream, "One ")
        before = page.evaluate("streams.length")
        page.clock.fast_forward(45_000)
        wait_until(lambda: page.evaluate("streams.length") > before)
        conversation.say("two")
        expect(chat.answer).to_have_text("One two")
        conversation.finish()
        chat.wait_ended()


class TestARunByToken:
    """`BelfryRun` on somebody's own page: no cookie, a ticket for each stream."""

    def test_is_started_followed_and_listed(
        self, visitor: Visitor, belfry: Belfry, upstream: Upstream, bob: str
    ) -> None:
        upstream.play = saying("One ", "two")
        page = visitor.context.new_page()
        page.add_init_script(NO_POLLING)  # which would be one more state
        page.goto("/login")
        page.context.clear_cookies()
        text, status, listed, states = page.evaluate(
            """async (token) => {
                const { BelfryRun } = await import("/static/belfry.js");
                const options = { token: () => token };
                const messages = [{ role: "user", content: "Hello" }];
                const run = await BelfryRun.start({ model: "any", messages }, options);
                const states = [];
                run.on("state", (state) => states.push(state));
                await new Promise((resolve) => { run.on("end", resolve); run.open(); });
                const [listed] = await BelfryRun.list(1, options);
                return [run.text, run.status, listed.id === run.id, states];
            }""",
            belfry.token(bob, "complete"),
        )
        assert (text, status, listed) == ("One two", "done", True)
        assert states == ["connecting", "live", "idle"]

    def test_goes_on_where_it_was_after_a_cut(
        self, visitor: Visitor, belfry: Belfry, upstream: Upstream, bob: str
    ) -> None:
        visitor.context.add_init_script(RECORD_STREAMS)
        page = visitor.context.new_page()
        page.goto("/login")
        page.context.clear_cookies()
        page.evaluate(
            """async (token) => {
                const { BelfryRun } = await import("/static/belfry.js");
                const messages = [{ role: "user", content: "Hello" }];
                window.run = await BelfryRun.start({ model: "any", messages }, { token: () => token });
                window.run.open();
            }""",
            belfry.token(bob, "complete"),
        )
        conversation = upstream.next()
        conversation.begin()
        conversation.say("One ")
        wait_until(lambda: page.evaluate("run.text") == "One ")
        page.evaluate("streams.at(-1).dispatchEvent(new Event('error'))")
        conversation.say("two")
        wait_until(lambda: page.evaluate("run.text") == "One two", BACK_SECONDS)
        conversation.finish()
        wait_until(lambda: page.evaluate("run.status") == "done")


class TestAQuestion:
    def test_that_is_refused_stays_to_be_sent_again(self, chat: Chat, upstream: Upstream) -> None:
        chat.page.route("**/conversations", lambda route: refuse(route, 429, "Too many runs."))
        chat.page.fill("#model", "any")  # whose answer goes on until the test ends it
        chat.page.fill("#prompt", "Hello?")
        chat.page.get_by_role("button", name="Send").click()
        expect(chat.notice).to_have_text("Too many runs.")
        expect(chat.page.locator("#prompt")).to_have_value("Hello?")
        chat.page.unroute("**/conversations")
        chat.page.get_by_role("button", name="Send").click()
        chat.page.wait_for_url("**/chat/*")
        expect(chat.page.locator("#prompt")).to_be_empty()
        expect(chat.stop).to_be_focused()
        conversation = upstream.next()  # or the next test would get this request
        conversation.begin()
        conversation.finish()

    def test_whose_answer_was_lost_on_the_way_starts_one_run(self, chat: Chat, upstream: Upstream) -> None:
        upstream.play = saying("Once.")
        lost: list[str] = []

        def lose(route: Route) -> None:
            if route.request.method != "POST" or lost:
                route.fallback()
                return
            lost.append(route.fetch().text())
            route.abort()

        chat.page.route("**/conversations", lose)
        before = len(upstream.conversations)
        chat.ask("Hello?")
        expect(chat.answer).to_have_text("Once.")
        assert lost
        assert len(upstream.conversations) == before + 1


class TestTheModels:
    def test_that_there_are_are_offered_and_the_first_is_chosen(self, chat: Chat) -> None:
        expect(chat.page.locator("#models option")).to_have_count(2)
        names = chat.page.locator("#models option").evaluate_all("options => options.map(({ value }) => value)")
        assert names == ["standin", "m"]
        expect(chat.page.locator("#model")).to_have_value("standin")

    def test_a_name_that_is_typed_before_the_page_has_loaded_stays(self, visitor: Visitor) -> None:
        page = visitor.context.new_page()
        page.add_init_script("localStorage['belfry-model'] = 'remembered'")
        held: list[Route] = []
        page.route("**/chat.js*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks what it is given
        page.goto("/chat", wait_until="commit")
        page.fill("#model", "typed")
        wait_until(lambda: page.evaluate("true") and held)
        held[0].continue_()
        page.wait_for_selector("#models option", state="attached")
        assert page.input_value("#model") == "typed"

    def test_another_name_may_be_typed_and_is_remembered(self, chat: Chat, upstream: Upstream) -> None:
        upstream.play = saying("Well.")
        chat.ask("Hello?", "another")
        chat.wait_ended()
        assert upstream.conversations[-1].body["model"] == "another"
        chat.page.goto("/chat")
        expect(chat.page.locator("#models option")).to_have_count(2)
        expect(chat.page.locator("#model")).to_have_value("another")


class TestMarkdown:
    def test_becomes_elements(self, chat: Chat, upstream: Upstream) -> None:
        upstream.play = saying(*re.findall(r"\s*\S+", RICH), "\n")
        chat.ask("Bells?")
        chat.wait_ended()
        answer = chat.answer
        expect(answer.locator("h3")).to_have_text("Bells")
        expect(answer.locator("strong, em, del")).to_have_text(["bold", "slanted", "struck"])
        expect(answer.locator("p code")).to_have_text("code &amp; more")
        expect(answer.locator("p").first).to_contain_text("<this>")
        expect(answer.locator("ol > li")).to_have_count(2)
        expect(answer.locator("ul > li")).to_have_text("☑ done")
        expect(answer.locator("blockquote")).to_have_text("quoted")
        expect(answer.locator("td")).to_have_text(["Tenor", "1 tat least"])
        expect(answer.locator("td").last).to_have_css("text-align", "right")
        expect(answer.locator("pre")).to_have_text('print("<b>")')
        links = answer.locator("a").evaluate_all("links => links.map(({ href }) => href)")
        assert links == ["https://example.com/a?b=1", "https://example.com/x.png", "https://example.com/d"]
        assert answer.locator("img").count() == 0, "a picture tells its server who reads"

    def test_keeps_the_elements_of_what_stays_the_same(self, chat: Chat, upstream: Upstream) -> None:
        conversation = begun(chat, upstream, "First.\n\n", "Sec")
        chat.answer.locator("p").first.evaluate("first => { first.dataset.kept = 'yes' }")
        conversation.say("ond.\n\nThird.")
        expect(chat.answer.locator("p")).to_have_text(["First.", "Second.", "Third."])
        expect(chat.answer.locator("p").first).to_have_attribute("data-kept", "yes")
        conversation.finish()

    @pytest.mark.parametrize("piece", [1, pytest.param(7, marks=pytest.mark.nightly), 10_000])
    def test_never_becomes_code(self, chat: Chat, upstream: Upstream, piece: int) -> None:
        told: list[ConsoleMessage] = []
        chat.page.on("console", lambda line: told.append(line))  # noqa: PLW0108 - it looks at the signature
        chat.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        upstream.play = saying(*[ATTACKS[at : at + piece] for at in range(0, len(ATTACKS), piece)])
        chat.ask("<img src=x onerror=alert(1)>")
        chat.wait_ended()
        assert chat.answer.locator("img, script, iframe, style, svg, [onload], [onerror], [onclick]").count() == 0
        schemes = set(chat.answer.locator("a").evaluate_all("links => links.map(({ protocol }) => protocol)"))
        assert schemes <= {"https:", "http:"}
        expect(chat.answer).to_contain_text("<script>alert(1)</script>")
        expect(chat.questions).to_have_text(["<img src=x onerror=alert(1)>"])
        assert not [line.text for line in told]

    def test_nested_beyond_reason_is_shown_as_text(self, chat: Chat, upstream: Upstream) -> None:
        upstream.play = saying(">" * 20_000 + " deep")
        chat.ask("Deep?")
        chat.wait_ended()
        expect(chat.answer).to_contain_text("deep")


class TestThePage:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_has_nothing_that_axe_complains_of(self, visit: Visit, upstream: Upstream, alice: str, theme: str) -> None:
        visitor = visit(alice, color_scheme=theme, reduced_motion="reduce")
        chat = opened(visitor)
        assert not violations(chat.page)
        upstream.play = saying(RICH)
        chat.ask("Bells?")
        chat.wait_ended()
        FeedTab(chat.page, "#bell").wait_connected()
        assert not violations(chat.page)
        chat.ask("And?")
        chat.wait_ended()
        upstream.play = upstream.hand_over
        conversation = begun(chat, upstream, "One ")
        assert not violations(chat.page)
        conversation.cut()
        chat.wait_ended()
        assert not violations(chat.page)

    @pytest.mark.parametrize("width", [320, 1280])
    def test_is_no_wider_than_the_window(self, visit: Visit, upstream: Upstream, alice: str, width: int) -> None:
        wide = f"{'w' * 300}\n\n```\n{'w' * 300}\n```\n\n| {'w' * 99} | {'x ' * 99} |\n|---|---|\n| 1 | 2 |\n"
        upstream.play = saying(wide)
        chat = opened(visit(alice, viewport={"width": width, "height": 700}))
        chat.ask("w" * 300)
        chat.wait_ended()
        assert chat.page.evaluate("document.documentElement.scrollWidth") <= width


def refuse(route: Route, status: int, detail: str) -> None:
    if route.request.method == "POST":
        route.fulfill(status=status, json={"code": "too_many_runs", "detail": detail})
    else:
        route.fallback()


@pytest.mark.parametrize(
    ("delta", "reason", "texts"),
    [
        ({"content": [{"type": "text", "text": "In parts"}]}, "stop", ["In parts"]),
        ({"content": "Too lo"}, "length", ["Too lo", "The answer reached its limit"]),
        ({"content": ""}, "content_filter", ["A content filter ended the answer"]),
        ({"refusal": "I will not."}, "stop", ["I will not."]),
        ({"tool_calls": [{"index": 0, "function": {"name": "find", "arguments": "{}"}}]}, "tool_calls", ["find"]),
        ({"reasoning_content": "Hm", "content": "Yes"}, "stop", ["Reasoning", "Yes"]),
    ],
)
def test_whatever_a_model_says_is_shown(
    chat: Chat, upstream: Upstream, delta: dict[str, object], reason: str, texts: list[str]
) -> None:
    datas = (chunk(delta), chunk({}, reason), "[DONE]")
    upstream.play = sending(*[f"data: {data}\n\n".encode() for data in datas])
    chat.ask("What is a belfry?")
    chat.wait_ended()
    for text in texts:
        expect(chat.page.locator(".answer").last).to_contain_text(text)
