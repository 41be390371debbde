"""Real servers as child processes: Redis or Valkey, gunicorn with Belfry, nginx.

Each has its own directory for sockets, data and log, and ends with its test. Nothing here knows pytest.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self

import redis
import requests

from app.core.identity.tokens import Keyring
from app.core.settings import load
from app.launch.embedded import engines
from tests.stream_client import StreamClient
from tests.tiers import port_share
from tests.waiting import patient, wait_until

REPOSITORY = Path(__file__).parent.parent
TRIED = "BELFRY_TEST_ENGINE"  # the path of a redis-server or valkey-server
HOST = "127.0.0.1"
START_SECONDS = 60.0  # a start takes about 1 s; a busy machine that is half as quick has needed 30 s
STOP_SECONDS = 60.0
PUBLISHER_SECONDS = 7_200  # longer than any module's tests take, however busy the machine is
PORTS = range(12_000, 32_000)  # Linux gives connections those from 32768 on
RECENT_PORTS: deque[int] = deque(maxlen=500)  # whose servers may not listen yet


class Server:
    """One child process in a process group of its own, so that none of its workers outlives it."""

    start_seconds = START_SECONDS

    def __init__(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        # Not pytest's tmp_path: a unix socket's path has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix=f"belfry-{name}-"))
        self.log_path = self.directory / "log"
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> Self:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._ready_or_dead, self.start_seconds, what=f"{self.command()[0]} to be ready")
        return self

    def _ready_or_dead(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.command()} ended with {self._process.returncode}:\n{self.log()}")
        return self.is_ready()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def workers(self) -> list[int]:
        """The process ids of its children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def all_serve(self) -> bool:
        """Whether all workers are there, and none is on its way: until it serves, a file says so.

        The file is beside the numbers that all of them map.
        """
        pids = self.workers()
        maps = [line for pid in pids for line in _maps(pid)]
        folders = {Path(line.split()[-1]).parent for line in maps if "/belfry-metrics-" in line}
        are_there = bool(folders) and len(pids) >= int(self._environment.get("WEB_CONCURRENCY", "1"))
        return are_there and not any(list(folder.glob("booting-*")) for folder in folders)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> int:
        """SIGTERM, as an operator would; answers the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(patient(STOP_SECONDS))

    def kill(self) -> None:
        """SIGKILL for the whole group: nothing of it gets to say a word."""
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process.wait(patient(STOP_SECONDS))
            self._process = None

    def destroy(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class RedisServer(Server):
    """Redis or Valkey on a unix socket, and on a TCP port besides if one is given.

    With `appendonly` it comes back with its data after a kill. Further `options` are the server's own.
    """

    def __init__(
        self,
        *,
        appendonly: bool = False,
        port: int = 0,
        options: Sequence[str] = (),
        password: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("redis", environment)
        self._appendonly = appendonly
        self.port = port
        self._options = options
        self._password = password
        self.socket_path = self.directory / "redis.sock"
        self.url = f"unix://{self.socket_path}"

    @staticmethod
    def binary() -> str | None:
        """The launcher's own choice, unless the environment names another one to try."""
        if TRIED in os.environ:
            return os.environ[TRIED]
        engine = next(engines(os.environ.get("PATH")), None)
        return engine.binary if engine else None

    def command(self) -> Sequence[str | Path]:
        # With `no`, it writes before it answers, so it loses nothing when it is killed. With `everysec`, a slow disk
        # may hold a write back for two seconds after its answer. With `always`, each answer waits for the disk.
        keep = ["--appendonly", "yes", "--appendfsync", "no"] if self._appendonly else ["--save", ""]
        binary = self.binary()
        assert binary is not None, "no Redis and no Valkey on this machine"
        listen = ["--port", str(self.port), "--bind", HOST, "--unixsocket", str(self.socket_path)]
        return [binary, *listen, "--dir", self.directory, *keep, *self._options]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=30, decode_responses=True, password=self._password)

    def clock_offset_seconds(self) -> float:
        """How far its clock is ahead of this one."""
        with self.client() as client:
            seconds, microseconds = client.time()
        return float(seconds + microseconds / 1e6 - time.time())

    def open_channels(self) -> list[str]:
        """Every channel of a log that somebody subscribes to now."""
        with self.client() as client:
            return sorted(channel for channel in client.pubsub_channels() if ":{canary:" not in channel)


class Belfry(Server):
    """gunicorn with the repository's own gunicorn.conf.py, as in production, and with keys of its own in Redis."""

    def __init__(
        self,
        redis_url: str,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        *,
        listen_on: str = HOST,
        host: str = HOST,
        port: int = 0,
    ) -> None:
        """`host` is the address at which tests reach it."""
        self._options = options
        self._host = host
        self.port = port or free_port()
        self.url = f"http://{host}:{self.port}"
        self.settings_environment = {
            "BELFRY_BIND": f"{listen_on}:{self.port}",
            "BELFRY_REDIS_URL": redis_url,
            "BELFRY_REDIS_PREFIX": f"test-{secrets.token_hex(4)}",  # nobody else's messages for everyone
            "BELFRY_SECRET": secrets.token_hex(32),
            "WEB_CONCURRENCY": "1",
            **(environment or {}),
        }
        super().__init__("gunicorn", self.settings_environment)
        self._keyring = Keyring(load(self.settings_environment))
        self.publisher = self.api(self.token("publisher", "publish", seconds=PUBLISHER_SECONDS))

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *self._options]

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/health/live", timeout=1).ok
        except requests.RequestException:
            return False

    def worker(self) -> int:
        """The process id of the only worker."""
        (pid,) = self.workers()
        return pid

    def clock_offset_seconds(self) -> float:
        """How far its clock is ahead of this one, to a second or so: by the `Date` of an answer."""
        date = requests.get(f"{self.url}/health/live", timeout=30).headers["Date"]
        return parsedate_to_datetime(date).timestamp() - time.time()

    def token(
        self,
        user: str,
        *scopes: str,
        seconds: int = 600,
        topics: Sequence[str] = (),
        to: Sequence[str] | None = None,
        now: float | None = None,
    ) -> str:
        return self._keyring.sign(user, scopes, time.time() if now is None else now, seconds, topics=topics, to=to)

    def api(self, token: str = "") -> Api:
        return Api(self.url, token)

    def reader(self, user: str, topics: Sequence[str] = ()) -> Api:
        """The API as `user` sees it, for `/feed`."""
        return self.api(self.token(user, "feed", topics=topics))

    def publish(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Publish one message that must succeed; answers the receipt."""
        answer = self.publisher.publish(message)
        assert answer.status_code in (200, 201), (answer.status_code, answer.text)
        receipt: dict[str, Any] = answer.json()
        return receipt

    def publish_all(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Publish a batch of which every line must succeed."""
        results = self.publisher.publish_lines([json.dumps(message) for message in messages])
        refused = [result for result in results if "code" in result]
        assert not refused, refused[:3]
        return results

    def is_online(self, user: str) -> bool:
        """Whether somebody is connected as `user`, asked by a message that is not kept and so disturbs no history."""
        online: bool = self.publish({"to": user, "transient": True})["deliveries"][0]["online"]
        return online

    def stream(
        self,
        user: str,
        *,
        cursor: str | None = None,
        topics: Sequence[str] = (),
        token: str = "",
        query: str = "",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> StreamClient:
        """A connection of `user` to `/stream`, with `cursor` in the header as a browser sends it."""
        parameters = "&".join(part for part in (f"topics={','.join(topics)}" if topics else "", query) if part)
        sent = {"Authorization": f"Bearer {token or self.token(user, 'feed', topics=topics)}", **(headers or {})}
        if cursor is not None:
            sent["Last-Event-ID"] = cursor
        path = f"/stream?{parameters}" if parameters else "/stream"
        return StreamClient(options.pop("port", self.port), path, sent, host=self._host, **options)


class Api(requests.Session):
    """The HTTP API of one server with one token. Not to be shared between threads."""

    def __init__(self, base_url: str, token: str = "") -> None:
        super().__init__()
        self.trust_env = False
        self._base_url = base_url
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        options.setdefault("timeout", 60)
        return super().request(method, f"{self._base_url}{url!s}", *args, **options)

    def publish(self, message: Mapping[str, Any]) -> requests.Response:
        return self.post("/publish", json=message)

    def publish_lines(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """NDJSON; one result per line, in order."""
        answer = self.post("/publish", data="\n".join(lines).encode(), headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return [json.loads(line) for line in answer.content.splitlines() if line]

    def feed(self, **parameters: str | float) -> dict[str, Any]:
        answer = self.get("/feed", params=parameters)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        page: dict[str, Any] = answer.json()
        return page


class Nginx(Server):
    """nginx in front of one server with the least there is to configure: what a user gets who knows only proxy_pass."""

    def __init__(self, upstream_port: int, *, reloadable: bool = False) -> None:
        super().__init__("nginx")
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._config_path = self.directory / "nginx.conf"
        # One process, unless a master is needed: a worker under another user could not enter the directory.
        self._config_path.write_text(
            f"""
            daemon off;
            master_process {"on" if reloadable else "off"};
            {"user root;" if reloadable and os.geteuid() == 0 else ""}
            pid {self.directory}/pid;
            error_log {self.log_path};
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {self.directory}/body;
                proxy_temp_path {self.directory}/proxy;
                fastcgi_temp_path {self.directory}/fastcgi;
                uwsgi_temp_path {self.directory}/uwsgi;
                scgi_temp_path {self.directory}/scgi;
                server {{
                    listen {HOST}:{self.port};
                    location / {{ proxy_pass http://{HOST}:{upstream_port}; }}
                }}
            }}
            """
        )

    @staticmethod
    def binary() -> str | None:
        return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

    def command(self) -> Sequence[str | Path]:
        binary = self.binary()
        assert binary is not None, "no nginx on this machine"
        return [binary, "-p", self.directory, "-c", self._config_path]

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


class SubPathNginx(Nginx):
    """nginx that serves Belfry below `/push/`. It takes that off the path, unless it `passes_on` the path as it is."""

    def __init__(self, upstream_port: int, *, passes_on: bool = False, header: str = "") -> None:
        super().__init__(upstream_port)
        upstream = f"proxy_pass http://{HOST}:{upstream_port}"
        text = self._config_path.read_text()
        assert f"location / {{ {upstream};" in text
        told = f" proxy_set_header X-Forwarded-Prefix {header};" if header else ""
        below = f"location /push/ {{ {upstream}{'' if passes_on else '/'};{told}"
        self._config_path.write_text(text.replace(f"location / {{ {upstream};", below, 1))


class ShippedNginx(Nginx):
    """nginx with `deploy/nginx.conf`; only places of the machine are changed in it."""

    shipped = "nginx.conf"  # in `deploy/`

    def __init__(self, upstream: str) -> None:
        super().__init__(0)
        self.access_log = self.directory / "access"
        self.upstream(upstream)
        (self.directory / "mime.types").write_text("types { text/html html; }")

    def upstream(self, address: str) -> None:
        """Write the configuration with the server at this address."""
        include = {"include mime.types;": f"include {self.directory}/mime.types;"}
        self.write({"server belfry:8000;": f"server {address};", **include})

    def write(self, places: Mapping[str, str]) -> None:
        """Write the configuration with these places changed in it."""
        temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own = "".join([f"{name}_temp_path {self.directory}/{name};\n" for name in temporary])
        text = f"daemon off; master_process off; pid {self.directory}/pid;\n"
        text += (REPOSITORY / "deploy" / self.shipped).read_text()
        own_places = {
            "listen 8080;": f"listen {HOST}:{self.port};",
            "/dev/stdout": str(self.access_log),
            "/dev/stderr": str(self.log_path),
            "server_tokens off;": own,
            "worker_rlimit_nofile 65536;": "",
            "worker_connections 32768;": "worker_connections 256;",
        }
        self._config_path.write_text(changed(text, {**own_places, **places}))


def changed(text: str, places: Mapping[str, str]) -> str:
    """A shipped configuration with these places changed, each of which it must have."""
    for shipped, here in places.items():
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    return text


def free_port() -> int:
    """A port that nobody has, and that nobody gets before its server listens on it.

    The kernel gives connections higher ones, and other processes of the same test run choose among other ones.
    """
    number, processes = port_share()
    while True:
        port = random.choice(PORTS[number::processes])
        if port in RECENT_PORTS:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            RECENT_PORTS.append(port)
            return port


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP for a process: it stands still when this begins, and goes on afterwards."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def resident_bytes(pid: int) -> int:
    """RSS of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def owner_of(port: int, pids: Iterable[int]) -> int:
    """Which of these processes has a TCP connection from this local port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if _port(row[1]) == port}
    (owner,) = [pid for pid in pids if sockets & _opened_by(pid)]
    return owner


def tcp_connections(pid: int) -> set[tuple[int, int]]:
    """The ports, its own and the other one, of each TCP connection of a process, its listeners included."""
    inodes = _opened_by(pid)
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {(_port(row[1]), _port(row[2])) for row in rows if f"socket:[{row[9]}]" in inodes}


def _opened_by(pid: int) -> set[str]:
    """Return the files that a process has open. The process may close one of them meanwhile."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(descriptor.readlink()))
    return found


def _maps(pid: int) -> list[str]:
    """The lines that tell what a process maps, none of one that has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/maps").read_text().splitlines()
    return []


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def open_descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
