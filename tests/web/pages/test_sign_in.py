"""The demo's sign-in, and the way out."""

from __future__ import annotations

from io import BytesIO

import pytest

from app.core.identity.passwords import hash_password
from app.core.identity.tokens import SCOPES, Claims
from app.web.pages.sign_in import FORM_MAX_BYTES, local_path
from tests.web.identity_app import Site, open_site

PASSWORD = "correct horse battery staple"
HASH = hash_password(PASSWORD)


@pytest.fixture
def site() -> Site:
    return open_site(demo=True)


def test_a_name_is_enough_to_sign_in_to_the_demo(site: Site) -> None:
    answer = site.client.post("/login", data={"name": " alice ", "next": "/admin/"})
    assert (answer.status_code, answer.location) == (303, "/admin/")
    assert site.client.get("/whoami").get_json() == {"user": "alice"}


def test_a_demo_user_may_do_everything_and_read_every_topic(site: Site) -> None:
    site.client.post("/login", data={"name": "alice"})
    (key,) = [key for key in site.redis.keys("*") if b":session:" in key]
    claims = Claims.of_json(site.redis.get(key) or b"")
    assert claims.scopes == set(SCOPES)
    assert claims.may_read("anything")
    assert claims.expires_at == site.now + 43_200


@pytest.mark.parametrize("name", ["", "a b", "{x}"])
def test_a_bad_name_is_asked_for_again(site: Site, name: str) -> None:
    answer = site.client.post("/login", data={"name": name, "next": "/admin/"})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert 'value="/admin/"' in answer.text
    assert "Set-Cookie" not in answer.headers


def test_what_was_typed_is_shown_as_text(site: Site) -> None:
    answer = site.client.post("/login", data={"name": '"><script>alert(1)</script> {'})
    assert "<script>alert" not in answer.text


def test_nobody_is_signed_in_by_the_page_of_another(site: Site) -> None:
    answer = site.client.post("/login", data={"name": "mallory"}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (403, "cross_site")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_there_is_no_sign_in_outside_the_demo(method: str) -> None:
    answer = open_site().client.open("/login", method=method, data={"name": "alice"})
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n",
        "evil",
        "",
        "javascript:1",
    ],
)
def test_a_sign_in_leads_to_pages_of_this_server_only(target: str) -> None:
    assert local_path(target) == "/"


@pytest.mark.parametrize("target", ["/", "/admin/", "/chat?run=1&x=//y"])
def test_a_sign_in_leads_back_to_where_one_wanted_to_go(target: str) -> None:
    assert local_path(target) == target


def test_signing_out_ends_the_session(site: Site) -> None:
    site.client.post("/login", data={"name": "alice"})
    answer = site.client.post("/logout")
    assert (answer.status_code, answer.location) == (303, "/")
    assert site.client.get("/whoami").status_code == 401


def test_nobody_is_signed_out_by_the_page_of_another(site: Site) -> None:
    site.client.post("/login", data={"name": "alice"})
    assert site.client.post("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("has_length", [True, False])
def test_a_huge_form_is_refused(site: Site, has_length: bool) -> None:
    body = b"name=" + b"a" * FORM_MAX_BYTES
    answer = site.client.post(
        "/login",
        input_stream=BytesIO(body),
        content_length=len(body) if has_length else None,
        content_type="application/x-www-form-urlencoded",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.get_json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("host", ["shop.example", "192.168.0.9:8000", "localhost.evil.example", "[2001:db8::1]"])
def test_over_plain_http_a_sign_in_says_why_the_browser_would_drop_the_cookie(host: str) -> None:
    site = open_site(admin_password_hash=HASH)
    site.client.environ_base["wsgi.url_scheme"] = "http"
    answer = site.client.post(
        "/login",
        data={"name": "admin", "password": PASSWORD},
        headers={"Origin": f"http://{host}", "Host": host},
    )
    assert answer.status_code == 422
    assert "drop the session cookie" in answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("origin", ["https://shop.example", "http://localhost:8000", "http://127.0.0.1:8000"])
def test_over_https_and_on_this_machine_a_sign_in_works(origin: str) -> None:
    site = open_site(admin_password_hash=HASH)
    scheme, _, host = origin.partition("://")
    site.client.environ_base["wsgi.url_scheme"] = scheme
    headers = {"Origin": origin, "Host": host}
    answer = site.client.post("/login", data={"name": "admin", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 303, answer.text
