"""Sessions: a token exchanged for a cookie, and the cookie ended."""

from __future__ import annotations

from http.cookies import Morsel, SimpleCookie

import pytest
from werkzeug.test import TestResponse

from app.web.auth import COOKIE
from app.web.session import COOKIE_MAX_BYTES
from tests.web.identity_app import Site, open_site


def cookie(answer: TestResponse) -> Morsel[str]:
    return SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]


def start(site: Site, seconds: int = 600, scheme: str = "https") -> TestResponse:
    return site.client.post("/session", headers=site.bearer(seconds=seconds), environ_overrides={"wsgi.url_scheme": scheme})


def test_a_token_is_exchanged_for_a_cookie_that_scripts_cannot_read() -> None:
    answer = start(open_site())
    assert answer.status_code == 201
    assert answer.get_json() == {"user": "alice", "expires_at": "2027-01-15T08:10:00.000Z"}
    made = cookie(answer)
    assert made["httponly"]
    assert (made["samesite"], made["path"], made["max-age"]) == ("Lax", "/", "600")


def test_a_session_is_no_longer_than_the_setting_allows() -> None:
    answer = start(open_site(session_seconds=120), seconds=3600)
    assert cookie(answer)["max-age"] == "120"
    assert answer.get_json()["expires_at"] == "2027-01-15T08:02:00.000Z"


@pytest.mark.parametrize(
    ("demo", "scheme", "secure"), [(True, "http", False), (True, "https", True), (False, "http", True)]
)
def test_the_cookie_is_for_https_only_except_in_a_demo_without_it(demo: bool, scheme: str, secure: bool) -> None:
    answer = start(open_site(demo=demo), scheme=scheme)
    assert bool(cookie(answer)["secure"]) is secure


def test_a_session_starts_by_a_token_only() -> None:
    site = open_site()
    assert site.client.post("/session").get_json(force=True)["code"] == "token_missing"
    site.start_session()
    assert site.client.post("/session").get_json(force=True)["code"] == "token_missing"


def test_a_token_that_no_cookie_can_hold_is_refused_instead_of_lost() -> None:
    site = open_site()
    token = site.token(topics=["x" * COOKIE_MAX_BYTES])
    answer = site.client.post("/session", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (400, "bad_request")


def test_an_ended_session_is_gone_from_the_browser() -> None:
    site = open_site()
    site.start_session()
    answer = site.client.delete("/session")
    assert (answer.status_code, answer.data) == (204, b"")
    assert site.client.get("/whoami").status_code == 401


def test_a_session_is_not_ended_by_the_page_of_another() -> None:
    site = open_site()
    site.start_session()
    assert site.client.delete("/session", headers={"Origin": "https://evil.example"}).status_code == 403
    assert site.client.get("/whoami").status_code == 200


def test_a_session_ends_with_its_token() -> None:
    site = open_site()
    site.start_session(seconds=60)
    site.now += 60
    assert site.client.get("/whoami").get_json(force=True)["code"] == "token_expired"
