"""The start pages and guides, run as they are against one server: each block whose first line says `run`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from tests.servers import REPOSITORY, Belfry
from tests.test_code_blocks import Block, blocks
from tests.upstream import Conversation, Upstream, running_upstream, saying
from tests.waiting import patient

DOCS = REPOSITORY / "docs"
ADDRESS = "http://127.0.0.1:8000"
# `belfry` as in a package, and blocks that share variables, as in one terminal.
HEAD = f'set -eu\nbelfry() {{ "{sys.executable}" -m app.cli "$@"; }}\n'
SECONDS = 60.0


def answer(conversation: Conversation) -> None:
    """The same answer, as a stream or whole."""
    if conversation.body.get("stream"):
        saying("A tower", " for bells.")(conversation)
    else:
        message = {"role": "assistant", "content": "A tower for bells."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        conversation.refuse(200, {"id": "c1", "object": "chat.completion", "choices": [choice]})


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        upstream.play = answer
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_UPSTREAM_URL": upstream.url, "BELFRY_UPSTREAM_KEY": "key"}


@pytest.fixture
def terminal(belfry: Belfry) -> dict[str, str]:
    paths = (REPOSITORY, REPOSITORY / "clients/python/src")
    return {
        **os.environ,
        "BELFRY_URL": belfry.url,
        "BELFRY_SECRET": belfry.settings_environment["BELFRY_SECRET"],
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
    }


def marked(page: str, language: str) -> list[Block]:
    return [block for block in blocks(DOCS / page) if block.words == (language, "run")]


def shell(page: str, belfry: Belfry, terminal: dict[str, str], more: str = "") -> str:
    """What the shell blocks of a page print, one after the other in one shell."""
    script = HEAD + "".join(block.text for block in marked(page, "sh")).replace(ADDRESS, belfry.url) + more
    done = subprocess.run(
        ["bash", "-c", script], env=terminal, capture_output=True, text=True, check=False, timeout=patient(SECONDS)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(page: str, belfry: Belfry, terminal: dict[str, str], folder: Path, more: str = "") -> str:
    """What the Python blocks of a page print, followed by `more`."""
    (folder / "page.py").write_text(
        "".join(block.text for block in marked(page, "python")).replace(ADDRESS, belfry.url) + more, encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=folder,
        env=terminal,
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(SECONDS),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("page", "titles"),
    [("start/bell.md", {"Hello", "Order shipped"}), ("zh/start.md", {"你好", "订单已发货"})],
)
def test_a_bell_in_five_minutes(belfry: Belfry, terminal: dict[str, str], page: str, titles: set[str]) -> None:
    assert '"offset"' in shell(page, belfry, terminal)
    assert titles <= {message["title"] for message in belfry.reader("alice").feed()["messages"]}


def test_a_chat_in_five_minutes(belfry: Belfry, terminal: dict[str, str], tmp_path: Path) -> None:
    told = shell("start/chat.md", belfry, terminal)
    assert "/completions/run-1/stream" in told
    assert "event: ready" in told
    assert told.rstrip().endswith("data: [DONE]")
    token = belfry.token("alice", "complete")
    assert "A tower for bells." in python("start/chat.md", belfry, {**terminal, "TOKEN": token}, tmp_path)


def test_progress_of_a_job_is_one_line_of_the_feed(belfry: Belfry, terminal: dict[str, str], tmp_path: Path) -> None:
    python("guides/progress.md", belfry, terminal, tmp_path, "belfry.close()\n")
    feed = belfry.reader("alice").feed()["messages"]
    found = [message for message in feed if message.get("key") == "report-7"]
    assert [message["title"] for message in found] == ["Your report is ready"]


@pytest.mark.needs("node")
def test_the_route_of_a_next_app_hands_out_tokens(belfry: Belfry, terminal: dict[str, str], tmp_path: Path) -> None:
    (block,) = marked("guides/next.md", "js")
    (tmp_path / "route.mjs").write_text(block.text + "\nprocess.stdout.write(await (await GET()).text());\n")
    told = subprocess.run(["node", tmp_path / "route.mjs"], env=terminal, capture_output=True, text=True, check=True)
    headers = {"Authorization": f"Bearer {told.stdout}"}
    assert requests.get(f"{belfry.url}/feed", headers=headers, timeout=patient(SECONDS)).status_code == 200


def test_the_back_end_of_a_chat_hands_out_tokens(belfry: Belfry, terminal: dict[str, str], tmp_path: Path) -> None:
    told = python("guides/chat.md", belfry, terminal, tmp_path, "print(app.test_client().get('/belfry-token').text)\n")
    assert told.count(".") == 2
