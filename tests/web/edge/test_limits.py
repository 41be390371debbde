"""One limit for bad credentials, on whichever route they are tried."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from flask import Request
from werkzeug.test import TestResponse

from app.core.errors import BelfryError
from app.core.identity.passwords import hash_password
from app.core.settings import Settings
from app.web.edge.auth import HOST_COOKIE
from app.web.edge.limits import RateLimits
from tests.web.identity_app import NOW, Site, open_site

HASH = hash_password("correct horse battery staple")
GUESSES = 4


def with_token(method: str, path: str) -> Callable[[Site], TestResponse]:
    headers = {"Authorization": "Bearer guessed"}
    return lambda site: site.client.open(path, method=method, headers=headers)


def with_session(path: str, method: str = "GET") -> Callable[[Site], TestResponse]:
    def guess(site: Site) -> TestResponse:
        other = site.client.application.test_client()
        other.set_cookie(HOST_COOKIE, "guessed")
        return other.open(path, method=method, base_url="https://localhost")

    return guess


def with_ticket(site: Site) -> TestResponse:
    return site.client.get("/whoami?ticket=guessed")


def with_password(site: Site) -> TestResponse:
    return site.client.post("/login", data={"name": "admin", "password": "guessed"})


WAYS = {
    "session": with_token("POST", "/session"),
    "ticket": with_token("POST", "/tickets"),
    "page, token": with_token("GET", "/"),
    "page, cookie": with_session("/admin/"),
    "route, token": with_token("GET", "/whoami"),
    "route, cookie": with_session("/whoami"),
    "route, ticket": with_ticket,
    "end of a session": with_session("/session", "DELETE"),
    "sign-out": with_session("/logout", "POST"),
    "password": with_password,
}


@pytest.fixture
def site() -> Site:
    return open_site(admin_password_hash=HASH, refused_tokens_per_minute=GUESSES, sign_ins_per_minute=100)


def assert_throttled(answer: TestResponse) -> None:
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("way", WAYS)
def test_guesses_are_throttled_wherever_they_are_made(site: Site, way: str) -> None:
    answers = [WAYS[way](site) for _ in range(GUESSES + 1)]
    assert {answer.status_code for answer in answers[:-1]} <= {401, 302, 303, 204}
    assert_throttled(answers[-1])


@pytest.mark.parametrize("way", WAYS)
def test_guesses_of_one_kind_count_for_every_other(site: Site, way: str) -> None:
    for _ in range(GUESSES):
        WAYS["route, token"](site)
    assert_throttled(WAYS[way](site))


def test_a_valid_credential_from_a_throttled_address_still_works(site: Site) -> None:
    for _ in range(GUESSES + 1):
        throttled = WAYS["session"](site)
    assert_throttled(throttled)
    assert site.client.post("/session", headers=site.bearer()).status_code == 201
    assert site.client.get("/whoami", headers=site.bearer()).status_code == 200
    assert site.client.get("/whoami").get_json() == {"user": "alice"}  # the session's cookie
    assert site.client.get("/").status_code == 200


def test_a_throttled_address_can_still_end_its_own_sessions_and_replace_them(site: Site) -> None:
    for _ in range(GUESSES + 1):
        throttled = WAYS["end of a session"](site)
    assert_throttled(throttled)
    other = site.client.application.test_client()
    other.set_cookie(HOST_COOKIE, "outdated")
    assert other.post("/session", headers=site.bearer(), base_url="https://localhost").status_code == 201
    assert other.delete("/session", base_url="https://localhost").status_code == 204
    assert other.get("/whoami", base_url="https://localhost").status_code == 401, "the cookie is gone"


def test_a_sign_out_without_a_cookie_is_no_guess(site: Site) -> None:
    for _ in range(GUESSES + 1):
        assert site.client.delete("/session").status_code == 204
        assert site.client.post("/logout").status_code == 303
    assert WAYS["session"](site).status_code == 401


def test_the_right_password_from_a_throttled_address_waits(site: Site) -> None:
    for _ in range(GUESSES):
        WAYS["route, token"](site)
    assert_throttled(site.client.post("/login", data={"name": "admin", "password": "correct horse battery staple"}))


def test_somebody_without_a_credential_is_no_guesser(site: Site) -> None:
    for _ in range(GUESSES + 1):
        assert site.client.get("/").status_code == 401
        assert site.client.post("/session").status_code == 401
    assert WAYS["session"](site).status_code == 401


def test_the_limit_of_the_defaults_ends_a_run_of_6300_guesses() -> None:
    site = open_site()
    answers = [WAYS["session"](site).status_code for _ in range(6_300)]
    assert answers.count(401) == Settings().refused_tokens_per_minute
    assert set(answers) == {401, 429}


@pytest.mark.parametrize(
    "spelling", [" café", "café\t", "\u2003café ", unicodedata.normalize("NFD", "café"), "café\r\n"]
)
def test_every_spelling_of_a_name_counts_as_the_name(spelling: str) -> None:
    limits = RateLimits(Settings(sign_ins_per_minute=2), lambda: NOW)
    limits.sign_in(from_address("198.51.100.1"), "café")
    limits.sign_in(from_address("198.51.100.2"), spelling)
    with pytest.raises(BelfryError, match="rate_limited"):
        limits.sign_in(from_address("198.51.100.3"), spelling)


@pytest.mark.parametrize("name", ["", "n" * 16_000, "\ud800", "a b"])
def test_what_is_kept_of_a_name_has_one_size(name: str) -> None:
    limits = RateLimits(Settings(), lambda: NOW)
    limits.sign_in(from_address("198.51.100.1"), name)
    assert max(len(key) for key in limits._sign_in._full_at) < 50


def test_no_password_is_checked_beyond_the_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(GUESSES):
        WAYS["route, token"](site)

    def fit(*_: object) -> bool:
        raise AssertionError("scrypt ran")

    monkeypatch.setattr("app.web.pages.sign_in.Passwords.fit", fit)
    assert_throttled(WAYS["password"](site))


def from_address(address: str) -> Request:
    return Request({"REMOTE_ADDR": address, "wsgi.url_scheme": "http", "REQUEST_METHOD": "POST"})
