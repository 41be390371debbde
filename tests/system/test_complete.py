"""`./run complete` in front of a real server: what it prints while its connection breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.servers import REPOSITORY, Belfry, Nginx
from tests.upstream import Upstream, running_upstream
from tests.waiting import wait_until

SECONDS = 120.0


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {"BELFRY_UPSTREAM_URL": upstream.url, "BELFRY_RETRY_MS": "100"}


class Terminal:
    """The command, and what stands in its terminal."""

    def __init__(self, belfry: Belfry, port: int, user: str) -> None:
        self.text = b""
        url = {"BELFRY_URL": f"http://127.0.0.1:{port}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "complete", "What is a belfry?", "--user", user, "--model", user],
            cwd=REPOSITORY,
            env={**os.environ, **belfry.settings_environment, **url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def shows(self, text: str) -> bool:
        """Reads until it does."""
        assert self.process.stdout is not None
        while len(self.text) < len(text.encode()):
            piece = os.read(self.process.stdout.fileno(), 1)
            if not piece:
                break
            self.text += piece
        return self.text == text.encode()

    def ends(self) -> tuple[int, str]:
        rest, told = self.process.communicate(timeout=SECONDS)
        self.text += rest
        return self.process.returncode, told.decode()


@pytest.fixture
def ask(belfry: Belfry) -> Iterator[Callable[[int, str], Terminal]]:
    started: list[Terminal] = []

    def start(port: int, user: str) -> Terminal:
        started.append(Terminal(belfry, port, user))
        return started[-1]

    yield start
    for terminal in started:
        terminal.process.kill()
        terminal.process.communicate()


def test_an_answer_goes_on_after_its_connection_broke(
    ask: Callable[[int, str], Terminal], nginx: Nginx, upstream: Upstream, alice: str
) -> None:
    terminal = ask(nginx.port, alice)
    conversation = upstream.next()
    conversation.begin()
    conversation.say("One ")
    assert terminal.shows("One ")
    nginx.kill()
    conversation.say("two ")
    nginx.start()
    conversation.say("three")
    conversation.finish()
    assert terminal.ends() == (0, "")
    assert terminal.text == b"One two three\n"


def test_an_answer_whose_worker_was_killed_is_told_to_be_cut_short(
    ask: Callable[[int, str], Terminal], belfry: Belfry, upstream: Upstream, alice: str
) -> None:
    terminal = ask(belfry.port, alice)
    conversation = upstream.next()
    conversation.begin()
    conversation.say("One ")
    assert terminal.shows("One ")
    dead = belfry.worker()
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: belfry.workers() not in ([], [dead]) and belfry.is_ready(), what="another worker")
    code, told = terminal.ends()
    assert (code, terminal.text) == (1, b"One \n")
    assert told == "belfry: the answer is not whole: The worker that produced the answer is gone\n"
