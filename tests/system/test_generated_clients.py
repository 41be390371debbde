"""Clients that generators make of /openapi.json read what a real server answers, successes and refusals."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.core.identity.tokens import SCOPES
from app.web.api.openapi import document
from tests.conftest import absent
from tests.servers import REPOSITORY, Belfry
from tests.upstream import Conversation, Upstream, running_upstream

TOOLS = REPOSITORY / "tests/system/browser/node_modules"
PAGE = Path(__file__).parent / "generated.ts"
MESSAGE = {"role": "assistant", "content": "Hello"}
ANSWER = {
    "id": "c1",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
# What openapi-python-client cannot take: a body of lines beside the one of JSON, and an answer of any type.
UNSUPPORTED = ("application/x-ndjson", "*/*")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    def answer(conversation: Conversation) -> None:
        conversation.refuse(200, ANSWER)

    with running_upstream() as upstream:
        upstream.play = answer
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_UPSTREAM_URL": upstream.url}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document(__version__)))
    return path


def run(*command: str | Path, cwd: Path) -> str:
    told = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=400)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.mark.timeout(500)
def test_openapi_python_client(belfry: Belfry, schema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    told = run(
        Path(sys.executable).with_name("openapi-python-client"), "generate", "--path", schema, "--meta", "none",
        "--config", "config.yml", "--output-path", "generated_belfry", cwd=tmp_path,
    )  # fmt: skip
    warned = [line for line in told.splitlines() if line.startswith(("Unsupported", "Cannot", "ERROR"))]
    assert [line for line in warned if not any(media in line for media in UNSUPPORTED)] == []
    monkeypatch.syspath_prepend(tmp_path)

    def call(place: str, client: Any, **arguments: Any) -> Any:
        return importlib.import_module(f"generated_belfry.api.{place}").sync(client=client, **arguments)

    made: Any = importlib.import_module("generated_belfry")
    models: Any = importlib.import_module("generated_belfry.models")
    mine = made.AuthenticatedClient(base_url=belfry.url, token=belfry.token("alice", *SCOPES))
    nobody = made.AuthenticatedClient(base_url=belfry.url, token="wrong")
    with mine, nobody:
        read_what_it_answers(call, models, mine, nobody)


def read_what_it_answers(call: Any, models: Any, mine: Any, nobody: Any) -> None:
    message = models.PublishToUsers(to="alice", id="m1", title="Hello")
    published = call("publish.publish", mine, body=message)
    assert (published.id, published.deliveries[0].offset, published.deliveries[0].duplicate) == ("m1", 1, False)
    refused = call("publish.publish", mine, body=models.PublishToUsers(to=""))
    assert (type(refused), refused.code) == (models.Problem, "bad_user_id")
    feed = call("feed.read_feed", mine)
    assert (feed.messages[0].title, feed.messages[0].read, feed.unread) == ("Hello", False, 1)
    assert call("messages.get_message", mine, message_id="m1").deliveries[0].to == "alice"
    assert call("messages.get_message", mine, message_id="m2").code == "not_found"
    assert call("presence.get_presence", mine, users="alice").users["alice"].online is False
    assert call("tickets.buy_ticket", mine).expires_in == 60
    assert call("completions.list_runs", mine).completions == []
    for place in ("feed.read_feed", "completions.list_runs", "tickets.buy_ticket", "users.list_users"):
        assert call(place, nobody).code == "token_invalid"
    asked = models.ChatRequest(model="m", messages=[models.ChatMessage(role="user", content="hi")])
    assert call("openai.create_chat_completion", mine, body=asked).choices[0].finish_reason == "stop"
    assert call("openai.create_chat_completion", nobody, body=asked).error.code == "token_invalid"


@pytest.mark.timeout(500)
@pytest.mark.needs("npm")
def test_openapi_typescript_and_hey_api(belfry: Belfry, schema: Path, tmp_path: Path) -> None:
    if not (TOOLS / "openapi-typescript").exists():
        absent("openapi-typescript (npm)")
    tools = TOOLS / ".bin"
    run(tools / "openapi-typescript", schema, "-o", "schema.d.ts", cwd=tmp_path)
    run(tools / "openapi-ts", "-i", schema, "-o", "hey", cwd=tmp_path)
    (tmp_path / "page.ts").write_text(PAGE.read_text())
    options = ("--strict", "--noEmit", "--skipLibCheck", "--target", "es2022", "--module", "esnext")
    run(tools / "tsc", *options, "--moduleResolution", "bundler", "page.ts", cwd=tmp_path)
    run(tools / "esbuild", "page.ts", "--bundle", "--format=esm", "--platform=node", "--outfile=page.mjs", cwd=tmp_path)
    told = json.loads(run("node", "page.mjs", belfry.url, belfry.token("alice", *SCOPES), cwd=tmp_path))
    assert told == {"id": "hey-1", "problem": "bad_user_id", "title": "Hello", "unread": told["unread"], "chat": ANSWER}
