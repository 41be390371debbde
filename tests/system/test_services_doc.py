"""Every example of docs/services.md is run against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import REPOSITORY, Belfry
from tests.system.conftest import StartBelfry

PAGE = REPOSITORY / "docs" / "services.md"
EXAMPLES: dict[str, str] = dict(re.findall(r"^```\w+ (\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
# What is called at the end of a Python example. The same order is shipped twice, as a job that is retried does.
CALLS = {
    "flask": """
client = app.test_client()
assert [client.post("/orders/17/ship").status_code for _ in range(2)] == [204, 204]
assert client.get("/belfry-token").json["token"].count(".") == 2
belfry.close()
""",
    "django": """
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
ship(17)
ship(17)
try:
    with transaction.atomic():
        ship(18)
        raise RuntimeError
except RuntimeError:
    pass
belfry.close()
""",
    "celery": """
message = {"to": "alice", "id": "order-17-shipped", "title": "Order 17 shipped"}
assert [publish.apply(args=[message]).get() for _ in range(2)] == [True, True]
assert publish.apply(args=[{**message, "title": "Other"}]).get() is False
belfry.close()
""",
    "fastapi": """
from starlette.testclient import TestClient
with TestClient(app) as client:
    assert [client.post("/orders/17/ship").status_code for _ in range(2)] == [204, 204]
""",
}
COMMANDS = {
    "node": ("publish.mjs", ("node", "publish.mjs")),
    "php": ("publish.php", ("php", "publish.php")),
    "ruby": ("publish.rb", ("ruby", "publish.rb")),
    "go": ("publish.go", ("go", "run", "publish.go")),
    "java": ("Publish.java", ("java", "Publish.java")),
}


@pytest.fixture
def belfry(start_belfry: StartBelfry) -> Belfry:
    """One for each example: all of them use the same ids."""
    return start_belfry()


@pytest.fixture
def service(belfry: Belfry) -> dict[str, str]:
    """The environment of a service."""
    return {
        **os.environ,
        "BELFRY_URL": belfry.url,
        "BELFRY_SECRET": belfry.settings_environment["BELFRY_SECRET"],
        "BELFRY_TOKEN": belfry.token("shop", "publish"),
        "PYTHONPATH": str(REPOSITORY / "clients/python/src"),
    }


def titles(belfry: Belfry) -> list[str]:
    return [message["title"] for message in belfry.reader("alice").feed()["messages"]]


def test_each_example_is_known() -> None:
    assert set(EXAMPLES) == {*CALLS, *COMMANDS}


@pytest.mark.parametrize("name", CALLS)
def test_python(belfry: Belfry, service: dict[str, str], name: str, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(EXAMPLES[name] + CALLS[name])
    told = subprocess.run(
        [sys.executable, "service.py"], cwd=tmp_path, env=service, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert titles(belfry) == ["Order 17 shipped"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("node", marks=pytest.mark.needs("node")),
        pytest.param("php", marks=pytest.mark.needs("php")),
        pytest.param("ruby", marks=pytest.mark.needs("ruby")),
        # Nightly, because their compilers take more time to install and to start than the rest of this file together.
        pytest.param("go", marks=[pytest.mark.needs("go"), pytest.mark.nightly]),
        pytest.param("java", marks=[pytest.mark.needs("java", "javac"), pytest.mark.nightly]),
    ],
)
@pytest.mark.timeout(180)
def test_other_languages(belfry: Belfry, service: dict[str, str], name: str, tmp_path: Path) -> None:
    file, command = COMMANDS[name]
    (tmp_path / file).write_text(EXAMPLES[name])
    told = subprocess.run(command, cwd=tmp_path, env=service, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["deliveries"][0]["to"] == "alice"
    assert titles(belfry) == ["Order shipped"]
