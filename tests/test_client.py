"""The client: what it sends, how it comes back after a cut, and when it stops."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from app.client import BACKOFF_MOST_SECONDS, RETRY_SECONDS, Client, ClientError, UnavailableError, backoff
from app.core.wire.sse import encode
from tests.scripted_server import Answer, Script, scripted_server
from tests.servers import free_port

REPLACED = Answer(body=encode('{"reason":"replaced"}', event="goodbye"))


class Waits(list[float]):
    """The delays that the client asked for, none of which passes."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client_of(script: Script, waits: Waits | None = None) -> Client:
    numbers = count(1)
    return Client(script.url, lambda: f"token-{next(numbers)}", Waits() if waits is None else waits)


def texts(client: Client, cursor: str = "") -> Iterator[str]:
    return (event.data for event in client.follow(cursor) if event.event == "message")


def test_a_message_is_posted_with_a_token_and_the_answer_returned() -> None:
    with scripted_server(Answer.of({"id": "m1", "deliveries": []}, 201)) as script:
        assert client_of(script).publish({"to": "alice"}) == {"id": "m1", "deliveries": []}
    (asked,) = script.asked
    assert (asked.method, asked.path, asked.token, asked.body) == ("POST", "/publish", "token-1", b'{"to": "alice"}')


def test_a_token_is_preferred_to_the_machine_s_own_passwords(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with scripted_server(Answer.of({})) as script:
        client_of(script).feed(1)
    assert script.asked[0].token == "token-1"


def test_a_cut_stream_goes_on_after_the_last_id_with_a_fresh_token() -> None:
    first = Answer(body=encode("one", id="c1") + encode("two", id="c2") + b"data: half of a mess")
    with scripted_server(first, Answer(body=encode("three", id="c3")), REPLACED) as script:
        assert list(texts(client_of(script))) == ["one", "two", "three"]
    assert [asked.query.get("last_event_id") for asked in script.asked] == [None, "c2", "c3"]
    assert [asked.token for asked in script.asked] == ["token-1", "token-2", "token-3"]


def test_the_topics_are_asked_for_on_every_connection() -> None:
    with scripted_server(Answer(), REPLACED) as script:
        list(client_of(script).follow(topics="news,sport"))
    assert [asked.query["topics"] for asked in script.asked] == ["news,sport"] * 2


def test_it_comes_back_after_the_delay_that_the_server_told() -> None:
    waits = Waits()
    told = Answer(body=encode("{}", event="ready", retry=7_500))
    with scripted_server(Answer(), told, Answer(), REPLACED) as script:
        list(client_of(script, waits).follow())
    assert waits == [RETRY_SECONDS, 7.5, 7.5]


@pytest.mark.parametrize("reason", ["shutdown", "expired"])
def test_it_comes_back_after_a_goodbye_that_means_later(reason: str) -> None:
    goodbye = Answer(body=encode(f'{{"reason":"{reason}"}}', event="goodbye", retry=0) + encode("too late"))
    with scripted_server(goodbye, Answer(body=encode("back")), REPLACED) as script:
        assert list(texts(client_of(script))) == ["back"]


@pytest.mark.parametrize("reason", ["replaced", "revoked"])
def test_it_stays_away_after_a_goodbye_that_means_for_good(reason: str) -> None:
    with scripted_server(Answer(body=encode(f'{{"reason":"{reason}"}}', event="goodbye"))) as script:
        assert [event.event for event in client_of(script).follow()] == ["goodbye"]


def test_a_server_that_is_busy_for_a_while_is_asked_again_no_sooner_than_it_says() -> None:
    waits = Waits()
    busy = Answer(503, headers={"Retry-After": "60"})
    with scripted_server(
        Answer(body=encode("one", id="c1")), busy, busy, Answer(body=encode("two")), REPLACED
    ) as script:
        assert list(texts(client_of(script, waits))) == ["one", "two"]
    assert waits[1:3] == [60, 60]


def test_a_server_that_was_never_there_is_an_error() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", lambda: "token")
    with pytest.raises(UnavailableError, match="is the server running there"):
        next(client.follow())


def test_a_refusal_ends_the_stream_with_what_the_server_said() -> None:
    refusal = Answer.of({"code": "topic_forbidden", "detail": "Not yours."}, 403)
    with scripted_server(Answer(body=encode("one")), refusal) as script:
        stream = texts(client_of(script))
        assert list(islice(stream, 1)) == ["one"]
        with pytest.raises(ClientError, match=r"^refused with 403 topic_forbidden: Not yours\.$"):
            next(stream)


def test_a_refusal_by_something_else_than_belfry_is_told_by_its_status() -> None:
    with scripted_server(Answer(502, b"<html>")) as script, pytest.raises(ClientError, match="502 Bad Gateway"):
        client_of(script).feed(1)


def test_the_waits_between_failures_grow_at_random_up_to_a_limit() -> None:
    assert all(0 <= backoff(0) <= 1 for _ in range(100))
    assert all(backoff(10_000) <= BACKOFF_MOST_SECONDS for _ in range(100))
    assert len({backoff(5) for _ in range(100)}) > 90


STARTED = Answer.of({"id": "r", "stream": "/completions/r/stream", "status": "running"}, 201)


def test_a_completion_goes_on_where_it_was_cut_until_its_end() -> None:
    first = Answer(body=encode("{}", event="ready", id="e.0", retry=70) + encode("one", id="e.1"))
    rest = Answer(body=encode("two", id="e.2") + encode("[DONE]", id="e.3"))
    waits = Waits()
    with scripted_server(STARTED, first, Answer(503), rest) as script:
        events = list(client_of(script, waits).complete("hi", "m"))
    assert [event.data for event in events] == ["{}", "one", "two"]
    assert [asked.query.get("last_event_id") for asked in script.asked] == [None, None, "e.1", "e.1"]
    assert waits[0] == 0.07


def test_a_completion_that_is_refused_is_not_asked_for_again() -> None:
    with scripted_server(Answer.of({"code": "model_unknown", "detail": "None."}, 404)) as script:
        with pytest.raises(ClientError, match="model_unknown"):
            list(client_of(script).complete("hi", "m"))
        assert len(script.asked) == 1


def test_a_completion_of_a_server_that_stays_away_is_given_up() -> None:
    with scripted_server(STARTED, *[Answer(503)] * 20) as script, pytest.raises(UnavailableError):
        list(client_of(script).complete("hi", "m"))
