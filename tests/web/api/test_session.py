"""Sessions: a token exchanged for a cookie, and the cookie ended."""

from __future__ import annotations

from http.cookies import Morsel, SimpleCookie

import pytest
from werkzeug.test import TestResponse

from app.web.edge.auth import COOKIE, HOST_COOKIE
from tests.web.identity_app import Site, open_site


def cookie(answer: TestResponse) -> Morsel[str]:
    (header,) = answer.headers.getlist("Set-Cookie")  # RFC 6265 section 4.1.1: one for each name
    (made,) = SimpleCookie(header).values()
    return made


def start(site: Site, seconds: int = 600, scheme: str = "https") -> TestResponse:
    return site.client.post(
        "/session", headers=site.bearer(seconds=seconds), environ_overrides={"wsgi.url_scheme": scheme}
    )


def with_cookie(site: Site, value: str) -> TestResponse:
    """What another browser gets with this cookie."""
    other = site.client.application.test_client()
    other.set_cookie(HOST_COOKIE, value)
    return other.get("/whoami", base_url="https://localhost")


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


def test_the_cookie_s_name_is_bound_to_this_host_wherever_browsers_take_that() -> None:
    assert cookie(start(open_site())).key == HOST_COOKIE
    assert cookie(start(open_site(demo=True), scheme="http")).key == COOKIE


def test_a_cookie_without_the_host_prefix_is_none_over_tls() -> None:
    site = open_site()
    site.start_session()
    made = site.client.get_cookie(HOST_COOKIE)
    assert made is not None
    answer = open_site().client.get("/whoami", headers={"Cookie": f"{COOKIE}={made.value}"})
    assert answer.get_json(force=True)["code"] == "token_missing"


def test_the_cookie_is_no_token_and_the_store_holds_no_cookie() -> None:
    site = open_site()
    site.start_session()
    made = site.client.get_cookie(HOST_COOKIE)
    assert made is not None
    assert made.value.count(".") == 0
    assert not [key for key in site.redis.keys("*") if made.value.encode() in key]


def test_an_ended_session_is_over_also_for_who_kept_the_cookie() -> None:
    site = open_site()
    site.start_session()
    kept = site.client.get_cookie(HOST_COOKIE)
    assert kept is not None
    site.client.delete("/session")
    answer = with_cookie(site, kept.value)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (401, "token_invalid")


def test_a_new_session_takes_the_old_one_s_place() -> None:
    site = open_site()
    site.start_session()
    old = site.client.get_cookie(HOST_COOKIE)
    assert old is not None
    site.start_session()
    answer = with_cookie(site, old.value)
    assert answer.status_code == 401
    assert site.client.get("/whoami").status_code == 200


def test_an_unknown_cookie_can_be_ended_all_the_same() -> None:
    answer = open_site().client.delete("/session", headers={"Cookie": f"{HOST_COOKIE}=unknown"})
    assert answer.status_code == 204
