"""The administrator: signs in with a password, withdraws credentials, reads what was done by hand."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from app.core.identity.passwords import hash_password
from app.core.settings import SettingsError, load
from tests.web.identity_app import SECRET, Site, open_site

PASSWORD = "correct horse battery staple"
HASH = hash_password(PASSWORD)


@pytest.fixture
def site() -> Site:
    return open_site(admin_password_hash=HASH, sign_ins_per_minute=5)


def sign_in(site: Site, name: str = "admin", password: str = PASSWORD, **headers: str) -> int:
    answer = site.client.post("/login", data={"name": name, "password": password, "next": "/admin/"}, headers=headers)
    return answer.status_code


def audit(site: Site) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = site.client.get("/admin/audit", headers=site.bearer("admin")).get_json()["entries"]
    return entries


def test_the_administrator_signs_in_with_the_password(site: Site) -> None:
    assert site.client.get("/admin/").location == "/login?next=/admin/"
    assert 'type="password"' in site.client.get("/login").text
    assert sign_in(site) == 303
    assert site.client.get("/admin/").status_code == 200
    assert [(entry["user"], entry["action"]) for entry in audit(site)] == [("admin", "sign_in")]


@pytest.mark.parametrize(("name", "password"), [("admin", "wrong"), ("admin", ""), ("root", PASSWORD)])
def test_a_wrong_name_or_password_is_refused_alike_and_noted(site: Site, name: str, password: str) -> None:
    answer = site.client.post("/login", data={"name": name, "password": password})
    assert answer.status_code == 401
    assert "The name or the password is wrong" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert [(entry["user"], entry["action"]) for entry in audit(site)] == [(name, "sign_in_refused")]


def test_guessing_is_throttled_even_with_the_right_password_in_the_end(site: Site) -> None:
    assert [sign_in(site, password=str(number)) for number in range(5)] == [401] * 5
    answer = site.client.post("/login", data={"name": "admin", "password": PASSWORD})
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["RateLimit-Limit"] == "5"


def test_guessing_many_names_from_one_address_is_throttled(site: Site) -> None:
    assert [sign_in(site, name=f"n{number}") for number in range(6)] == [401] * 5 + [429]


def test_with_a_password_a_name_alone_opens_nothing_even_in_the_demo() -> None:
    site = open_site(demo=True, admin_password_hash=HASH)
    assert site.client.post("/login", data={"name": "alice"}).status_code == 401


def test_a_hash_that_is_none_stops_the_start_without_being_shown() -> None:
    with pytest.raises(
        SettingsError, match=r"^BELFRY_ADMIN_PASSWORD_HASH: .*got a value that is not shown$"
    ) as refused:
        load({"BELFRY_ADMIN_PASSWORD_HASH": "hunter2"})
    assert "hunter2" not in str(refused.value)


def refusal(site: Site, token: str) -> tuple[int, str]:
    answer = site.client.get("/whoami", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.get_json(force=True).get("detail", "")


def signed(site: Site, **claims: Any) -> str:
    return jwt.encode({"sub": "alice", "scope": "feed", "exp": site.now + 600, **claims}, SECRET, "HS256")


def test_a_withdrawn_token_does_not_come_back_in_another_spelling(site: Site) -> None:
    token = signed(site)
    assert refusal(site, token)[0] == 200
    answer = site.client.post("/admin/revocations", json={"token": token}, headers=site.bearer("admin"))
    assert answer.status_code == 200
    site.watch.read()
    for other in (token, f"{token}=", f"{token}==", f"{token[:9]}\t{token[9:]}", f"{token} "):
        assert refusal(site, other)[0] == 401


def test_only_a_token_in_its_one_spelling_can_be_withdrawn(site: Site) -> None:
    answer = site.client.post("/admin/revocations", json={"token": f"{signed(site)}="}, headers=site.bearer("admin"))
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (400, "bad_parameter")
    assert "without padding" in answer.get_json(force=True)["detail"]


def test_after_a_user_was_withdrawn_the_refusal_of_a_token_without_iat_says_what_it_lacks(site: Site) -> None:
    assert (
        site.client.post("/admin/revocations", json={"user": "alice"}, headers=site.bearer("admin")).status_code == 200
    )
    site.watch.read()
    status, detail = refusal(site, signed(site))
    assert (status, "no 'iat'" in detail) == (401, True)
    assert "issued at" in refusal(site, signed(site, iat=site.now - 1))[1]
    site.now += 1
    assert refusal(site, signed(site, iat=site.now))[0] == 200


def test_a_token_in_milliseconds_or_of_ten_years_gets_a_clear_refusal(site: Site) -> None:
    assert refusal(site, signed(site, exp=site.now * 1_000)) == (
        401,
        "The token is not valid: its 'exp' is 1800000000000: expected Unix seconds, got what looks like milliseconds",
    )
    status, detail = refusal(site, signed(site, exp=site.now + 315_360_000))
    assert (status, "at most 31536000 s (BELFRY_REVOCATION_SECONDS)" in detail) == (401, True)


def test_the_audit_log_tells_who_withdrew_what_from_where(site: Site) -> None:
    site.client.post("/admin/revocations", json={"user": "bob"}, headers=site.bearer("admin"))
    (entry,) = audit(site)
    assert entry == {
        "time": "2027-01-15T08:00:00.000Z",
        "user": "alice",
        "action": "revoke",
        "target": "user:bob",
        "message_id": "",
        "address": "127.0.0.1",
    }


def test_the_newest_entries_come_first_and_as_many_as_asked_for(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.client.post("/admin/revocations", json={"user": name}, headers=site.bearer("admin"))
    answer = site.client.get("/admin/audit?limit=2", headers=site.bearer("admin"))
    assert [entry["target"] for entry in answer.get_json()["entries"]] == ["user:c", "user:b"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "malformed_json"),
        ("{}", "bad_parameter"),
        ('{"user":"a","token_id":"b"}', "bad_parameter"),
        ('{"user":""}', "bad_parameter"),
        ('{"user":"a b"}', "bad_user_id"),
        ('{"token":"x.y.z"}', "bad_parameter"),
        ('{"who":"a"}', "bad_parameter"),
        ('{"user":7}', "bad_parameter"),
    ],
)
def test_an_order_that_names_nothing_clearly_is_refused(site: Site, body: str, code: str) -> None:
    answer = site.client.post("/admin/revocations", data=body, headers=site.bearer("admin"))
    assert answer.get_json(force=True)["code"] == code


def test_a_withdrawn_token_is_refused_and_a_later_one_of_the_user_is_not(site: Site) -> None:
    old = {"Authorization": f"Bearer {site.token()}"}
    assert site.client.get("/whoami", headers=old).status_code == 200
    site.client.post("/admin/revocations", json={"user": "alice"}, headers=site.bearer("admin"))
    site.watch.read()
    answer = site.client.get("/whoami", headers=old)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (401, "token_revoked")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="belfry", error="invalid_token"'
    site.now += 1
    assert site.client.get("/whoami", headers=site.bearer()).status_code == 200


@pytest.mark.parametrize("path", ["/admin/audit", "/admin/sessions?user=a"])
def test_what_administrators_see_is_for_them_alone(site: Site, path: str) -> None:
    assert site.client.get(path, headers=site.bearer("feed publish complete")).status_code == 403
    assert site.client.get(path).status_code == 401


def test_bad_tokens_from_one_address_are_throttled_and_good_ones_are_not() -> None:
    site = open_site(refused_tokens_per_minute=3)
    bad = {"Authorization": "Bearer x.y.z"}
    assert [site.client.get("/whoami", headers=bad).status_code for _ in range(5)] == [401] * 3 + [429] * 2
    assert site.client.get("/whoami", headers=site.bearer()).status_code == 200
