"""Whoever watches a run needs a good credential all the time, as for `/stream`; the run itself goes on without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import jwt
import pytest

from tests.servers import Belfry
from tests.stream_client import StreamClient
from tests.system.test_key_rotation import KEYS, issuer
from tests.system.test_revocation import ENDS_WITHIN_SECONDS, admin, cookies, goodbye, signed_in, wait_revoked
from tests.upstream import Conversation, Upstream, running_upstream, text_of

HI = [{"role": "user", "content": "hi"}]
TOKENS_SECONDS = (3, 40)  # the second one for a machine that needs longer to open a stream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """Each request waits for its test to answer it."""
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2", "BELFRY_DEMO": "1", "BELFRY_UPSTREAM_URL": upstream.url}


@pytest.fixture
def conversation(belfry: Belfry, upstream: Upstream, alice: str) -> Iterator[Conversation]:
    """A run of alice's under way, whose id is her name."""
    begin(belfry, belfry.token(alice, "complete"), alice)
    conversation = upstream.next_request(alice)
    conversation.begin()
    yield conversation
    conversation.finish()


def begin(belfry: Belfry, token: str, user: str) -> None:
    body = {"id": user, "model": "m", "messages": HI, "user": user}
    assert belfry.api(token).post("/completions", json=body).status_code == 201


def watch(belfry: Belfry, run_id: str, token: str = "", query: str = "", **headers: str) -> StreamClient:
    sent = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
    return StreamClient(belfry.port, f"/completions/{run_id}/stream{query}", sent)


@pytest.mark.usefixtures("conversation")
def test_a_token_that_ends_in_mid_stream_ends_the_stream(belfry: Belfry, alice: str) -> None:
    for seconds in TOKENS_SECONDS:
        with watch(belfry, alice, belfry.token(alice, "complete", seconds=seconds)) as stream:
            if stream.status == 200:
                assert goodbye(stream, seconds + ENDS_WITHIN_SECONDS) == "expired"
                return
    pytest.fail("no stream was opened before its token had expired")


def test_a_withdrawn_token_ends_its_streams_and_neither_others_nor_the_run(
    belfry: Belfry, alice: str, conversation: Conversation
) -> None:
    token, other = belfry.token(alice, "complete"), belfry.token(alice, "complete", seconds=601)
    with watch(belfry, alice, token) as stream, watch(belfry, alice, other) as second:
        stream.wait_for("ready")
        second.wait_for("ready")
        admin(belfry).post("/admin/revocations", json={"token": token})
        assert goodbye(stream) == "revoked"
        wait_revoked(lambda: belfry.api(token).get(f"/completions/{alice}").json())
        conversation.say("still here")
        assert text_of([second.wait_for("message").data]) == "still here"


@pytest.mark.usefixtures("conversation")
def test_a_withdrawn_user_watches_nothing_any_more(belfry: Belfry, alice: str) -> None:
    token = belfry.token(alice, "complete")
    with watch(belfry, alice, token) as stream:
        stream.wait_for("ready")
        admin(belfry).post("/admin/revocations", json={"user": alice})
        assert goodbye(stream) == "revoked"


@pytest.mark.usefixtures("conversation")
def test_a_logout_ends_what_its_session_and_its_tickets_watch(belfry: Belfry, alice: str) -> None:
    browser = signed_in(belfry, alice)
    ticket = browser.post("/tickets").json()["ticket"]
    with (
        watch(belfry, alice, Cookie=cookies(browser)["Cookie"]) as by_cookie,
        watch(belfry, alice, query=f"?ticket={ticket}") as by_ticket,
    ):
        by_cookie.wait_for("ready")
        by_ticket.wait_for("ready")
        browser.delete("/session")
        assert [goodbye(stream) for stream in (by_cookie, by_ticket)] == ["revoked", "revoked"]
    with watch(belfry, alice, query=f"?ticket={ticket}") as replayed:
        assert (replayed.status, replayed.body()["code"]) == (401, "ticket_invalid")


@pytest.mark.usefixtures("conversation")
def test_a_foreign_page_watches_nothing_with_the_cookie(belfry: Belfry, alice: str) -> None:
    cookie = cookies(signed_in(belfry, alice))["Cookie"]
    with watch(belfry, alice, Cookie=cookie, Origin="https://evil.example") as refused:
        assert (refused.status, refused.body()["code"]) == (403, "cross_site")


def test_a_rotated_key_s_streams_end(start_belfry: Callable[..., Belfry], upstream: Upstream, alice: str) -> None:
    published = ["old", "new"]
    with issuer(published) as url:
        belfry = start_belfry(BELFRY_JWKS_URL=url, BELFRY_JWKS_SECONDS="1", BELFRY_UPSTREAM_URL=upstream.url)
        claims = {"sub": alice, "scope": "complete", "exp": time.time() + 600}
        token = jwt.encode(claims, KEYS["old"], "EdDSA", headers={"kid": "old"})
        begin(belfry, token, alice)
        conversation = upstream.next_request(alice)
        with watch(belfry, alice, token) as stream:
            stream.wait_for("ready")
            published.remove("old")
            assert goodbye(stream, 1 + ENDS_WITHIN_SECONDS) == "revoked"
        conversation.over.set()


def test_who_watches_too_often_is_told_to_wait(
    start_belfry: Callable[..., Belfry], upstream: Upstream, alice: str
) -> None:
    belfry = start_belfry(BELFRY_CONNECTS_PER_MINUTE="3", BELFRY_UPSTREAM_URL=upstream.url)
    token = belfry.token(alice, "complete")
    begin(belfry, token, alice)
    for status in (200, 200, 200, 429):
        with watch(belfry, alice, token) as stream:
            assert stream.status == status
    upstream.next_request(alice).over.set()


def test_an_answer_that_is_being_relayed_is_finished_and_no_other_begun(
    belfry: Belfry, upstream: Upstream, alice: str
) -> None:
    token = belfry.token(alice, "complete")
    asked = {"model": "m", "messages": HI, "stream": True, "user": alice}
    with belfry.api(token) as api:
        upstream.play = begin_at_once(upstream.hand_over)
        answer = api.post("/v1/chat/completions", json=asked, stream=True)
        upstream.play = upstream.hand_over
        conversation = upstream.next_request(alice)
        admin(belfry).post("/admin/revocations", json={"token": token})
        wait_revoked(lambda: belfry.api(token).post("/v1/chat/completions", data="{}").json()["error"])
        conversation.say(" to the end")
        conversation.finish()
        assert answer.text.endswith("data: [DONE]\n\n")
        assert " to the end" in answer.text


def begin_at_once(then: Callable[[Conversation], None]) -> Callable[[Conversation], None]:
    """Say something, so that the client has its status, and go on as `then` does."""

    def play(conversation: Conversation) -> None:
        conversation.begin()
        conversation.say("From here")
        then(conversation)

    return play
