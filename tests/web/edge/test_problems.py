"""Whatever goes wrong is answered as problem+json."""

from __future__ import annotations

import logging

import pytest

from app import create_app
from app.core.settings import Settings
from app.web.edge.auth import Authenticator
from tests.web.identity_app import Site, open_site


@pytest.fixture
def site() -> Site:
    return open_site()


def test_an_unknown_path_is_a_problem(site: Site) -> None:
    answer = site.client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    problem = answer.get_json(force=True)
    assert set(problem) == {"type", "title", "status", "detail", "code"}
    assert (problem["status"], problem["code"]) == (404, "not_found")


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(site: Site) -> None:
    answer = site.client.put("/session")
    assert answer.status_code == 405
    assert answer.get_json(force=True)["code"] == "method_not_allowed"
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "DELETE", "OPTIONS"}


def test_the_refusal_of_a_method_names_it_and_the_right_ones(site: Site) -> None:
    detail = site.client.put("/session").get_json(force=True)["detail"]
    assert detail == "Expected DELETE, OPTIONS, POST for '/session', got PUT."


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/nowhere", "There is nothing at '/nowhere'. /openapi.json"),
        ("/session/", "There is nothing at '/session/'; paths have no slash at the end."),
        ("/caf%C3%A9", "There is nothing at '/café'."),
        (f"/{'x' * 3_000}", f"There is nothing at '/{'x' * 79}'."),
    ],
)
def test_the_refusal_of_a_path_says_what_came(site: Site, path: str, told: str) -> None:
    answer = site.client.get(path)
    assert answer.status_code == 404
    assert answer.get_json(force=True)["detail"].startswith(told)


def test_a_bug_is_logged_and_tells_the_client_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = site.client.get("/bug")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (500, "internal_error")
    assert "a secret detail" not in answer.text
    assert "a secret detail" in caplog.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/x"),
        ("POST", "/openai/deployments/m/chat/completions"),
    ],
)
def test_below_v1_a_bug_is_told_in_openais_shape(monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    def fail(*_given: object, **_options: object) -> None:
        raise TypeError("a secret detail")

    monkeypatch.setattr(Authenticator, "require", fail)
    app = create_app(Settings(secret="x" * 32, redis_url="redis://nowhere", upstream_url="http://nowhere/v1"))
    answer = app.test_client().open(path, method=method)
    assert (answer.status_code, answer.content_type) == (500, "application/json")
    assert answer.get_json()["error"]["code"] == "internal_error"
    assert "a secret detail" not in answer.text


def test_a_redirect_of_the_router_stays_a_redirect(site: Site) -> None:
    assert site.client.get("/folder").status_code == 308


def test_a_refusal_keeps_its_headers(site: Site) -> None:
    site.store_is_up = False
    answer = site.client.get("/health/ready")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "1"
