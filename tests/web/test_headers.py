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
