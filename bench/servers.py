"""What is measured: Belfry as `./run` starts it, and its peers, each with one worker and on real sockets.

A server says how it is spoken to (`requests`), which of its processes do the work (`workers`) and which keep its data
(`stores`); a scenario needs nothing else.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

import jwt
import requests as http

from app.launch import embedded
from bench.load import HERE, Load, Requests, compiled
from bench.process import Process, descendants, free_port, listens, name_of

STORES = ("valkey-server", "redis-server")
TOKEN_SECONDS = 86_400
MODULES = "/usr/lib/nginx/modules"


@dataclass
class Server:
    """One server under measurement. A subclass starts it."""

    name: str
    title: str
    _: KW_ONLY
    port: int = 0
    processes: list[Process] = field(default_factory=list)
    kinds: frozenset[str] = frozenset({"fan-out", "users"})  # of scenarios that it can do
    once: bool = False  # in the first round only: no goal is compared with it
    part: float = 1.0  # of the messages of a fan-out; less for a slow one, so that a round comes to its end
    patience: float = 60.0  # seconds for any one load
    opening: int = 500  # connections at a time, so that a crowd at the door is measured by the storms alone
    upstream_port: int = 0  # where it expects the upstream of completions; 0: it takes a free port when it starts

    def suited(self, load: Load) -> Load:
        """The load at the pace of this server."""
        return replace(load, timeout=self.patience, opening=self.opening if load.opening else 0)

    def missing(self) -> str | None:
        """What keeps it from being measured on this machine; None when nothing does."""
        return None

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    def begin(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start one process that listens on this server's port."""
        process = Process(command, environment)
        self.processes.append(process)
        process.start(lambda: listens(self.port))

    def requests(self, *, users: int, prefix: str, cursors: Sequence[str] = (), resume: bool = False) -> Requests:
        """How the load generator speaks to it."""
        del users, prefix, cursors, resume
        return Requests(self.port, _request("path.sub"), _request("path.pub"))

    def everyone(self) -> list[int]:
        """All of its processes but the stores."""
        return [pid for pid in self._family() if name_of(pid) not in STORES]

    def workers(self) -> list[int]:
        """The processes that serve."""
        return self.everyone()

    def stores(self) -> list[int]:
        """The processes that keep its data: Redis or Valkey; not those that these fork to write their files."""
        stores = [pid for pid in self._family() if name_of(pid) in STORES]
        forked = {child for pid in stores for child in descendants(pid)}
        return [pid for pid in stores if pid not in forked]

    def _family(self) -> list[int]:
        return sorted({pid for process in self.processes for pid in [process.pid, *descendants(process.pid)]})


def _request(name: str) -> str:
    return (HERE / "requests" / name).read_text(encoding="ascii")


@dataclass
class Belfry(Server):
    """The whole program: launcher, embedded store, gunicorn; with tokens, limits, history and deduplication on."""

    count: int = 1
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    environment: dict[str, str] = field(default_factory=dict)  # further settings
    patience: float = 300.0  # on the busiest machine
    kinds: frozenset[str] = frozenset({"fan-out", "users", "own", "tokens"})

    def start(self) -> None:
        self.port, self.upstream_port = free_port(), self.upstream_port or free_port()
        environment = {
            "BELFRY_BIND": f"127.0.0.1:{self.port}",
            "BELFRY_SECRET": self.secret,
            "BELFRY_DATA_DIR": "{folder}/data",
            "WEB_CONCURRENCY": str(self.count),
            "BELFRY_UPSTREAM_URL": f"http://127.0.0.1:{self.upstream_port}/v1",
            **self.environment,
        }
        process = Process([sys.executable, "-m", "app.launch.launcher"], environment)
        self.processes.append(process)
        process.start(self._is_ready)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _is_ready(self) -> bool:
        with contextlib.suppress(http.RequestException):
            return http.get(f"{self.url}/health/ready", timeout=2).ok
        return False

    def workers(self) -> list[int]:
        """The gunicorn workers: the processes of it that have no child."""
        return [pid for pid in self.everyone() if not descendants(pid)]

    def token(self, user: str, scope: str = "feed", **claims: object) -> str:
        """A signed token of `user`, valid for a day."""
        now = int(time.time())
        payload = {"sub": user, "scope": scope, "iat": now, "exp": now + TOKEN_SECONDS, "jti": secrets.token_hex(8)}
        return jwt.encode({**payload, **claims}, self.secret, "HS256")

    def requests(self, *, users: int, prefix: str, cursors: Sequence[str] = (), resume: bool = False) -> Requests:
        """Each user has a token; with `resume` each connection starts from its cursor."""
        subscribe = _request("belfry.sub")
        if resume:
            subscribe = subscribe.replace("/stream", "/stream?last_event_id={cursor}")
        publish = _request("belfry.pub").replace("{publisher}", self.token("publisher", "publish"))
        tokens = [self.token(f"{prefix}{number}") for number in range(users)]
        return Requests(self.port, subscribe, publish, tokens, cursors)

    def topic_requests(self, count: int, prefix: str) -> Requests:
        """`count` users, each reading a topic of the same name, to which the messages go."""
        plain = self.requests(users=0, prefix=prefix)
        assert plain.publish is not None
        tokens = [self.token(f"{prefix}{number}", topics=["*"]) for number in range(count)]
        subscribe = plain.subscribe.replace("/stream", "/stream?topics={user}")
        return Requests(self.port, subscribe, plain.publish.replace('"to":', '"topic":'), tokens)


@dataclass
class Nchan(Server):
    """nginx with nchan, one worker, messages in its shared memory."""

    def missing(self) -> str | None:
        if not shutil.which("nginx"):
            return "nginx is not installed (Debian: apt-get install nginx libnginx-mod-nchan)"
        found = any(Path(MODULES).glob("*nchan*"))
        return None if found else f"nchan is not in {MODULES} (Debian: apt-get install libnginx-mod-nchan)"

    def start(self) -> None:
        self.port = free_port()
        text = (HERE / "peers" / "nchan.conf").read_text(encoding="ascii").replace("PORT", str(self.port))
        process = Process(["nginx", "-p", "{folder}", "-c", "{folder}/nchan.conf"])
        (process.folder / "nchan.conf").write_text(text, encoding="ascii")
        self.processes.append(process)
        process.start(lambda: listens(self.port))


@dataclass
class WithRedis(Server):
    """A Python peer with a Redis beside it: the engine that Belfry would start, on a TCP port."""

    modules: tuple[str, ...] = ()

    def missing(self) -> str | None:
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        engine = next(embedded.engines(os.environ.get("PATH")), None)
        if engine is None:
            raise RuntimeError("neither Valkey nor Redis is on this machine")
        port = free_port()
        store = Process([str(engine.binary), "--port", str(port), "--save", "", "--maxclients", "19000"])
        self.processes.append(store)
        store.start(lambda: listens(port))
        self.port = free_port()
        self.begin(self.command(), {"PEER_REDIS_PORT": str(port)})


@dataclass
class Starlette(WithRedis):
    """starlette, sse-starlette, redis.asyncio, uvicorn with uvloop and httptools: one pub/sub connection each."""

    modules: tuple[str, ...] = ("starlette", "sse_starlette", "uvicorn", "uvloop", "httptools")

    def command(self) -> list[str]:
        options = ["--port", str(self.port), "--log-level", "warning", "--no-access-log", "--backlog", "8192"]
        return [sys.executable, "-m", "uvicorn", "bench.peers.starlette_peer:app", *options]


@dataclass
class FlaskSse(WithRedis):
    """flask-sse under gunicorn with gevent: one pub/sub connection each."""

    modules: tuple[str, ...] = ("flask_sse",)

    def command(self) -> list[str]:
        options = ["-k", "gevent", "--worker-connections", "19000", "--no-control-socket"]
        bind = f"127.0.0.1:{self.port}"
        return [sys.executable, "-m", "gunicorn", "-b", bind, *options, "bench.peers.flask_sse_peer:app"]

    def workers(self) -> list[int]:
        return [pid for pid in self.everyone() if not descendants(pid)]


@dataclass
class Loop(Server):
    """A bare C epoll loop that writes every body to every open connection: this machine's limit. It knows no users."""

    kinds: frozenset[str] = frozenset({"fan-out"})

    def start(self) -> None:
        self.port = free_port()
        self.begin([str(compiled("peers/loop.c")), str(self.port)])


def belfry(count: int = 1) -> Belfry:
    title = "Belfry" if count == 1 else f"Belfry, {count} workers"
    return Belfry("belfry", title, count=count)


def peers() -> list[Server]:
    """Every peer, in the order of the table."""
    return [
        Loop("loop", "C loop (the limit)"),
        Nchan("nchan", "nginx + nchan"),
        Starlette("starlette", "sse-starlette", part=0.2),
        FlaskSse("flask-sse", "flask-sse", once=True, part=0.2, patience=30),
    ]


@contextlib.contextmanager
def started(server: Server) -> Iterator[Server]:
    """The server, running; ended with all its processes."""
    try:
        server.start()
        yield server
    finally:
        server.stop()
