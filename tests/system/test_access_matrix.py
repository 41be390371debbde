"""The matrix: every operation × every kind of credential, on a running server."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import jwt
import pytest
import requests

from app.core.identity.tokens import SCOPES
from app.web.api.operations import OPERATIONS, PROBLEM, Access, Operation
from tests.servers import Belfry
from tests.waiting import wait_until

GUARDED = [operation for operation in OPERATIONS if operation.access in {Access.SCOPE, Access.TOKEN}]
PAGES = [operation for operation in OPERATIONS if operation.access is Access.PAGE]
OPEN = [operation for operation in OPERATIONS if operation.access in {Access.PUBLIC, Access.OWN_COOKIE}]

BAD_CREDENTIALS = {
    "expired": "token_expired",
    "forged": "token_invalid",
    "unsigned": "token_invalid",
    "other audience": "token_invalid",
    "revoked": "token_revoked",
}


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_DEMO": "1"}


@pytest.fixture(scope="module")
def credentials(belfry: Belfry) -> Mapping[str, str]:
    """A bearer token of each kind; each would allow everything if it were good."""
    claims = {"sub": "alice", "scope": " ".join(SCOPES), "iat": int(time.time()), "exp": int(time.time()) + 600}
    secret = belfry.settings_environment["BELFRY_SECRET"]
    revoked = jwt.encode({**claims, "jti": "withdrawn"}, secret, "HS256")
    root = belfry.api(belfry.token("root", "admin"))
    root.post("/admin/revocations", json={"token_id": "withdrawn"})
    wait_until(lambda: belfry.api(revoked).get("/feed").status_code == 401)
    return {
        "expired": jwt.encode({**claims, "exp": int(time.time()) - 1}, secret, "HS256"),
        "forged": jwt.encode(claims, secret[::-1], "HS256"),
        "unsigned": jwt.encode(claims, "", "none"),
        "other audience": jwt.encode({**claims, "aud": "another-service"}, secret, "HS256"),
        "revoked": revoked,
    }


def name(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def address(operation: Operation) -> str:
    return re.sub(r"\{\w+\}", "x", operation.path)


def send(belfry: Belfry, operation: Operation, token: str = "", **headers: str) -> requests.Response:
    sent = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
    with belfry.api() as api:
        return api.request(operation.method, address(operation), headers=sent, allow_redirects=False, stream=True)


def code(operation: Operation, answer: requests.Response) -> str:
    """The refusal's code, out of the shape that this operation refuses in."""
    assert answer.headers["Content-Type"] == operation.refused_in, answer.status_code
    body = answer.json()
    found: str = body["code"] if operation.refused_in == PROBLEM else body["error"]["code"]
    return found


@pytest.mark.parametrize("operation", GUARDED, ids=name)
def test_without_a_credential_nothing_is_served(belfry: Belfry, operation: Operation) -> None:
    answer = send(belfry, operation)
    assert (answer.status_code, code(operation, answer)) == (401, "token_missing")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("kind", BAD_CREDENTIALS)
@pytest.mark.parametrize("operation", GUARDED, ids=name)
def test_with_a_bad_credential_nothing_is_served(
    belfry: Belfry, operation: Operation, kind: str, credentials: Mapping[str, str]
) -> None:
    answer = send(belfry, operation, credentials[kind])
    assert (answer.status_code, code(operation, answer)) == (401, BAD_CREDENTIALS[kind])
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("operation", [operation for operation in GUARDED if operation.scopes], ids=name)
def test_every_other_scope_together_is_not_enough(belfry: Belfry, operation: Operation) -> None:
    others = set(SCOPES) - set(operation.scopes)
    answer = send(belfry, operation, belfry.token("alice", *others))
    assert (answer.status_code, code(operation, answer)) == (403, "scope_missing")


@pytest.mark.parametrize("operation", GUARDED, ids=name)
def test_the_scope_alone_is_enough(belfry: Belfry, operation: Operation) -> None:
    for scope in operation.scopes or ("feed",):
        assert send(belfry, operation, belfry.token("alice", scope)).status_code not in {401, 403}


@pytest.mark.parametrize("operation", [item for item in GUARDED if item.access is Access.SCOPE], ids=name)
def test_a_session_is_no_use_to_the_pages_of_others(belfry: Belfry, operation: Operation) -> None:
    with belfry.api() as browser:
        browser.post("/login", data={"name": "alice"}, allow_redirects=False)
        cookie = "; ".join(f"{key}={value}" for key, value in browser.cookies.items())
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = send(belfry, operation, Cookie=cookie, **headers)
        assert (answer.status_code, code(operation, answer)) == (403, "cross_site")


@pytest.mark.parametrize("operation", PAGES, ids=name)
@pytest.mark.parametrize("kind", ["none", *BAD_CREDENTIALS])
def test_a_page_leads_a_stranger_to_the_sign_in(
    belfry: Belfry, operation: Operation, kind: str, credentials: Mapping[str, str]
) -> None:
    answer = send(belfry, operation, credentials.get(kind, ""))
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/login?next={address(operation)}")


@pytest.mark.parametrize("operation", PAGES, ids=name)
def test_a_page_asks_for_every_one_of_its_scopes(belfry: Belfry, operation: Operation) -> None:
    for missing in operation.scopes:
        answer = send(belfry, operation, belfry.token("alice", *(set(SCOPES) - {missing})))
        assert (answer.status_code, code(operation, answer)) == (403, "scope_missing")
    assert send(belfry, operation, belfry.token("alice", *operation.scopes)).status_code == 200


@pytest.mark.parametrize("operation", OPEN, ids=name)
def test_what_is_for_anyone_does_not_look_at_tokens(
    belfry: Belfry, operation: Operation, credentials: Mapping[str, str]
) -> None:
    for token in ("", credentials["forged"]):
        assert send(belfry, operation, token).status_code not in {401, 403}
