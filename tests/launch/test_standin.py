"""The stand-in for a model server: it answers like one, says that it is none, and fails as told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import openai
import pytest

from tests.servers import REPOSITORY, free_port
from tests.waiting import wait_until

IMPATIENT_SECONDS = 1.0  # a third of what a slow answer takes


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    port = free_port()
    command = [sys.executable, "-m", "app.launch.standin", str(port)]
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        url = f"http://127.0.0.1:{port}/v1"
        try:
            with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
                wait_until(lambda: answers(client), 60)
                yield client
        finally:
            process.terminate()


def answers(client: openai.OpenAI) -> bool:
    try:
        return bool(whole(client, "hi"))
    except openai.APIConnectionError:
        return False


def whole(client: openai.OpenAI, prompt: str) -> str:
    answer = client.chat.completions.create(model="any", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content or ""


def streamed(client: openai.OpenAI, prompt: str, seconds: float = 20.0) -> Iterator[str]:
    parts = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": prompt}], stream=True, timeout=seconds
    )
    return (part.choices[0].delta.content or "" for part in parts if part.choices)


def test_it_streams_what_it_would_say_at_once_word_by_word(client: openai.OpenAI) -> None:
    words = list(streamed(client, "hi"))
    assert "".join(words) == whole(client, "hi")
    assert len(words) > 20


def test_it_lists_its_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["standin"]


def test_it_says_that_it_is_a_stand_in_and_how_to_make_it_fail(client: openai.OpenAI) -> None:
    text = whole(client, "how are you?")
    assert "stand-in" in text
    assert "how are you?" in text
    assert "/cut" in text


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ("/429 please", openai.RateLimitError),
        ("/500", openai.InternalServerError),
        ("/error", openai.APIError),
        ("/malformed", ValueError),
        ("/cut", openai.APIError),
        ("/stall", openai.APIError),
        ("/slow", openai.APITimeoutError),
    ],
)
def test_it_fails_as_it_is_told(client: openai.OpenAI, prompt: str, error: type[Exception]) -> None:
    with pytest.raises((error, OSError)):
        list(streamed(client, prompt, IMPATIENT_SECONDS))
