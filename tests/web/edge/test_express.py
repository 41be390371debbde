"""The short way and Flask's way answer every request alike.

Each request is sent twice: as it is, and once more with an `Origin` that nobody allows, which the short way leaves to
Flask and Flask ignores.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.test import Client, TestResponse

from app import create_app, metrics
from app.core.identity.tokens import Keyring
from app.core.settings import Settings
from tests.servers import RedisServer

FOREIGN = {"Origin": "https://elsewhere.example"}
JSON = {"Content-Type": "application/json"}
SECRET = "a-secret-of-more-than-32-bytes-for-tests"


@dataclass
class Site:
    """The application, and which requests came to Flask."""

    app: Flask
    keyring: Keyring
    seen: list[str] = field(default_factory=list)

    def token(self, scopes: str = "publish feed", seconds: int = 600, user: str = "shop", **claims: Any) -> str:
        return self.keyring.sign(user, scopes.split(), time.time(), seconds, **claims)

    def bearer(self, scopes: str = "publish feed", **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(scopes, **claims)}"}

    def ask(self, method: str = "POST", path: str = "/publish", **options: Any) -> TestResponse:
        self.seen.clear()
        return Client(self.app).open(path, method=method, **options)

    def both(self, headers: dict[str, str], **options: Any) -> tuple[TestResponse, TestResponse]:
        """The answer of the short way, if the request has one, and Flask's."""
        return self.ask(headers=headers, **options), self.ask(headers=headers | FOREIGN, **options)


def site_of(redis_server: RedisServer, **settings: Any) -> Site:
    chosen = Settings(**{"redis_url": redis_server.url, "redis_prefix": "express", "secret": SECRET, **settings})
    site = Site(create_app(chosen), Keyring(chosen))
    site.app.before_request(lambda: site.seen.append(request.path))
    return site


@pytest.fixture(scope="module")
def site(redis_server: RedisServer) -> Site:
    return site_of(redis_server)


def shown(answer: TestResponse) -> tuple[str, list[tuple[str, str]], str]:
    """All of an answer, without what differs between any two."""
    fields = [(name, re.sub(r"^\d+$", "0", value)) for name, value in answer.headers.items()]
    text = re.sub(r'"(id|offset)":("\w{24}"|\d+)', r'"\1":0', answer.text)
    return answer.status, fields, text


BODIES: dict[str, bytes] = {
    "a user": b'{"to":"alice","title":"hi"}',
    "several": b'{"to":["alice","bob","alice"]}',
    "a topic": '{"topic":"n\u00e9ws","data":{"b":1,"a":[null,1.5]}}'.encode(),
    "everyone": b'{"everyone":true,"transient":true}',
    "not JSON": b"{",
    "empty": b"",
    "no target": b"{}",
    "a bad name": b'{"to":"a b"}',
    "an unknown field": b'{"to":"alice","nonsense":1}',
    "too many": b'{"to":[' + b",".join(b'"u%d"' % number for number in range(1_001)) + b"]}",
    "too long": b'{"to":"alice","body":"' + b"x" * 65_536 + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_message(site: Site, body: bytes, scheme: str) -> None:
    short, long = site.both(site.bearer() | JSON, data=body, base_url=f"{scheme}://localhost")
    assert site.seen == ["/publish"], "the second one went to Flask"
    assert shown(short) == shown(long)


def test_what_succeeds_does_not_come_to_flask(site: Site) -> None:
    assert site.ask(headers=site.bearer() | JSON, data=BODIES["a user"]).status_code == 201
    assert site.seen == []


def test_a_failure_is_told_by_flask_and_counted_once(site: Site) -> None:
    before = metrics.REFUSALS.labels("missing_target")._value.get()
    assert site.ask(headers=site.bearer() | JSON, data=b"{}").status_code == 422
    assert metrics.REFUSALS.labels("missing_target")._value.get() == before + 1


@pytest.mark.parametrize("status", [201, 200, 409])
def test_a_message_that_was_sent_before(site: Site, status: int) -> None:
    """A first time, again, and with other content under the same id."""
    outcomes = []
    for way in ({}, FOREIGN):
        body = b'{"to":"carol","id":"again-%d%d","title":"%d"}'
        for title in {201: (1,), 200: (1, 1), 409: (1, 2)}[status]:
            answer = site.ask(headers=site.bearer() | JSON | way, data=body % (status, bool(way), title))
        assert answer.status_code == status
        outcomes.append((answer.status, [name for name, _ in answer.headers], sorted(answer.json or ())))
    assert outcomes[0] == outcomes[1]


HEADERS: dict[str, dict[str, str]] = {
    "no content type": {},
    "a charset": {"Content-Type": "application/json; charset=utf-8"},
    "a longer type": {"Content-Type": "application/jsonx"},
    "lines": {"Content-Type": "application/x-ndjson"},
    "a form": {"Content-Type": "application/x-www-form-urlencoded"},
    "an odd host": JSON | {"Host": "ex ample:99999"},
    "a wrong length": JSON | {"Content-Length": "9999999"},
    "a length that is none": JSON | {"Content-Length": "x"},
    "a foreign site": JSON | {"Sec-Fetch-Site": "cross-site"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_odd_headers(site: Site, headers: dict[str, str]) -> None:
    short, long = site.both(site.bearer() | headers, data=BODIES["a user"])
    assert shown(short) == shown(long)


def test_bad_credentials(site: Site) -> None:
    bad = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic Zm9vOmJhcg=="},
        {"Authorization": f"bEaReR   {site.token()} "},
        {"Authorization": f"Bearer {site.token(seconds=-1)}"},
        site.bearer("feed"),
        site.bearer("publish", to=["user:bob"]),
    ]
    for headers in bad:
        short, long = site.both(headers | JSON, data=BODIES["a user"])
        assert shown(short) == shown(long), headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/publish", "/publish/", "//publish", "/publish?x=1"])
def test_other_methods_and_paths(site: Site, method: str, path: str) -> None:
    short, long = site.both(site.bearer() | JSON, method=method, path=path, data=b"")
    assert shown(short) == shown(long)


def test_limits(redis_server: RedisServer) -> None:
    """Both ways take from the same bucket, and a refusal takes once."""
    site = site_of(redis_server, publish_per_minute=4, refused_tokens_per_minute=4)
    for way, remaining in (({}, "3"), (FOREIGN, "2"), ({}, "1"), (FOREIGN, "0")):
        answer = site.ask(headers=site.bearer() | JSON | way, data=BODIES["a user"])
        assert answer.headers["RateLimit-Remaining"] == remaining
    short, long = site.both(site.bearer() | JSON, data=BODIES["a user"])
    assert short.status_code == 429
    assert "Retry-After" in short.headers
    assert shown(short) == shown(long)
    guesses = [site.ask(headers={"Authorization": "Bearer guess"} | JSON, data=b"{}") for _ in range(5)]
    assert [answer.status_code for answer in guesses] == [401] * 4 + [429]


def test_with_cors(redis_server: RedisServer) -> None:
    site = site_of(redis_server, cors_origins="https://app.example.com")
    short, long = site.both(site.bearer() | JSON, data=BODIES["a user"])
    assert short.headers["Vary"] == "Origin"
    assert shown(short) == shown(long)
    allowed = site.ask(headers=site.bearer() | JSON | {"Origin": "https://app.example.com"}, data=BODIES["a user"])
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


def test_a_store_that_is_away_names_the_id_for_a_retry() -> None:
    settings = Settings(redis_url="unix:///nowhere/redis.sock", secret=SECRET, redis_timeout_seconds=0.2)
    site = Site(create_app(settings), Keyring(settings))
    short, long = site.both(site.bearer() | JSON, data=b'{"to":"alice","id":"mine"}')
    assert short.status_code == 503
    assert shown(short) == shown(long)


def test_a_bug_is_a_problem_and_no_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.web.api.publish.parse", fail)
    short, long = site.both(site.bearer() | JSON, data=BODIES["a user"])
    assert short.status_code == 500
    assert shown(short) == shown(long)
