"""Peers that are measured where their program is given: Mercure, Centrifugo, Pushpin and LiteLLM, on one core each.

None of them is a requirement of the project: the command line names their programs (`--mercure PATH`). Each is
configured as its documentation has it, with a history of 100 messages where it keeps one.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jwt

from bench.load import HERE, Requests
from bench.process import Process, free_port, listens
from bench.servers import Server

ONE_CORE = {"GOMAXPROCS": "1"}  # Go's own setting: as many cores as the one worker of the others
SUBSCRIBE = "GET {path} HTTP/1.1\nHost: localhost\nAccept: text/event-stream\n\n"
PUBLISH = "POST {path} HTTP/1.1\nHost: localhost\nContent-Type: {type}\n{fields}Content-Length: {{len}}\n\n"
MESSAGE = (
    '{"title":"Order shipped","body":"Your order has left the warehouse and will be with you tomorrow {mark}",'
    '"url":"/orders/{seq}"}'
)


def _publish(path: str, body: str, fields: str = "", content_type: str = "application/json") -> str:
    return PUBLISH.format(path=path, type=content_type, fields=fields) + body


@dataclass
class Given(Server):
    """A server whose program was named on the command line."""

    program: str = ""

    def missing(self) -> str | None:
        return None if shutil.which(self.program) else f"there is no program {self.program}"

    def configured(self, process: Process, name: str, values: Mapping[str, object]) -> None:
        """Write a configuration into the process' folder: the text in `peers`, with these words replaced."""
        text = (HERE / "peers" / name).read_text(encoding="ascii")
        for word, value in {"FOLDER": process.folder, "PORT": self.port, **values}.items():
            text = text.replace(word, str(value))
        (process.folder / name).write_text(text, encoding="ascii")

    def begun(self, process: Process) -> None:
        self.processes.append(process)
        process.start(lambda: listens(self.port))


@dataclass
class Mercure(Given):
    """The Mercure.rocks hub (a Caddy): https://mercure.rocks/docs/hub/config, of 0.18 and later."""

    key: str = "!ChangeThisMercureHubJWTSecretKey!"

    def start(self) -> None:
        self.port = free_port()
        arguments = ["run", "--config", "{folder}/mercure.caddyfile", "--adapter", "caddyfile"]
        process = Process([self.program, *arguments], {**ONE_CORE, "HOME": "{folder}", "XDG_DATA_HOME": "{folder}"})
        self.configured(process, "mercure.caddyfile", {"KEY": self.key})
        self.begun(process)

    def requests(self, *, users: int, prefix: str, cursors: Sequence[str] = (), resume: bool = False) -> Requests:
        """A topic a user; the publisher's token allows all of them."""
        del users, prefix, cursors, resume
        token = jwt.encode({"mercure": {"publish": ["*"]}, "iat": int(time.time())}, self.key, "HS256")
        path = "/.well-known/mercure"
        body = "topic=https://example.com/{user}&data=" + MESSAGE
        fields = f"Authorization: Bearer {token}\n"
        publish = _publish(path, body, fields, "application/x-www-form-urlencoded")
        return Requests(self.port, SUBSCRIBE.format(path=f"{path}?topic=https://example.com/{{user}}"), publish)


@dataclass
class Centrifugo(Given):
    """Centrifugo 6 with its unidirectional SSE: https://centrifugal.dev/docs/transports/uni_sse."""

    key: str = field(default_factory=lambda: secrets.token_hex(16))

    def start(self) -> None:
        self.port = free_port()
        process = Process([self.program, "--config", "{folder}/centrifugo.json"], ONE_CORE)
        self.configured(process, "centrifugo.json", {"KEY": self.key})
        self.begun(process)

    def requests(self, *, users: int, prefix: str, cursors: Sequence[str] = (), resume: bool = False) -> Requests:
        """A channel a user, named by whoever connects; the publisher has the API's key."""
        del users, prefix, cursors, resume
        connect = "%7B%22subs%22%3A%7B%22{user}%22%3A%7B%7D%7D%7D"  # {"subs":{"<user>":{}}}
        subscribe = SUBSCRIBE.format(path=f"/connection/uni_sse?cf_connect={connect}")
        body = '{"channel":"{user}","data":' + MESSAGE + "}"
        return Requests(self.port, subscribe, _publish("/api/publish", body, f"X-API-Key: {self.key}\n"))


@dataclass
class Pushpin(Given):
    """Pushpin: condure in front, zurl behind, and an origin that says "hold": https://pushpin.org/docs/getting-started/.

    It keeps no history by itself: what is published while a reader is away is lost.
    """

    publish_port: int = 0
    opening: int = 50  # more at a time, and zurl or the proxy answer 502

    def missing(self) -> str | None:
        absent = [name for name in ("condure", "zurl") if not shutil.which(name)]
        return super().missing() or (f"needs {' and '.join(absent)} on PATH" if absent else None)

    def start(self) -> None:
        origin_port = free_port()
        origin = Process([sys.executable, "-m", "bench.peers.pushpin_origin", str(origin_port)])
        self.processes.append(origin)
        origin.start(lambda: listens(origin_port))
        self.port, self.publish_port = free_port(), free_port()
        process = Process([self.program, "--config", "{folder}/pushpin.conf"])
        (process.folder / "routes").write_text(f"* 127.0.0.1:{origin_port}\n", encoding="ascii")
        values = {"PUSH": self.publish_port, "PULL": free_port(), "SUB": free_port(), "COMMAND": free_port()}
        self.configured(process, "pushpin.conf", values)
        self.configured(process, "zurl.conf", {})
        client = Process(["zurl", f"--config={process.folder}/zurl.conf"])
        self.processes.append(client)
        client.start((process.folder / "zurl-in").exists)
        self.processes.append(process)
        process.start(lambda: listens(self.port) and listens(self.publish_port))

    def requests(self, *, users: int, prefix: str, cursors: Sequence[str] = (), resume: bool = False) -> Requests:
        """A channel a path; an event is the text that goes to each connection."""
        del users, prefix, cursors, resume
        content = json.dumps(f"data: {MESSAGE}\n\n")
        body = '{"items":[{"channel":"{user}","formats":{"http-stream":{"content":' + content + "}}}]}"
        subscribe = SUBSCRIBE.format(path="/sub/{user}")
        return Requests(self.port, subscribe, _publish("/publish/", body), publish_port=self.publish_port)


LITELLM = """
model_list:
  - model_name: bench
    litellm_params: {model: openai/bench, api_base: "http://127.0.0.1:UPSTREAM/v1", api_key: none}
litellm_settings: {telemetry: false}
"""


@dataclass
class LiteLlm(Given):
    """LiteLLM's proxy with one worker, and nothing that it would look up elsewhere; it relays completions only."""

    kinds: frozenset[str] = frozenset({"tokens"})

    def start(self) -> None:
        self.port, self.upstream_port = free_port(), self.upstream_port or free_port()
        options = ["--config", "{folder}/config.yaml", "--host", "127.0.0.1", "--num_workers", "1"]
        environment = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOG": "ERROR",
        }
        process = Process([self.program, *options, "--port", str(self.port)], environment)
        text = LITELLM.replace("UPSTREAM", str(self.upstream_port))
        (process.folder / "config.yaml").write_text(text, encoding="ascii")
        self.begun(process)


def given(mercure: str = "", centrifugo: str = "", pushpin: str = "", litellm: str = "") -> list[Server]:
    """Those whose program was named."""
    named: list[tuple[str, Server]] = [
        (mercure, Mercure("mercure", "Mercure", program=mercure)),
        (centrifugo, Centrifugo("centrifugo", "Centrifugo", program=centrifugo)),
        (pushpin, Pushpin("pushpin", "Pushpin", program=pushpin)),
        (litellm, LiteLlm("litellm", "LiteLLM", program=shutil.which(litellm) or litellm)),
    ]
    return [server for program, server in named if program]
