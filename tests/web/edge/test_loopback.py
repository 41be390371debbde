"""The demo answers for this machine's own names only: DNS rebinding leads a browser here under another one."""

from __future__ import annotations

import secrets

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from app import create_app
from app.core.settings import Settings
from app.web.edge.loopback import host_of

OWN = [
    *("localhost", "localhost:8000", "localhost:", "LOCALHOST:1", "localhost.", "localhost.:8000"),
    *("127.0.0.1", "127.0.0.1:8000", "127.1.2.3", "127.255.255.255:80", "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]"),
]
FOREIGN = [
    *("rebind.example:8000", "rebind.example", "localhost.rebind.example", "127.0.0.1.nip.io", "localhost:8000:1", ""),
    *("128.0.0.1", "192.168.0.1", "0.0.0.0", "[::]", "[::2]", "::1", "[localhost]", "[127.0.0.1", "localhost@x", "x]y"),
    *(
        "notlocalhost",
        "evil.localhost",
        "localhost:8000x",
        "rebind.example:localhost",
        "127.0.0.1:x",
        "2130706433",
        "127.1",
        "[fe80::1%lo]",
        "lócalhost",
    ),
]
PATHS = ["/", "/login", "/static/belfry.js", "/metrics", "/health/live", "/nothing", "/publish", "/stream"]


def demo(bind: str = "127.0.0.1:8000") -> Flask:
    return create_app(Settings(secret=secrets.token_hex(32), demo=True, bind=bind, redis_url="redis://127.0.0.1:1/0"))


@pytest.fixture(scope="module")
def app() -> Flask:
    return demo()


@pytest.mark.parametrize("host", OWN)
def test_own_names_are_answered_with_any_port(app: Flask, host: str) -> None:
    assert app.test_client().get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_host_is_refused_with_the_reason(app: Flask, host: str) -> None:
    answer = app.test_client().get("/health/live", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json
    assert answer.json["code"] == "wrong_host"
    assert "localhost" in answer.json["detail"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_no_route_is_open_to_another_host(app: Flask, method: str, path: str) -> None:
    sent = {
        "Host": "rebind.example:8000",
        "Origin": "http://rebind.example:8000",
        "Access-Control-Request-Method": "POST",
        "Authorization": "Bearer x",
    }
    answer = app.test_client().open(path, method=method, headers=sent, data={"name": "admin"})
    assert answer.status_code == 421
    assert "Set-Cookie" not in answer.headers


def test_an_absent_host_is_another_host(app: Flask) -> None:
    environ = EnvironBuilder(path="/login").get_environ()
    del environ["HTTP_HOST"]
    _, status, _ = run_wsgi_app(app, environ)
    assert status.startswith("421 ")


@pytest.mark.parametrize(
    ("bind", "host"),
    [("belfry.lan:80", "Belfry.lan:9"), ("192.168.7.7:80", "192.168.7.7"), ("[fd00::7]:80", "[FD00::7]:1")],
)
def test_the_host_that_it_is_bound_to_is_its_own(bind: str, host: str) -> None:
    client = demo(bind).test_client()
    assert client.get("/health/live", headers={"Host": host}).status_code == 200
    assert client.get("/health/live", headers={"Host": "localhost"}).status_code == 200
    assert client.get("/health/live", headers={"Host": "other.lan"}).status_code == 421


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", ":8000", "[::]:8000", "unix:/tmp/belfry.sock", "fd://3"])
def test_a_server_bound_to_everything_has_no_further_host(bind: str) -> None:
    client = demo(bind).test_client()
    for host in ("0.0.0.0:8000", "[::]", "", "unix"):
        assert client.get("/health/live", headers={"Host": host}).status_code == 421


def test_without_the_demo_every_host_is_answered() -> None:
    app = create_app(Settings(secret=secrets.token_hex(32), redis_url="redis://127.0.0.1:1/0"))
    assert app.test_client().get("/health/live", headers={"Host": "belfry.example"}).status_code == 200


def test_a_host_has_one_spelling() -> None:
    assert {host_of(text) for text in ("[::1]:80", "[0:0::1]", "[::0001]")} == {"::1"}
