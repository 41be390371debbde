"""Model servers that other people wrote: llama.cpp's with a model of a few words, and LiteLLM's proxy with mocks."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import requests
import yaml

from tests.real import words
from tests.real.environment import python_of
from tests.servers import HOST, Server, free_port

HERE: Final = Path(__file__).parent
MOCKED_TEXT: Final = "Hello wörld, says a mock. \n\n\u2028 <b>"
# LiteLLM streams three characters a chunk, so this takes it many seconds. Ten times as many take minutes to begin.
ENDLESS_CHARS: Final = 100_000
DELAY_SECONDS: Final = 600
MOCKED_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}


class RealUpstream(Server):
    """One of them, with an address below which it speaks OpenAI's API, and the key that it wants."""

    key = ""
    health_path = "/health"

    def __init__(self, name: str, environment: dict[str, str] | None = None) -> None:
        super().__init__(name, environment)
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}/v1"

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://{HOST}:{self.port}{path}", timeout=5)

    def is_ready(self) -> bool:
        try:
            return self.get(self.health_path).ok
        except requests.RequestException:
            return False

    def is_asked(self) -> bool:
        """Whether somebody is connected. It closes a connection that nobody uses after a few seconds."""
        return f"{self.port:04X}" in _connected_ports()


class LlamaCpp(RealUpstream):
    """llama.cpp's server. What it answers depends on the last character of the prompt, see `words`."""

    def __init__(self) -> None:
        super().__init__("llama")
        self._python = python_of("clients")
        self._model = self.directory / "words.gguf"
        words.write(self._model)

    def command(self) -> Sequence[str | Path]:
        return [self._python, HERE / "llama_server.py", self._model, str(self.port)]


class LiteLlm(RealUpstream):
    """LiteLLM's proxy. Which mock answers depends on the model's name."""

    start_seconds = 120.0  # it imports for half a minute on a busy machine
    health_path = "/health/liveliness"

    def __init__(self) -> None:
        self.key = f"sk-{secrets.token_hex(32)}"
        super().__init__("litellm", {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"})
        self._python = python_of("litellm")
        self._config = self.directory / "config.yaml"
        self._config.write_text(yaml.safe_dump(self._settings()))

    def _settings(self) -> dict[str, Any]:
        mocks: dict[str, dict[str, Any]] = {
            "hello": {"mock_response": MOCKED_TEXT},
            "endless": {"mock_response": "one two three " * (ENDLESS_CHARS // 14)},
            "slow": {"mock_response": MOCKED_TEXT, "mock_delay": DELAY_SECONDS},
            "calls": {"mock_response": "", "mock_tool_calls": [MOCKED_CALL]},
            "limited": {"mock_response": "litellm.RateLimitError"},
            "broken": {"mock_response": "litellm.InternalServerError"},
            "too-long": {"mock_response": "litellm.ContextWindowExceededError"},
        }
        models = [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "none", **mock}}
            for name, mock in mocks.items()
        ]
        return {
            "model_list": models,
            "general_settings": {"master_key": self.key},
            "litellm_settings": {"num_retries": 0},
            "router_settings": {"disable_cooldowns": True},
        }

    def command(self) -> Sequence[str | Path]:
        program = self._python.parent / "litellm"
        return [self._python, program, "--config", self._config, "--host", HOST, "--port", str(self.port)]


def _connected_ports() -> set[str]:
    """The local ports of established connections, in hexadecimal, as proc(5) writes them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {local.partition(":")[2] for _, local, _, state, *_ in fields if state == "01"}
