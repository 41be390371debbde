"""Sessions: a token exchanged for a cookie, and the cookie ended."""

from __future__ import annotations

from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.core.errors import BelfryError
from app.core.identity.passwords import hash_password
from app.web.edge.auth import COOKIE, HOST_COOKIE
from tests.web.identity_app import SECRET, Site, open_site

PASSWORD = "correct horse battery staple"
HASH = hash_password(PASSWORD)


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


def test_a_listener_hears_whether_a_session_ends_or_is_replaced() -> None:
    """Web Push keeps the devices of a page that renews its cookie, and ends those of a user who signs out."""
    site = open_site()
    heard: list[tuple[str, str, str]] = []
    site.sessions.listeners.append(lambda *told: heard.append(told))
    site.start_session()
    site.start_session()
    ((user, first, second),) = heard
    assert user == "alice"
    assert second not in ("", first)
    site.client.post("/session", headers={"Authorization": f"Bearer {site.token(user='bob')}"})
    assert heard[1:] == [("alice", second, "")]
    site.client.delete("/session")
    assert [told[0] for told in heard] == ["alice", "alice", "bob"]


def test_signing_out_that_failed_halfway_can_be_repeated() -> None:
    site = open_site()
    site.start_session()
    faults = [BelfryError("store_unavailable")]

    def fail_once(*_: str) -> None:
        if faults:
            raise faults.pop()

    site.sessions.listeners.append(fail_once)
    assert site.client.delete("/session").status_code == 503
    assert site.client.get("/whoami").status_code == 200
    assert site.client.delete("/session").status_code == 204
    assert site.client.get("/whoami").status_code == 401


def test_an_unknown_cookie_can_be_ended_all_the_same() -> None:
    answer = open_site().client.delete("/session", headers={"Cookie": f"{HOST_COOKIE}=unknown"})
    assert answer.status_code == 204


def on_port(site: Site, path: str, port: int, cookies: dict[str, str], method: str = "GET") -> TestResponse:
    """An answer of the server on that port. The jar holds every cookie of the host, as a browser's does."""
    browser = site.client.application.test_client(use_cookies=False)  # with a jar it would send that one
    sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    return browser.open(path, method=method, base_url=f"https://localhost:{port}", headers=sent)


def signed_in_on(site: Site, port: int, cookies: dict[str, str]) -> None:
    """Sign in there. The cookie that the answer sets replaces one of the same name, as in a browser."""
    sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), **site.bearer()}
    browser = site.client.application.test_client(use_cookies=False)  # with a jar it would send that one
    made = cookie(browser.post("/session", base_url=f"https://localhost:{port}", headers=sent))
    cookies[made.key] = made.value


def test_two_servers_on_one_host_do_not_sign_each_other_out() -> None:
    first, second = open_site(), open_site()
    cookies: dict[str, str] = {}
    signed_in_on(first, 8443, cookies)
    signed_in_on(second, 9443, cookies)
    assert set(cookies) == {f"{HOST_COOKIE}_8443", f"{HOST_COOKIE}_9443"}
    assert on_port(second, "/session", 9443, cookies, "DELETE").status_code == 204
    assert on_port(first, "/whoami", 8443, cookies).status_code == 200
    assert on_port(second, "/whoami", 9443, cookies).status_code == 401


@pytest.mark.parametrize(("first", "second"), [(443, 8443), (8443, 443), (8443, 9443)])
def test_a_session_goes_on_where_the_host_names_another_port(first: int, second: int) -> None:
    """Behind a proxy that sets `Host`, and for cookies of the time when all ports had one name."""
    site = open_site()
    cookies: dict[str, str] = {}
    signed_in_on(site, first, cookies)
    assert on_port(site, "/whoami", second, cookies).status_code == 200


@pytest.mark.parametrize("name", [f"{HOST_COOKIE}_x", f"{HOST_COOKIE}_123456", f"{HOST_COOKIE}2", f"{COOKIE}_8443"])
def test_no_other_cookie_counts_as_a_session(name: str) -> None:
    site = open_site()
    cookies: dict[str, str] = {}
    signed_in_on(site, 443, cookies)
    answer = on_port(site, "/whoami", 8443, {name: cookies[HOST_COOKIE]})
    assert answer.get_json(force=True)["code"] == "token_missing"


@pytest.mark.parametrize("host", ["localhost", "localhost:443", "localhost:80", "[::1]"])
def test_on_the_usual_ports_the_cookie_has_its_plain_name(host: str) -> None:
    site = open_site()
    answer = site.client.post("/session", headers={**site.bearer(), "Host": host})
    assert cookie(answer).key == HOST_COOKIE


def test_a_session_never_outlives_the_memory_of_a_withdrawal() -> None:
    site = open_site(session_seconds=86_400, revocation_seconds=3_600, admin_password_hash=HASH)
    answer = site.client.post("/login", data={"name": "admin", "password": PASSWORD})
    assert cookie(answer)["max-age"] == "3600"


def reopened(site: Site, **settings: Any) -> Site:
    """The server started again with other settings, on the data that it had."""
    return open_site(redis=site.redis, **settings)


def kept_cookie(site: Site) -> str:
    found = site.client.get_cookie(HOST_COOKIE) or site.client.get_cookie(COOKIE)
    assert found is not None
    return found.value


def test_a_demo_session_opens_nothing_without_the_demo() -> None:
    site = open_site(demo=True)
    assert site.client.post("/login", data={"name": "admin"}).status_code == 303
    value = kept_cookie(site)
    assert with_cookie(reopened(site, demo=True), value).status_code == 200
    for settings in ({}, {"secret": SECRET[::-1]}, {"demo": True, "secret": SECRET[::-1]}):
        assert with_cookie(reopened(site, **settings), value).get_json(force=True)["code"] == "token_revoked"


def test_an_administrator_s_session_ends_with_the_password() -> None:
    site = open_site(admin_password_hash=HASH)
    assert site.client.post("/login", data={"name": "admin", "password": PASSWORD}).status_code == 303
    value = kept_cookie(site)
    assert with_cookie(reopened(site, admin_password_hash=HASH, secret=SECRET[::-1]), value).status_code == 200
    for changed in ("", hash_password("another password")):
        answer = with_cookie(reopened(site, admin_password_hash=changed), value)
        assert answer.get_json(force=True)["code"] == "token_revoked"


def test_a_session_ends_with_the_key_that_signed_its_token() -> None:
    site = open_site()
    site.start_session()
    value = kept_cookie(site)
    new = SECRET[::-1]
    assert with_cookie(reopened(site, secret=new, previous_secrets=SECRET), value).status_code == 200
    assert with_cookie(reopened(site, secret=new), value).get_json(force=True)["code"] == "token_revoked"
