"""Refusals that lie ready say what Flask would, also to pages of other origins."""

from __future__ import annotations

import pytest
from flask import Flask
from prometheus_client import REGISTRY
from werkzeug.http import parse_list_header

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.web.edge.answers import Answers
from app.web.edge.prepared_answers import PreparedAnswer

ALLOWED = "https://app.example"
ORIGINS = ("", ALLOWED, "https://elsewhere.example", "null")
ERROR = BelfryError("overloaded", "Later.", headers={"Retry-After": "1"})


def build(allowed: str) -> Flask:
    app = Flask("site")
    Answers(Settings(cors_origins=allowed)).install(app)

    @app.get("/")
    def fail() -> str:
        raise ERROR

    return app


@pytest.mark.parametrize("allowed", ["", f"{ALLOWED},https://other.example"])
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_each_is_what_flask_answers(allowed: str, origin: str, scheme: str) -> None:
    app = build(allowed)
    ready = PreparedAnswer(Answers(Settings(cors_origins=allowed)), ERROR, parse_list_header(allowed)).answer(
        origin, scheme
    )
    asked = {"Origin": origin} if origin else {}
    flask = app.test_client().get("/", base_url=f"{scheme}://localhost", headers=asked)
    first, *lines = ready.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert first == f"HTTP/1.1 {flask.status}"
    assert sorted(lines) == sorted(f"{name}: {value}" for name, value in flask.headers.items())
    assert ready.partition(b"\r\n\r\n")[2] == flask.data
    assert (f"Access-Control-Allow-Origin: {ALLOWED}" in lines) is (bool(allowed) and origin == ALLOWED)
    assert ("Strict-Transport-Security" in flask.headers) is (scheme == "https")


def test_a_refusal_is_counted_when_it_is_sent_and_not_when_it_is_prepared() -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("belfry_refusals_total", {"code": ERROR.code}) or 0

    before = counted()
    ready = PreparedAnswer(Answers(Settings(cors_origins=ALLOWED)), ERROR, [ALLOWED])
    assert counted() == before, "nobody was refused yet"
    ready.answer()
    ready.answer(ALLOWED, "https")
    assert counted() == before + 2
