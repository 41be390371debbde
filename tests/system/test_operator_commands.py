"""The operators' commands against a real server: users, disconnect, explain, top, export, import."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app import cli
from app.client import Client, ClientError
from tests.servers import Belfry, free_port
from tests.waiting import wait_until

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_FIGURES_SECONDS": "1"}


@pytest.fixture
def run(belfry: Belfry, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `belfry <words>` in this process as an operator of the server. A failure is raised."""
    monkeypatch.setenv("BELFRY_URL", belfry.url)
    monkeypatch.setenv("BELFRY_SECRET", belfry.settings_environment["BELFRY_SECRET"])

    def belfry_command(*words: str, text: str = "") -> Result:
        return CliRunner().invoke(cli.commands, words, input=text, catch_exceptions=False)

    return belfry_command


def of_json(result: Result) -> Any:
    return json.loads(result.stdout)


def containing(text: str, result: Result) -> str:
    """The output if it contains `text`, otherwise nothing."""
    return result.stdout if text in result.stdout else ""


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_users_are_found_by_the_beginning_of_their_id(run: Run, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "Hello"})
    (found,) = wait_until(lambda: of_json(run("users", alice, "--json"))["users"], what="the user")
    assert found["visited"] is False, "a message alone is no visit"
    with belfry.stream(alice):
        wait_until(lambda: run("users", alice).stdout.startswith(f"{alice}  online  seen 20"), what="the connection")
    told = run("users", f"{alice}-nobody")
    assert told.stdout == ""
    assert told.stderr.startswith("0 listed, ")


@pytest.mark.parametrize("user", ["plain", "..", "a/b", "a%2Fb", "é,~"])
def test_every_user_can_be_disconnected(run: Run, belfry: Belfry, alice: str, user: str) -> None:
    name = f"{alice}{user}" if user != ".." else user
    with belfry.stream(name) as stream:
        stream.wait_for("ready")
        assert run("disconnect", name).stdout == f"ended every connection of {name}\n"
        assert json.loads(stream.wait_for("goodbye").data)["reason"] == "disconnected"


def test_one_connection_is_ended_and_another_stays(run: Run, belfry: Belfry, alice: str) -> None:
    with belfry.stream(alice) as first, belfry.stream(alice) as second:
        first.wait_for("ready")
        connection = json.loads(second.wait_for("ready").data)["connection"]
        told = of_json(run("disconnect", alice, "--connection", connection, "--json"))
        assert told == {"user": alice, "connection": connection}
        second.wait_for("goodbye")
        belfry.publish({"to": alice, "title": "Still here"})
        assert json.loads(first.wait_for("message").data)["title"] == "Still here"


def test_a_message_is_explained(run: Run, belfry: Belfry, alice: str) -> None:
    def explained(until: str) -> str:
        """What the command says as soon as it says `until`; where a connection is, workers report a moment later."""
        return wait_until(lambda: containing(until, run("explain", message, "--user", alice)), 20)

    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        message = belfry.publish({"to": alice, "title": "Hello"})["id"]
        stream.wait_for("message")
        sent = explained("Sent to connection")
        assert sent.startswith("It was sent. Nothing proves yet that the client has it. Now: unread, stored at offset ")
        assert "Published." in sent
    Client(belfry.url, lambda: belfry.token(alice, "feed")).mark("read", [message])
    assert explained("It arrived, by 20").splitlines()[0].endswith(f"Now: read, stored at offset 1 of user:{alice}.")
    assert of_json(run("explain", message, "--user", alice, "--json"))["read"] is True


def test_a_message_that_nobody_sent_is_not_explained(run: Run, alice: str) -> None:
    with pytest.raises(ClientError, match="No message 'nothing' is known to have gone to"):
        run("explain", "nothing", "--user", alice)


def test_top_shows_the_deployment(run: Run, belfry: Belfry, alice: str) -> None:
    def shown(until: str) -> str:
        return wait_until(lambda: containing(until, run("top", "--once")), 20)

    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        assert "latency p99" in shown("1 worker, 1 connection, 0 slow")
        assert shown(f"1 connection  {alice}  since 20")
    assert of_json(run("top", "--once", "--json"))["workers"] >= 0


def test_a_feed_is_moved_with_its_marks(run: Run, belfry: Belfry, alice: str, bob: str) -> None:
    # More than a page. Sent together, so that several have the same time.
    belfry.publish_all(
        [
            {"to": alice, "id": f"{alice}-{number}", "title": f"{number}", "data": {"n": [number]}}
            for number in range(130)
        ]
    )
    belfry.publish({"to": alice, "id": f"{alice}-short", "title": "expires", "ttl": 3_000})
    belfry.publish({"everyone": True, "id": f"{alice}-all", "title": "all"})
    reader = Client(belfry.url, lambda: belfry.token(alice, "feed"))
    reader.mark("read", [f"{alice}-1", f"{alice}-all"])
    reader.mark("archived", [f"{alice}-2"])
    exported = run("export", alice)
    before = lines_of(exported)
    assert [line["title"] for line in before] == [str(number) for number in range(130)] + ["expires", "all"]

    told = run("import", bob, text=exported.stdout)
    assert told.stdout == "131 messages sent; 0 had been sent before or have expired\n"
    after = lines_of(run("export", bob))
    changing = {"time", "expires_at"}
    assert [without(line, changing) for line in after if "everyone" not in line] == [
        without(line, changing) for line in before if "everyone" not in line
    ]
    assert next(line["read"] for line in after if line["id"] == f"{alice}-all")
    assert any("expires_at" in line for line in after)
    told = run("import", bob, text=exported.stdout)
    assert told.stdout == "0 messages sent; 131 had been sent before or have expired\n"


def test_a_feed_of_another_service_is_imported_with_its_marks(run: Run, bob: str) -> None:
    items = [
        {"id": f"{bob}-{mark}", "body": mark, f"is{mark}": True, "createdAt": "2026"} for mark in ("Read", "Archived")
    ]
    told = run("import", bob, "--from", "novu", text=json.dumps({"data": items}))
    assert told.stdout == "2 messages sent; 0 had been sent before or have expired\n"
    own = [line for line in lines_of(run("export", bob)) if "everyone" not in line]
    found = {line["body"]: (line["read"], line["archived"]) for line in own}
    assert found == {"Read": (True, False), "Archived": (False, True)}


def without(message: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in names}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"id": "a"', "line 1: Expected one JSON object"),
        ('\n["a"]\n', "line 2: expected an object with an id"),
        ('{"id": "a", "title": "x", "levle": "info"}', "0 messages sent, then message a: refused with 422"),
    ],
)
def test_a_bad_line_is_named(run: Run, bob: str, text: str, reason: str) -> None:
    with pytest.raises(ClientError, match=reason):
        run("import", bob, text=text)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_commands(run: Run, shell: str) -> None:
    assert "_BELFRY_COMPLETE" in run("completion", shell).stdout


def test_a_server_that_is_away_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("BELFRY_URL", url)
    with pytest.raises(ClientError, match=f"no answer from {url}"):
        run("users")
