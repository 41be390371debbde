"""`/publish` and `/stream` answer every kind of request without Flask, and carry what all answers carry."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.datastructures import Headers
from werkzeug.test import Client, EnvironBuilder, TestResponse

from app import create_app, metrics
from app.core.identity.tokens import Keyring
from app.core.settings import Settings
from app.server.sockets import REPEAT
from app.web.edge.auth import COOKIE, HOST_COOKIE
from tests.servers import RedisServer

APP = "https://app.example.com"
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


def site_of(redis_server: RedisServer, **settings: Any) -> Site:
    chosen = Settings(**{"redis_url": redis_server.url, "redis_prefix": "endpoint", "secret": SECRET, **settings})
    site = Site(create_app(chosen), Keyring(chosen))
    site.app.before_request(lambda: site.seen.append(request.path))
    return site


@pytest.fixture(scope="module")
def site(redis_server: RedisServer) -> Site:
    return site_of(redis_server)


def code(answer: TestResponse) -> str:
    """The code of a refusal, "" for an answer that is none."""
    is_problem = answer.mimetype == "application/problem+json"
    return str((answer.json or {}).get("code", "")) if is_problem else ""


BODIES: dict[str, tuple[bytes, int, str]] = {
    "a user": (b'{"to":"alice","title":"hi"}', 201, ""),
    "several": (b'{"to":["alice","bob","alice"]}', 201, ""),
    "a topic": ('{"topic":"n\u00e9ws","data":{"b":1,"a":[null,1.5]}}'.encode(), 201, ""),
    "everyone": (b'{"everyone":true,"transient":true}', 201, ""),
    "not JSON": (b"{", 400, "malformed_json"),
    "empty": (b"", 400, "malformed_json"),
    "no target": (b"{}", 422, "missing_target"),
    "too many": (b'{"to":[' + b",".join(b'"u%d"' % number for number in range(1_001)) + b"]}", 422, ""),
    "too long": (b'{"to":"alice","body":"' + b"x" * 65_536 + b'"}', 413, "body_too_large"),
}


@pytest.mark.parametrize(("body", "status", "told"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_message_is_answered_without_flask(site: Site, body: bytes, status: int, told: str, scheme: str) -> None:
    answer = site.ask(headers=site.bearer() | JSON, data=body, base_url=f"{scheme}://localhost")
    assert answer.status_code == status, answer.text
    assert code(answer) == told or not told
    assert site.seen == []
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert ("Strict-Transport-Security" in answer.headers) is (scheme == "https")


def test_all_answers_carry_the_fields_that_flasks_carry(site: Site) -> None:
    """The same refusal of an endpoint and of a view of Flask."""
    ours, flasks = site.ask(), site.ask("GET", "/feed")
    assert (ours.status, code(ours)) == (flasks.status, code(flasks)) == ("401 UNAUTHORIZED", "token_missing")
    assert site.seen == ["/feed"]
    assert sorted(ours.headers.keys()) == sorted(flasks.headers.keys())


def test_a_refusal_is_counted_once(site: Site) -> None:
    before = metrics.REFUSALS.labels("missing_target")._value.get()
    assert site.ask(headers=site.bearer() | JSON, data=b"{}").status_code == 422
    assert metrics.REFUSALS.labels("missing_target")._value.get() == before + 1


def test_a_message_that_was_sent_before(site: Site) -> None:
    statuses = [
        site.ask(headers=site.bearer() | JSON, data=b'{"to":"carol","id":"again","title":"%d"}' % title).status_code
        for title in (1, 1, 2)
    ]
    assert statuses == [201, 200, 409]


HEADERS: dict[str, tuple[dict[str, str], int]] = {
    "no content type": ({}, 415),
    "a charset": ({"Content-Type": "application/json; charset=utf-8"}, 201),
    "a longer type": ({"Content-Type": "application/jsonx"}, 415),
    "lines": ({"Content-Type": "application/x-ndjson"}, 200),
    "lines with a charset": ({"Content-Type": "application/x-ndjson; charset=utf-8"}, 200),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "a page of a foreign site": (JSON | FOREIGN | {"Sec-Fetch-Site": "cross-site"}, 201),
}


@pytest.mark.parametrize(("headers", "status"), HEADERS.values(), ids=HEADERS)
def test_odd_headers(site: Site, headers: dict[str, str], status: int) -> None:
    answer = site.ask(headers=site.bearer() | headers, data=BODIES["a user"][0])
    assert answer.status_code == status
    assert site.seen == []


def test_bad_credentials(site: Site) -> None:
    expected = {
        "": (401, "token_missing"),
        "Bearer": (401, "token_invalid"),
        "Bearer nonsense": (401, "token_invalid"),
        "Basic Zm9vOmJhcg==": (401, "token_missing"),
        f"bEaReR   {site.token()} ": (201, ""),
        f"Bearer {site.token(seconds=-1)}": (401, "token_expired"),
        f"Bearer {site.token('feed')}": (403, "scope_missing"),
        f"Bearer {site.token('publish', to=['user:bob'])}": (403, "target_forbidden"),
    }
    for header, outcome in expected.items():
        answer = site.ask(headers={"Authorization": header} | JSON, data=BODIES["a user"][0])
        assert (answer.status_code, code(answer)) == outcome, header


@pytest.mark.parametrize("path", ["/publish", "/publish?x=1", "/stream"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused_and_the_right_ones_named(site: Site, method: str, path: str) -> None:
    answer = site.ask(method, path, headers=site.bearer())
    assert (answer.status_code, code(answer)) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == ("GET, HEAD, OPTIONS" if path == "/stream" else "OPTIONS, POST")


def test_options_names_the_methods(site: Site) -> None:
    answer = site.ask("OPTIONS")
    assert (answer.status_code, answer.headers["Allow"], answer.data) == (200, "OPTIONS, POST", b"")


def test_a_head_request_gets_the_head_of_a_stream_and_opens_none(site: Site) -> None:
    answer = site.ask("HEAD", "/stream", headers=site.bearer())
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "text/event-stream", b"")
    assert len(site.app.extensions["belfry.hub"]) == 0
    refused = site.ask("HEAD", "/stream")
    assert (refused.status_code, refused.data) == (401, b"")


def test_other_paths_come_to_flask(site: Site) -> None:
    assert site.ask("GET", "/health/live").status_code == 200
    assert site.seen == ["/health/live"]
    assert code(site.ask(path="/publish/")) == "not_found"


def test_a_base_address_may_end_with_a_slash(site: Site) -> None:
    answer = site.ask(
        headers=site.bearer() | JSON, data=BODIES["a user"][0], environ_overrides={"PATH_INFO": "//publish"}
    )
    assert (answer.status_code, site.seen) == (201, [])


def test_limits(redis_server: RedisServer) -> None:
    site = site_of(redis_server, publish_per_minute=3, refused_tokens_per_minute=4)
    for remaining in ("2", "1", "0"):
        answer = site.ask(headers=site.bearer() | JSON, data=BODIES["a user"][0])
        assert answer.headers["RateLimit-Remaining"] == remaining
    refused = site.ask(headers=site.bearer() | JSON, data=BODIES["a user"][0])
    assert (refused.status_code, code(refused)) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0
    guesses = [site.ask(headers={"Authorization": "Bearer guess"} | JSON, data=b"{}") for _ in range(5)]
    assert [answer.status_code for answer in guesses] == [401] * 4 + [429]


def test_with_cors(redis_server: RedisServer) -> None:
    site = site_of(redis_server, cors_origins=APP)
    for origin, allowed in ((None, None), (APP, APP), (FOREIGN["Origin"], None)):
        headers = site.bearer() | JSON | ({"Origin": origin} if origin else {})
        for body, status in ((BODIES["a user"][0], 201), (b"{}", 422)):
            answer = site.ask(headers=headers, data=body)
            assert answer.status_code == status
            assert answer.headers["Vary"] == "Origin"
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def test_a_preflight_is_answered(redis_server: RedisServer) -> None:
    site = site_of(redis_server, cors_origins=APP)
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for path in ("/publish", "/stream", "/feed"):
        answer = site.ask("OPTIONS", path, headers=asked | {"Origin": APP})
        assert (answer.status_code, answer.data) == (204, b"")
        assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert "Content-Type" not in answer.headers or path == "/feed"
    assert "Access-Control-Allow-Methods" not in site.ask("OPTIONS", headers=asked | FOREIGN).headers


def test_a_session_publishes_from_our_own_pages_only(redis_server: RedisServer) -> None:
    site = site_of(redis_server)
    client = Client(site.app)
    started = client.post("/session", headers=site.bearer(), base_url="https://localhost")
    assert started.status_code == 201
    sent = {"data": BODIES["a user"][0], "base_url": "https://localhost"}
    assert client.post("/publish", headers=JSON | {"Sec-Fetch-Site": "same-origin"}, **sent).status_code == 201
    refused = client.post("/publish", headers=JSON | FOREIGN | {"Sec-Fetch-Site": "cross-site"}, **sent)
    assert (refused.status_code, code(refused)) == (403, "cross_site")


def test_only_a_token_lets_the_next_request_of_a_connection_be_repeated(redis_server: RedisServer) -> None:
    """A session is looked up for each request; the worker repeats a request without a look at its credential."""
    site = site_of(redis_server)
    client = Client(site.app)
    client.post("/session", headers=site.bearer(), base_url="https://localhost")
    (cookie,) = (found for found in map(client.get_cookie, (HOST_COOKIE, COOKIE)) if found)
    options: dict[str, Any] = {"data": BODIES["a user"][0], "base_url": "https://localhost", "method": "POST"}
    for headers, repeats in (({"Sec-Fetch-Site": "same-origin"}, False), (site.bearer(), True)):
        cookies = {} if repeats else {"Cookie": f"{cookie.key}={cookie.value}"}
        environ = EnvironBuilder("/publish", headers=Headers(JSON | headers | cookies), **options).get_environ()
        statuses: list[str] = []
        start_response: Any = lambda status, _, add=statuses.append: add(status)  # noqa: E731 - WSGI passes two arguments
        list(site.app(environ, start_response))
        assert statuses == ["201 CREATED"]
        assert (REPEAT in environ) is repeats


def test_a_store_that_is_away_is_told() -> None:
    settings = Settings(redis_url="unix:///nowhere/redis.sock", secret=SECRET, redis_timeout_seconds=0.2)
    site = Site(create_app(settings), Keyring(settings))
    answer = site.ask(headers=site.bearer() | JSON, data=b'{"to":"alice","id":"mine"}')
    assert (answer.status_code, code(answer)) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_bug_is_a_problem_and_is_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.web.api.publish.parse", fail)
    answer = site.ask(headers=site.bearer() | JSON, data=BODIES["a user"][0])
    assert (answer.status_code, code(answer)) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
