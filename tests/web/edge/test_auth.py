"""Who is asking, by header and by cookie, and who is turned away with which challenge."""

from __future__ import annotations

import pytest
from werkzeug.test import TestResponse

from tests.web.identity_app import Site, open_site


@pytest.fixture
def site() -> Site:
    return open_site()


def code(answer: TestResponse) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, answer.get_json(force=True)["code"]


def test_a_bearer_token_names_the_user(site: Site) -> None:
    assert site.client.get("/whoami", headers=site.bearer()).get_json() == {"user": "alice"}


def test_the_scheme_of_the_header_is_read_without_regard_to_case(site: Site) -> None:
    answer = site.client.get("/whoami", headers={"Authorization": f"bEaReR {site.token()}"})
    assert answer.status_code == 200


def test_a_request_without_a_credential_is_asked_for_one(site: Site) -> None:
    answer = site.client.get("/whoami")
    assert code(answer) == (401, "token_missing")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="belfry"'


def test_a_credential_of_another_scheme_is_no_credential(site: Site) -> None:
    assert code(site.client.get("/whoami", headers={"Authorization": "Basic YTpi"})) == (401, "token_missing")


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer x.y.z", "Bearer a b"])
def test_a_bearer_header_without_a_good_token_is_refused(site: Site, header: str) -> None:
    answer = site.client.get("/whoami", headers={"Authorization": header})
    assert code(answer) == (401, "token_invalid")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="belfry", error="invalid_token"'


def test_an_expired_token_is_told_apart_from_an_invalid_one(site: Site) -> None:
    expiring = site.bearer(seconds=60)
    site.now += 60
    answer = site.client.get("/whoami", headers=expiring)
    assert code(answer) == (401, "token_expired")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_token_without_the_scope_is_told_which_one_is_needed(site: Site) -> None:
    answer = site.client.get("/whoami", headers=site.bearer("publish"))
    assert code(answer) == (403, "scope_missing")
    assert 'error="insufficient_scope", scope="feed"' in answer.headers["WWW-Authenticate"]


def test_the_scope_of_an_administrator_includes_no_other(site: Site) -> None:
    assert code(site.client.get("/whoami", headers=site.bearer("admin"))) == (403, "scope_missing")


def test_a_session_cookie_counts_like_its_token(site: Site) -> None:
    site.start_session()
    assert site.client.get("/whoami").get_json() == {"user": "alice"}


def test_a_bad_bearer_token_is_not_saved_by_a_good_cookie(site: Site) -> None:
    site.start_session()
    assert code(site.client.get("/whoami", headers={"Authorization": "Bearer x"})) == (401, "token_invalid")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://localhost"},
        {"Origin": "http://LOCALHOST"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://localhost"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_cookie_counts_for_our_own_pages_and_for_programs(site: Site, headers: dict[str, str], method: str) -> None:
    site.start_session()
    assert site.client.open("/whoami", method=method, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://localhost"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://sub.localhost"},
        {"Sec-Fetch-Site": "something-new"},
        {"Origin": "https://evil.example"},
        {"Origin": "https://localhost:8443"},
        {"Origin": "https://localhost.evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://[broken"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_cookie_does_not_count_for_pages_of_others(site: Site, headers: dict[str, str], method: str) -> None:
    site.start_session()
    assert code(site.client.open("/whoami", method=method, headers=headers)) == (403, "cross_site")


def test_a_bearer_token_counts_wherever_the_request_comes_from(site: Site) -> None:
    headers = site.bearer() | {"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"}
    assert site.client.get("/whoami", headers=headers).status_code == 200


def test_a_cross_site_request_without_a_cookie_is_merely_anonymous(site: Site) -> None:
    assert code(site.client.get("/whoami", headers={"Sec-Fetch-Site": "cross-site"})) == (401, "token_missing")
