"""What is deployed: nothing runs as root, nothing has a default secret, and the store is out of reach."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.settings import Settings
from app.launch.address import DEFAULT_BIND
from tests.scripted_server import Answer, scripted_server
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("path", ["/v1/", "/openai/"])
def test_nginx_waits_longer_than_any_limit_on_a_whole_answer_and_takes_the_largest_body(path: str) -> None:
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    location = text.partition(f"location {path} {{")[2].partition("}")[0]
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", location)
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(seconds) >= Settings().upstream_whole_seconds + 20
    assert int(megabytes) << 20 >= max(Settings().max_completion_bytes, Settings().max_batch_bytes)


def test_only_the_proxy_is_published() -> None:
    published = [name for name, service in SERVICES.items() if "ports" in service]
    assert published == ["nginx", "scaled-nginx", "cluster-nginx"]


def test_the_store_is_in_a_network_without_a_way_out_that_only_the_app_shares() -> None:
    assert COMPOSE["networks"]["store"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if "store" in service["networks"]}
    apps, stores = {"belfry", "scaled-belfry", "cluster-belfry"}, {"valkey", *[f"cluster-{n}" for n in range(1, 7)]}
    assert inside == apps | stores | {"cluster-made"}
    assert all(SERVICES[name]["networks"] == ["store"] for name in inside - apps)


def test_no_secret_has_a_default() -> None:
    environment = SERVICES["belfry"]["environment"]
    assert environment["BELFRY_SECRET"].startswith("${BELFRY_SECRET:?")
    assert environment["BELFRY_ADMIN_PASSWORD_HASH"] == "${BELFRY_ADMIN_PASSWORD_HASH:-}"
    assert "BELFRY_DEMO" not in environment


def test_the_app_can_write_nowhere_and_become_nobody_else() -> None:
    app = SERVICES["belfry"]
    assert app["read_only"] is True
    assert app["cap_drop"] == ["ALL"]
    assert all("no-new-privileges:true" in service["security_opt"] for service in SERVICES.values())


def test_the_image_runs_without_root() -> None:
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0
    assert not re.search(r"BELFRY_SECRET|PASSWORD", DOCKERFILE)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-build.txt"])
def test_every_package_is_locked_by_its_hash(name: str) -> None:
    text = (ROOT / name).read_text()
    packages = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==", text, re.MULTILINE | re.IGNORECASE)
    blocks = re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(packages) == len(blocks)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "--require-hashes" in (ROOT / "run").read_text()


def test_the_image_installs_by_hash_and_has_all_that_it_copies() -> None:
    installs = re.findall(r"pip install [^\n]*", DOCKERFILE)
    assert [line for line in installs if "--require-hashes" not in line and "--no-index" not in line] == []
    let_in = {line.removeprefix("!").rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    for names in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in names.split():
            assert (ROOT / name).exists()
            assert name.rstrip("/") in let_in


def test_the_image_starts_and_checks_modules_that_there_are() -> None:
    modules = re.findall(r"\bbelfry_push(?:\.\w+)+", DOCKERFILE)
    assert len(modules) == 3
    for module in modules:
        assert find_spec(module.replace("belfry_push", "app", 1)), module


def health_check(bind: str) -> int:
    command = [sys.executable, "-m", "app.launch.address"]
    return subprocess.run(command, cwd=ROOT, env={"BELFRY_BIND": bind}, check=False, capture_output=True).returncode


def test_the_health_check_asks_where_the_server_listens() -> None:
    with scripted_server(Answer()) as script:
        assert health_check(script.url.removeprefix("http://")) == 0
    assert script.asked[0].path == "/health/live"
    assert health_check(f"127.0.0.1:{free_port()}") == 1
    assert health_check("nonsense") == 2


def test_the_health_check_asks_the_default_address_where_none_is_set() -> None:
    assert Settings().bind == DEFAULT_BIND


RELEASE: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())


def test_a_release_needs_the_packages_test_and_each_job_has_only_the_rights_that_it_uses() -> None:
    jobs = RELEASE["jobs"]
    assert RELEASE["permissions"] == {"contents": "read"}
    assert "permissions" not in jobs["package"]
    assert any("tests/test_package.py" in step.get("run", "") for step in jobs["package"]["steps"])
    assert jobs["pypi"]["needs"] == jobs["image"]["needs"] == "package"
    assert jobs["pypi"]["permissions"] == {"id-token": "write"}
    assert "PYPI_TOKEN" not in str(RELEASE)


@pytest.mark.parametrize(("secret", "told"), [("", "BELFRY_SECRET is not set"), ("short", "BELFRY_SECRET must be 32")])
def test_without_a_good_secret_the_server_stops_with_one_line(secret: str, told: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "BELFRY_SECRET": secret, "BELFRY_REDIS_URL": "redis://nowhere"}
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"belfry: {told}")
