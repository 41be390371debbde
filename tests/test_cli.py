"""The command line: words in, one request or one line out, and a failure in one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app import cli
from app.cli import messages
from app.core.identity.passwords import PasswordHash
from app.core.identity.tokens import Claims, Keyring
from app.core.settings import Settings
from app.core.wire.sse import encode
from tests.scripted_server import Answer, Script, scripted_server
from tests.servers import free_port

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
RECEIPT = Answer.of({"id": "m1", "deliveries": [{"to": "alice", "offset": 7, "duplicate": False, "online": True}]}, 201)
REPLACED = encode('{"reason":"replaced"}', event="goodbye")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `belfry <words>` in this process; its exit code, output and errors."""
    monkeypatch.setenv("BELFRY_SECRET", SECRET)
    monkeypatch.setenv("BELFRY_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BELFRY_URL", raising=False)

    def belfry(*words: str, url: str = "") -> tuple[int, str, str]:
        if url:
            monkeypatch.setenv("BELFRY_URL", url)
        monkeypatch.setattr(sys, "argv", ["belfry", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return belfry


def claims_of(token: str, secret: str = SECRET) -> Claims:
    return Keyring(Settings(secret=secret)).verify(token.strip(), time.time())


def sent(script: Script) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(script.asked[0].body)
    return body


def test_a_token_carries_what_was_asked_for(run: Run) -> None:
    code, out, _ = run("token", "alice", "--scope", "feed,admin", "--ttl", "60", "--topics", "news,dev*", "--to", "bob")
    claims = claims_of(out)
    assert code == 0
    assert (claims.user, claims.scopes) == ("alice", frozenset({"feed", "admin"}))
    assert (claims.topics, claims.to) == (("news", "dev*"), ("bob",))
    assert 0 < claims.expires_at - time.time() <= 60
    assert claims.token_id


def test_a_token_is_good_for_reading_and_publishing_unless_told_otherwise(run: Run) -> None:
    claims = claims_of(run("token", "alice")[1])
    assert claims.scopes == {"feed", "publish"}
    assert claims.to is None


def test_the_demo_s_secret_signs_where_none_is_set(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BELFRY_SECRET")
    (tmp_path / "secret").write_text(f"{SECRET[::-1]}\n")
    assert claims_of(run("token", "alice")[1], SECRET[::-1]).user == "alice"


@pytest.mark.parametrize("words", [["token", "alice"], ["publish", "alice", "Hello"], ["tail", "alice"]])
def test_without_any_secret_nothing_is_signed(run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.delenv("BELFRY_SECRET")
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert err == "belfry: no secret to sign with: set BELFRY_SECRET, or start the demo server first\n"


@pytest.mark.parametrize(
    "words",
    [
        ["token", "alice", "--scope", "fead"],
        ["token", "alice", "--ttl", "0"],
        ["publish"],
        ["publish", "alice", "Hello", "world"],
        ["publish", "alice", "Hello", "--title", "Hi"],
        ["publish", "--topic", "news", "Hello", "world"],
        ["publish", "alice", "--data", "{"],
        ["tail", "alice", "--since", "x", "--history", "5"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_words_that_make_no_sense_are_a_usage_error(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "Error: " in err


def test_a_bad_name_is_told_in_one_line(run: Run) -> None:
    code, _, err = run("token", "a b")
    assert code == 1
    assert err.startswith("belfry: bad_user_id")
    assert err.count("\n") == 1


def test_two_words_are_a_user_and_a_title(run: Run) -> None:
    with scripted_server(RECEIPT) as script:
        code, out, _ = run("publish", "alice", "Hello", url=script.url)
    assert (code, out) == (0, "alice: online, offset 7, id m1\n")
    assert sent(script) == {"to": "alice", "title": "Hello"}
    assert claims_of(script.asked[0].token).scopes == {"publish"}


def test_a_transient_message_has_no_offset_to_print(run: Run) -> None:
    receipt = {"id": "m1", "deliveries": [{"to": "alice", "offset": None, "duplicate": False, "online": False}]}
    with scripted_server(Answer.of(receipt, 201)) as script:
        assert run("publish", "alice", "Hello", "--transient", url=script.url)[1] == "alice: offline, not kept, id m1\n"


def test_a_repeated_message_is_said_to_be_sent_before(run: Run) -> None:
    receipt = {"id": "m1", "deliveries": [{"to": "alice", "offset": 7, "duplicate": True, "online": True}]}
    with scripted_server(Answer.of(receipt)) as script:
        assert run("publish", "alice", "Hello", url=script.url)[1] == "alice: sent before, offset 7, id m1\n"


def test_every_field_of_a_message_has_an_option(run: Run) -> None:
    fields = {"body": "b", "url": "/u", "level": "info", "event": "e", "id": "i", "key": "k"}
    options = [word for name, value in fields.items() for word in (f"--{name}", value)]
    with scripted_server(RECEIPT) as script:
        run(
            "publish",
            "alice",
            "--title",
            "t",
            *options,
            "--data",
            '{"n":[1]}',
            "--ttl",
            "5",
            "--transient",
            url=script.url,
        )
    assert sent(script) == {"to": "alice", "title": "t", **fields, "data": {"n": [1]}, "ttl": 5, "transient": True}


@pytest.mark.parametrize(
    ("option", "target"), [(["--topic", "news"], {"topic": "news"}), (["--everyone"], {"everyone": True})]
)
def test_a_topic_or_everyone_takes_the_place_of_a_user(run: Run, option: list[str], target: dict[str, Any]) -> None:
    with scripted_server(RECEIPT) as script:
        run("publish", *option, "Hello", url=script.url)
    assert sent(script) == target | {"title": "Hello"}


def test_a_server_that_is_not_there_is_told_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bind = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("BELFRY_BIND", bind)
    for words in (["publish", "alice", "Hello"], ["tail", "alice"]):
        assert run(*words) == (1, "", f"belfry: no answer from http://{bind}: is the server running there?\n")


def test_a_refusal_is_told_in_one_line(run: Run) -> None:
    with scripted_server(Answer.of({"code": "bad_ttl", "detail": "Too long."}, 422)) as script:
        assert run("publish", "alice", "x", url=script.url) == (1, "", "belfry: refused with 422 bad_ttl: Too long.\n")


def test_an_address_without_a_scheme_is_told_in_one_line(run: Run) -> None:
    code, _, err = run("publish", "alice", "x", url="push.example.com")
    expected = (
        "belfry: BELFRY_URL must be the server's http or https address: expected an http:// or https:// address\n"
    )
    assert (code, err) == (1, expected)


def test_messages_are_printed_as_they_come_on_one_line_each(run: Run) -> None:
    message = json.dumps({"id": "m1", "time": "2026-11-21T01:50:00.000Z", "title": "Hello", "body": "two\nlines"})
    ready = encode("{}", event="ready", id="c0")
    with scripted_server(Answer(body=ready + encode(message, id="c1") + REPLACED)) as script:
        code, out, err = run("tail", "alice", "--topics", "news", "--since", "c0", url=script.url)
    assert (code, out) == (0, "2026-11-21T01:50:00.000Z  Hello  two lines\n")
    assert "goodbye" in err
    (asked,) = script.asked
    assert asked.query == {"topics": "news", "last_event_id": "c0"}
    claims = claims_of(asked.token)
    assert (claims.user, claims.scopes, claims.topics) == ("alice", frozenset({"feed"}), ("news",))


def test_a_message_of_a_type_of_its_own_is_printed_too(run: Run) -> None:
    with scripted_server(Answer(body=encode('{"title":"t"}', event="build.done") + REPLACED)) as script:
        assert run("tail", "alice", url=script.url)[1] == "t\n"


def test_a_message_cannot_command_the_terminal(run: Run) -> None:
    with scripted_server(Answer(body=encode(json.dumps({"title": "\x1b[2Jgone\x9b"})) + REPLACED)) as script:
        assert run("tail", "alice", url=script.url)[1] == " [2Jgone \n"


@pytest.mark.parametrize("char", ["\x9b", "\u202e", "\x7f", "\u2028", "\U000e0001", "\ud83d", "\x1b"])
def test_what_a_terminal_would_obey_is_escaped_in_json(run: Run, char: str) -> None:
    message = {"title": f"a{char}b", "body": "é🔔"}
    text = json.dumps(message, ensure_ascii=char in "\ud83d\x1b")
    with scripted_server(Answer(body=encode(text.replace(": ", ":\t")) + REPLACED)) as script:
        out = run("tail", "alice", "--json", url=script.url)[1]
    assert json.loads(out) == message
    assert all(each.isprintable() for each in out.rstrip("\n"))


def test_messages_are_printed_as_they_are_when_json_is_asked_for(run: Run) -> None:
    with scripted_server(Answer(body=encode('{"title":"t","n":1}') + REPLACED)) as script:
        assert run("tail", "alice", "--json", url=script.url)[1] == '{"title":"t","n":1}\n'


def test_history_is_printed_oldest_first_and_the_stream_goes_on_after_it(run: Run) -> None:
    page = Answer.of({"messages": [{"title": "2"}, {"title": "1"}], "cursor": "c2"})
    with scripted_server(page, Answer(body=encode('{"title":"3"}') + REPLACED)) as script:
        assert run("tail", "alice", "--history", "2", "--topics", "a", url=script.url)[1] == "1\n2\n3\n"
    assert script.asked[0].query == {"limit": "2", "topics": "a"}
    assert script.asked[1].query == {"last_event_id": "c2", "topics": "a"}


def test_lost_history_is_told_and_the_stream_goes_on(run: Run) -> None:
    with scripted_server(Answer(body=encode("{}", event="reset") + encode('{"title":"t"}') + REPLACED)) as script:
        code, out, err = run("tail", "alice", url=script.url)
    assert (code, out) == (0, "t\n")
    assert "belfry: some history was lost" in err


def test_serve_ends_with_the_launcher_s_exit_code_and_line() -> None:
    command = [sys.executable, "-m", "app.cli", "serve"]
    environment = os.environ | {"BELFRY_SECRET": "too short"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("belfry: BELFRY_SECRET must be 32 bytes or more")


def test_control_c_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_data: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(messages, "_show_line", interrupted)
    with scripted_server(Answer(body=encode("{}"))) as script:
        assert run("tail", "alice", url=script.url) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (("--user", "alice"), {"user": "alice"}),
        (("--token", "a.b.c"), {"token": "a.b.c"}),
        (("--token-id", "t1"), {"token_id": "t1"}),
    ],
)
def test_credentials_are_withdrawn_as_an_administrator(run: Run, words: tuple[str, str], order: dict[str, str]) -> None:
    with scripted_server(Answer.of({"revoked": "user", "name": "alice", "sessions_ended": 2})) as script:
        code, out, _ = run("revoke", *words, url=script.url)
    assert (code, out) == (0, "revoked user alice, sessions ended: 2\n")
    assert (script.asked[0].path, sent(script)) == ("/admin/revocations", order)
    assert claims_of(script.asked[0].token).scopes == {"admin"}


@pytest.mark.parametrize("words", [(), ("--user", "a", "--token-id", "b")])
def test_a_revocation_names_one_thing(run: Run, words: tuple[str, ...]) -> None:
    code, _, err = run("revoke", *words)
    assert code == 2
    assert "give one of" in err


def test_a_user_s_sessions_are_listed(run: Run) -> None:
    listed = {"sessions": [{"name": "s1", "expires_at": "2026-01-01T00:00:00.000Z"}]}
    with scripted_server(Answer.of(listed)) as script:
        assert run("sessions", "alice", url=script.url)[1] == "s1  until 2026-01-01T00:00:00.000Z\n"
    assert script.asked[0].query == {"user": "alice"}


def test_a_password_is_hashed_without_being_shown() -> None:
    answered = CliRunner().invoke(cli.commands, ["hash-password"], input="pass word\npass word\n")
    assert answered.exit_code == 0
    stored = answered.stdout.strip().splitlines()[-1]
    assert PasswordHash.parse(stored).fits("pass word")
    assert "pass word" not in answered.output


STARTED = Answer.of({"id": "r", "stream": "/completions/r/stream", "status": "running"}, 201)
PART = encode(json.dumps({"choices": [{"index": 0, "delta": {"content": "one\n two\x1b[31m"}}]}), id="e.1")


def test_an_answer_is_printed_as_it_comes_without_what_a_terminal_would_obey(run: Run) -> None:
    with scripted_server(STARTED, Answer(body=PART + encode("[DONE]", id="e.2"))) as script:
        assert run("complete", "hi", "--model", "m", url=script.url) == (0, "one\n two[31m\n", "")
    assert sent(script)["messages"] == [{"role": "user", "content": "hi"}]


def test_an_answer_that_is_not_whole_says_why(run: Run) -> None:
    failed = encode(json.dumps({"code": "producer_lost", "detail": "Gone."}), event="failed", id="e.2")
    with scripted_server(STARTED, Answer(body=PART + failed + encode("[DONE]", id="e.3"))) as script:
        code, out, err = run("complete", "hi", url=script.url)
    assert (code, out) == (1, "one\n two[31m\n")
    assert err == "belfry: the answer is not whole: Gone.\n"


WELCOME = Answer.of({}), Answer.of({}, 201)  # a feed that may be read, a message that may be sent


def test_a_deployment_that_isn_t_there_could_not_be_tried(run: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in ("conformance", "doctor"):
        code, out, err = run(command, url)
        assert (code, out) == (2, "")
        assert err.startswith(f"belfry: no answer from {url}")


def test_a_check_that_fails_is_told_and_makes_the_exit_code(run: Run) -> None:
    with scripted_server(*WELCOME, Answer.of({}, 503)) as script:
        code, out, _ = run("conformance", script.url, "--only", "health.ready")
    assert code == 1
    assert out.startswith("FAILED   health.ready")
    assert "expected 200, got 503" in out
    assert "0 ok, 1 failed, 0 skipped" in out


def test_a_program_gets_the_report_as_json(run: Run) -> None:
    with scripted_server(*WELCOME, Answer.of({})) as script:
        code, out, _ = run("conformance", "--json", "--only", "health.ready", url=script.url)
    assert code == 0
    assert json.loads(out)["counts"] == {"ok": 1, "failed": 0, "skipped": 0}


def test_given_tokens_are_used_as_they_are(run: Run) -> None:
    token = run("token", "alice", "--scope", "feed")[1].strip()
    with scripted_server(Answer.of({}), Answer.of({})) as script:
        code, out, _ = run("conformance", script.url, "--token", token, "--only", "delivery.order,health.ready")
    assert script.asked[0].token == token
    assert (code, out.splitlines()[0][:8].strip()) == (0, "ok")
    assert "needs a token with the scope publish" in out


def test_without_secret_and_token_the_rest_is_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BELFRY_SECRET")
    with scripted_server(Answer.of({}, 401), Answer.of({})) as script:
        code, out, err = run("conformance", script.url, "--only", "health.ready,dedup.")
    assert (code, out.count("skipped  dedup")) == (0, 3)
    assert err == "belfry: neither BELFRY_SECRET nor --token: most checks are skipped\n"


def test_the_demo_s_secret_is_for_this_machine(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BELFRY_SECRET")
    (tmp_path / "secret").write_text(SECRET)
    assert "skipped" not in run("doctor", f"http://127.0.0.1:{free_port()}")[2]
    assert "most checks are skipped" in run("doctor", f"http://127.0.0.2:{free_port()}")[2]


def test_what_is_no_token_is_told_in_one_line(run: Run) -> None:
    assert run("doctor", "http://127.0.0.1:9", "--token", "x") == (2, "", "belfry: not a token: x\u2026\n")


def test_a_plan_is_printed_with_its_formulas_and_as_json(run: Run) -> None:
    words = ("plan", "--users", "1000000", "--online", "0.1", "--per-day", "5", "--kept", "100")
    code, output, _ = run(*words)
    assert code == 0
    for line in ("nodes                 3", "workers               5", "shards                2"):
        assert line in output
    assert "1000000 users × 0.1 online" in output
    assert "./run bench store" in output
    told = json.loads(run(*words, "--json")[1])
    assert told["figures"]["workers"]["value"] == 5
    assert told["figures"]["workers"]["formula"]
    assert told["costs"]["message_bytes"]["source"] == "./run bench store"
    assert told["first_limit"] in output


def test_a_plan_keeps_what_comes_while_it_is_kept_up_to_the_length_of_a_feed(run: Run) -> None:
    words = ("plan", "--users", "1", "--online", "0", "--json", "--per-day")
    assert " 150 kept" in json.loads(run(*words, "5")[1])["figures"]["memory of Redis"]["formula"]
    longest = f" {Settings().history_length} kept"
    assert longest in json.loads(run(*words, "1000")[1])["figures"]["memory of Redis"]["formula"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--users", "0"), ("--users", "many"), ("--users", "1.5"), ("--online", "1.1"), ("--online", "nan"),
        ("--online", "-0.1"), ("--per-day", "inf"), ("--per-day", "-1"), ("--kept", "-1"), ("--body", "70000"),
        ("--peak", "0"), ("--stream-hours", "0"), ("--return-seconds", "0"), ("--node-workers", "0"),
        ("--shard-gb", "0"),
    ],
)  # fmt: skip
def test_a_plan_for_what_cannot_be_is_refused_and_the_option_is_named(run: Run, option: str, value: str) -> None:
    good = {"--users": "10", "--online": "0.5", "--per-day": "1", option: value}
    code, output, errors = run("plan", *[word for pair in good.items() for word in pair])
    assert (code, output) == (2, "")
    assert option in errors


POINT = {
    "workers": 1, "connections": 0, "slow": 0, "messages": 0, "deliveries": 0, "errors": 0, "refusals": 0, "seconds": 2,
    "p50": None, "p99": None,
}  # fmt: skip


def top_through_a_restart(
    run: Run, monkeypatch: pytest.MonkeyPatch, answers: Sequence[Answer], *words: str
) -> tuple[int, str, str]:
    """Run `belfry top` until the script of the server has come to its end, and press Ctrl-C."""
    with scripted_server(*answers) as script:

        def sleep(_seconds: float) -> None:
            if not script.answers:
                raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", sleep)
        return run("top", *words, url=script.url)


def points(*times: int) -> Answer:
    return Answer.of({"points": [{**POINT, "time": time} for time in times]})


def test_top_goes_on_through_a_restart_and_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Answer(502, b"<html>")
    online = Answer.of({"users": {}})
    code, out, _ = top_through_a_restart(run, monkeypatch, [points(2), online, away, away, points(2, 4), online])
    assert (code, out.count("1 worker, 0 connections, 0 slow")) == (0, 4)
    told = re.findall("refused with 502 Bad Gateway; trying again since (.*) UTC", out)
    assert len(told) == 2
    assert told[0] == told[1], "the outage began once"
    assert "refused" not in out.rpartition("1 worker")[0].rpartition("1 worker")[2], "it is over"


def test_top_prints_each_point_once_as_json_through_a_restart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Answer(503, b"{}")
    answers = [points(2), away, away, points(2, 4), points(4, 6)]
    code, out, err = top_through_a_restart(run, monkeypatch, answers, "--json")
    assert (code, [json.loads(line)["time"] for line in out.splitlines()]) == (0, [2, 4, 6])
    assert err == "refused with 503 Service Unavailable; trying again\n"


def test_top_ends_with_an_error_if_the_server_never_answered(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = top_through_a_restart(run, monkeypatch, [Answer(502)])
    assert (code, out, err) == (1, "", "belfry: refused with 502 Bad Gateway\n")
