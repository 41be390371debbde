"""What deploy/ has for several nodes: parsers accept it, and its times fit Belfry's own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.settings import Settings, load
from app.metrics import STREAMS
from app.web.edge.loopback import is_loopback
from tests.conftest import program

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
END_SECONDS = 3  # gunicorn's graceful timeout is so much longer than both of the times before


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [each for each in MANIFESTS if each["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


def pod_settings() -> Settings:
    """The settings with which a pod starts."""
    values = {each["name"]: each["value"] for each in container()["env"] if "value" in each}
    return load({**values, "BELFRY_SECRET": "s" * 32, "BELFRY_REDIS_URL": "redis://h"})


def accepted(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_nginx_accepts_the_configuration_for_several_nodes(tmp_path: Path) -> None:
    binary = program("nginx")
    text = (DEPLOY / "nodes" / "nginx.conf").read_text()
    for shipped, here in {
        "worker_rlimit_nofile 65536;": f"pid {tmp_path}/pid;",
        "worker_connections 32768;": "worker_connections 256;",
        "/dev/stdout": f"{tmp_path}/access",
        "/dev/stderr": f"{tmp_path}/error",
        "server_tokens off;": "".join(
            [f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        ),
    }.items():
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    (tmp_path / "nginx.conf").write_text(text)
    accepted([binary, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"])


def test_haproxy_accepts_its_configuration() -> None:
    accepted([program("haproxy"), "-c", "-f", DEPLOY / "nodes" / "haproxy.cfg"])


def test_proxies_ask_a_demo_for_a_host_that_it_answers() -> None:
    haproxy = re.findall(r"http-check send hdr Host (\S+)", (DEPLOY / "nodes" / "haproxy.cfg").read_text())
    nginx = [re.findall(r'"" (\S+);', (DEPLOY / name).read_text()) for name in ("nginx.conf", "nodes/nginx.conf")]
    assert all([haproxy, *nginx]), (haproxy, nginx)
    hosts = {*haproxy, *[host for found in nginx for host in found]}
    assert all(is_loopback(host) for host in hosts), hosts


@pytest.mark.parametrize("name", ["nodes/nginx.conf", "nodes/haproxy.cfg"])
def test_publishing_has_a_short_time_and_streams_and_whole_answers_a_long_one(name: str) -> None:
    text = (DEPLOY / name).read_text()
    if name.endswith(".cfg"):
        publishing = text.partition("\nbackend publishing")[2].partition("\nbackend ")[0]
        (short,) = re.findall(r"timeout server (\d+)s", publishing)
        usual, *wholes = re.findall(r"timeout server (\d+)s ", text.replace(publishing, ""))
    else:
        usual, short, *wholes = re.findall(r"proxy_read_timeout (\d+)s;", text)
    settings = Settings()
    assert int(short) == 10
    assert int(usual) > 2 * settings.heartbeat_seconds
    assert wholes
    assert all(int(whole) >= settings.upstream_whole_seconds + 20 for whole in wholes)


def test_systemd_accepts_the_unit_and_waits_until_a_server_has_left(tmp_path: Path) -> None:
    text = (DEPLOY / "belfry.service").read_text()
    (stop_seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    settings = Settings()
    assert int(stop_seconds) > settings.lame_duck_seconds + settings.drain_seconds + END_SECONDS
    (started,) = re.findall(r"^ExecStart=(\S+) -c python:belfry_push\.server\.configuration$", text, re.MULTILINE)
    (tmp_path / "belfry.service").write_text(text.replace(started, "/bin/true"))
    accepted([program("systemd-analyze"), "verify", tmp_path / "belfry.service"])


def test_kubernetes_asks_what_there_is_and_waits_until_a_pod_has_left() -> None:
    probes = {name: container()[f"{name}Probe"] for name in ("liveness", "readiness", "startup")}
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"liveness": "/health/live", "readiness": "/health/ready", "startup": "/health/live"}
    settings = pod_settings()
    notices_seconds = probes["readiness"]["periodSeconds"] * probes["readiness"]["failureThreshold"]
    assert settings.lame_duck_seconds > notices_seconds, "a pod must not close its door before it counts as unready"
    leaves_seconds = settings.lame_duck_seconds + settings.drain_seconds + END_SECONDS
    assert pod()["terminationGracePeriodSeconds"] > leaves_seconds


def test_kubernetes_keeps_pods_while_nodes_are_drained_and_scales_on_streams() -> None:
    selected = manifest("Deployment")["spec"]["selector"]["matchLabels"]
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selected
    assert manifest("Service")["spec"]["selector"] == selected
    scaler = manifest("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == manifest("Deployment")["metadata"]["name"]
    metrics = [each["pods"]["metric"]["name"] for each in scaler["metrics"] if each["type"] == "Pods"]
    (family,) = STREAMS.describe()
    assert metrics == [family.name]


def test_a_pod_can_write_nowhere_and_become_nobody_else() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert container()["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not [each for each in container()["env"] if each["name"] == "BELFRY_SECRET" and "value" in each]
