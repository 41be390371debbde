"""The set-ups of docker-compose.yml, started on this machine with the commands and the environment that it gives."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.settings import load
from tests.cluster import RedisCluster
from tests.conftest import absent
from tests.servers import REPOSITORY, Belfry, RedisServer
from tests.waiting import wait_until

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
APPS = {"single": "belfry", "scaled": "scaled-belfry", "cluster": "cluster-belfry"}
PROXIES = {"single": "nginx", "scaled": "scaled-nginx", "cluster": "cluster-nginx"}
GIVEN = {"BELFRY_SECRET": "s" * 32}
ELSEWHERE = ("BELFRY_BIND", "BELFRY_REDIS_URL", "WEB_CONCURRENCY")  # on this machine


def environment(app: str) -> dict[str, str]:
    """What Docker gives the service, where the shell has `GIVEN`."""

    def value(found: re.Match[str]) -> str:
        return GIVEN.get(found[1], found[3] if found[2] == "-" else "")

    given = SERVICES[app]["environment"].items()
    return {name: re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, str(text)) for name, text in given}


def started_by(proxy: str) -> set[str]:
    """The services that `up` starts for a proxy: it and all on which it depends."""
    found, due = set(), [proxy]
    while due:
        name = due.pop()
        found.add(name)
        due += [each for each in SERVICES[name].get("depends_on", {}) if each not in found]
    return found


def store_options(service: str) -> list[str]:
    """The words after `valkey-server`."""
    command = SERVICES[service]["command"]
    words = shlex.split(command[-1].replace("$$(hostname)", "localhost")) if command[0] == "sh" else command
    return list(words[words.index("valkey-server") + 1 :])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    if RedisServer.binary() is None:
        absent("Redis or Valkey")
    with ExitStack() as stack:
        yield stack


def nodes(stack: ExitStack, profile: str, store_url: str) -> list[Belfry]:
    """As many as the file asks for, ready to serve."""
    app = APPS[profile]
    count = SERVICES[app].get("deploy", {}).get("replicas", 1)
    given = {name: value for name, value in environment(app).items() if name not in ELSEWHERE}
    servers = []
    for _ in range(count):
        server = Belfry(store_url, {**given, "BELFRY_REDIS_PREFIX": "belfry", "BELFRY_LAME_DUCK_SECONDS": "0"})
        stack.callback(server.destroy)
        servers.append(server.start())

    def are_ready() -> bool:
        return all(server.api().get("/health/ready").json() == {"status": "ready"} for server in servers)

    wait_until(are_ready, 30, what="all nodes to be ready")
    return servers


def deliver(servers: list[Belfry]) -> None:
    """A stream at the last node gets what is published at the first one."""
    with servers[-1].stream("alice") as stream:
        stream.wait_for("ready", 30)
        servers[0].publish({"to": "alice", "id": "one"})
        servers[0].publish({"everyone": True, "id": "all"})
        assert {message["id"] for message in stream.wait_for_messages(2, 30)} == {"one", "all"}


@pytest.mark.parametrize("profile", APPS)
def test_a_set_up_is_complete_and_starts_nothing_of_another(profile: str) -> None:
    names = started_by(PROXIES[profile])
    assert APPS[profile] in names
    expected = [] if profile == "single" else [profile]
    for name in names - {"valkey"}:
        assert SERVICES[name].get("profiles", []) == expected, name
    for service in (SERVICES[name] for name in names):
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (REPOSITORY / source).is_file(), source
    load(environment(APPS[profile]))


def test_nodes_share_the_name_that_the_proxy_resolves_and_leave_later_than_it_notices() -> None:
    text = Path(REPOSITORY / "deploy" / "nodes" / "nginx.conf").read_text(encoding="utf-8")
    assert "set $belfry http://belfry:8000;" in text
    (valid,) = re.findall(r"valid=(\d+)s", text)
    for proxy in PROXIES.values():
        assert "./deploy/nodes/nginx.conf:/etc/nginx/nginx.conf:ro" in SERVICES[proxy]["volumes"]
    for profile in ("scaled", "cluster"):
        service = SERVICES[APPS[profile]]
        assert service["networks"][profile]["aliases"] == ["belfry"]
        assert SERVICES[PROXIES[profile]]["networks"] == [profile]
        settings = load(environment(APPS[profile]))
        assert settings.lame_duck_seconds > int(valid)
        stop = int(service["stop_grace_period"].removesuffix("s"))
        assert stop > settings.lame_duck_seconds + settings.drain_seconds + 3


@pytest.mark.parametrize("profile", ["single", "scaled"])
def test_nodes_with_one_store_deliver_to_each_other(stack: ExitStack, profile: str) -> None:
    server = RedisServer(options=store_options("valkey"))
    stack.callback(server.destroy)
    deliver(nodes(stack, profile, server.start().url))


def test_nodes_with_a_cluster_whose_nodes_are_known_by_name_deliver_to_each_other(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cluster.CLUSTER_OPTIONS", tuple(store_options("cluster-1")))
    cluster = RedisCluster(stack)
    deliver(nodes(stack, "cluster", cluster.url))


def test_all_nodes_of_the_cluster_are_made_and_started_alike() -> None:
    names = [f"cluster-{number}" for number in range(1, 7)]
    assert list(SERVICES["cluster-made"]["depends_on"]) == names
    assert {tuple(store_options(name)) for name in names} == {tuple(store_options("cluster-1"))}
    assert all(SERVICES[name]["volumes"] == [f"{name}:/data"] for name in names)
    url = environment("cluster-belfry")["BELFRY_REDIS_URL"]
    assert {part.partition(":")[0] for part in url.partition("://")[2].split(",")} <= set(names)
