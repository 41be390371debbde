"""The headers on every answer."""

from __future__ import annotations

import pytest

from tests.web.identity_app import open_site


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/bug", "/login", "/static/belfry.css"])
def test_no_browser_guesses_the_type_of_an_answer(path: str) -> None:
    with open_site(demo=True).client.get(path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_runs_only_our_own_scripts_and_sits_in_no_frame() -> None:
    headers = open_site(demo=True).client.get("/login").headers
    policy = headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_no_text_can_become_markup_in_a_page() -> None:
    policy = open_site(demo=True).client.get("/login").headers["Content-Security-Policy"].split("; ")
    assert {"require-trusted-types-for 'script'", "trusted-types belfry-push", "form-action 'self'"} <= set(policy)


@pytest.mark.parametrize(("scheme", "sent"), [("https", True), ("http", False)])
def test_over_tls_browsers_are_told_to_stay_there(scheme: str, sent: bool) -> None:
    answer = open_site().client.get("/health/live", environ_overrides={"wsgi.url_scheme": scheme})
    assert ("Strict-Transport-Security" in answer.headers) is sent


def test_a_page_needs_no_camera() -> None:
    headers = open_site(demo=True).client.get("/login").headers
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_no_cache_keeps_an_answer_of_the_api() -> None:
    assert open_site().client.get("/health/live").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/admin", "//admin", "/admin/people", "/admin/?a=b", "/", "//evil.example//admin"])
def test_a_redirect_never_names_the_host_that_the_client_sent(path: str) -> None:
    answer = open_site(demo=True).client.get(path, headers={"Host": "localhost:666"})
    location = answer.headers.get("Location", "/")
    assert "666" not in location
    assert location.startswith("/")
    assert not location.startswith("//")


def test_a_redirect_keeps_its_path_and_query() -> None:
    answer = open_site(demo=True).client.get("/admin/people?a=b://c")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/admin/people/?a=b://c")
