"""Clients that people use, each in a scripted session against Belfry with a real upstream: llama.cpp's server.

Each session streams an answer, takes one in one piece, has a tool called, is refused, leaves in mid-answer, and resumes
and cancels where its client can.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import absent
from tests.real import words
from tests.real.environment import INSTALL_SECONDS, python_of
from tests.real.upstreams import LlamaCpp
from tests.servers import HOST, REPOSITORY, Belfry
from tests.waiting import patient

pytestmark = pytest.mark.timeout(2 * INSTALL_SECONDS)

SESSIONS = REPOSITORY / "tests" / "real" / "sessions"
NODE_PACKAGES = REPOSITORY / "tests" / "system" / "browser" / "node_modules"
SESSION_SECONDS = 180.0
CALLED = [["find", {"q": "x"}]]
REFUSAL = "exceeds the available context size"


@pytest.fixture(scope="module")
def upstream() -> Iterator[LlamaCpp]:
    server = LlamaCpp()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def environment(upstream: LlamaCpp) -> Mapping[str, str]:
    return {"BELFRY_UPSTREAM_URL": upstream.url}


def told(program: Path | str, session: str, belfry: Belfry, upstream: LlamaCpp, user: str) -> dict[str, Any]:
    """What a session tells, which must be right in all that every client can do."""
    arguments = [f"{belfry.url}/v1", belfry.token(user, "complete"), f"http://{HOST}:{upstream.port}"]
    command = [program, SESSIONS / session, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patient(SESSION_SECONDS))
    assert done.returncode == 0, done.stderr[-4_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["streamed"], found["whole"]) == (words.TEXT, words.TEXT)
    assert found["tokens"] > 2
    assert (found["calls"], found["streamed_calls"]) == (CALLED, CALLED)
    assert found["refusal"][0] == 400
    assert REFUSAL in found["refusal"][1]
    assert (found["began"], found["stopped"]) == ("one two ", True)
    return found


class TestPythonClients:
    def test_openai(self, belfry: Belfry, upstream: LlamaCpp, alice: str) -> None:
        found = told(sys.executable, "by_openai.py", belfry, upstream, alice)
        assert (found["resumed"], found["status"], found["cancelled"]) == (True, "cancelled", True)

    def test_langchain(self, belfry: Belfry, upstream: LlamaCpp, alice: str) -> None:
        told(python_of("clients"), "by_langchain.py", belfry, upstream, alice)

    def test_llama_index(self, belfry: Belfry, upstream: LlamaCpp, alice: str) -> None:
        found = told(python_of("clients"), "by_llama_index.py", belfry, upstream, alice)
        assert (found["legacy"], found["legacy_streamed"]) == (words.TEXT, words.TEXT)

    def test_pydantic_ai(self, belfry: Belfry, upstream: LlamaCpp, alice: str) -> None:
        found = told(python_of("clients"), "by_pydantic_ai.py", belfry, upstream, alice)
        assert found["after_call"] == [words.TEXT, words.TEXT]


class TestNodeClients:
    @pytest.fixture
    def node(self) -> str:
        found = shutil.which("node")
        if found is None or not (NODE_PACKAGES / "@ai-sdk" / "openai-compatible").exists():
            absent("Node with OpenAI's client and the AI SDK (npm)")
        return found

    def test_openai(self, node: str, belfry: Belfry, upstream: LlamaCpp, alice: str) -> None:
        found = told(node, "by_openai.mjs", belfry, upstream, alice)
        assert (found["resumed"], found["status"], found["cancelled"]) == (True, "cancelled", True)

    def test_ai_sdk(self, node: str, belfry: Belfry, upstream: LlamaCpp, alice: str) -> None:
        found = told(node, "by_ai_sdk.mjs", belfry, upstream, alice)
        assert found["after_call"] == [words.TEXT, words.TEXT]
        assert (found["failures"], found["resumed"], found["cancelled"]) == ([], True, True)
