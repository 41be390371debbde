"""Whatever goes wrong is answered as problem+json."""

from __future__ import annotations

import logging

import pytest

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


def test_a_bug_is_logged_and_tells_the_client_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = site.client.get("/bug")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (500, "internal_error")
    assert "a secret detail" not in answer.text
    assert "a secret detail" in caplog.text


def test_a_redirect_of_the_router_stays_a_redirect(site: Site) -> None:
    assert site.client.get("/folder").status_code == 308


def test_a_refusal_keeps_its_headers(site: Site) -> None:
    site.store_is_up = False
    answer = site.client.get("/health/ready")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "1"
