"""`/docs/`: the files of the built site, cached like the static files, and a hint where there is no site."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.core.settings import Settings
from app.web.edge.answers import Answers
from app.web.pages import assets, documentation
from tests.web.identity_app import ROOT, SECRET

PAGE = "<!doctype html><title>Start</title>" + "<p>text</p>" * 50


def client_of(site: Path) -> FlaskClient:
    app = Flask("site", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "app/static"))
    Answers(Settings(secret=SECRET)).install(app)
    assets.install(app)
    app.register_blueprint(documentation.blueprint(site))
    return app.test_client()


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    site = tmp_path / "site"
    (site / "http").mkdir(parents=True)
    (site / "index.html").write_text(PAGE)
    (site / "http" / "index.html").write_text("<title>HTTP</title>")
    (site / "search.json").write_text("[]")
    (tmp_path / "secret").write_text("secret")
    return client_of(site)


def test_a_folder_shows_its_page_under_the_policy_of_every_page(client: FlaskClient) -> None:
    assert "Start" in client.get("/docs/").text
    answer = client.get("/docs/http/")
    assert answer.text == "<title>HTTP</title>"
    assert "trusted-types belfry-push" in answer.headers["Content-Security-Policy"]
    assert client.get("/docs/search.json").mimetype == "application/json"


@pytest.mark.parametrize("path", ["/docs/", "/docs/search.json"])
def test_an_unchanged_file_is_not_sent_again(client: FlaskClient, path: str) -> None:
    first = client.get(path)
    assert first.headers["Cache-Control"] == "no-cache"
    second = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.data) == (304, b"")


def test_a_browser_gets_a_page_compressed_once(client: FlaskClient) -> None:
    answer = client.get("/docs/", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.data).decode() == PAGE


def test_a_folder_without_its_slash_leads_to_the_folder_below_the_same_path(client: FlaskClient) -> None:
    answer = client.get("/docs/http", base_url="http://localhost/push")
    assert (answer.status_code, answer.location) == (308, "/push/docs/http/")


ELSEWHERE = ("/docs/../secret", "/docs/%2e%2e/secret", "/docs/no/", "/docs/http/x", f"/docs/{'x' * 5000}")


@pytest.mark.parametrize("path", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_nothing_else_is_there(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text
    assert "./run docs" not in answer.text


def test_without_a_built_site_the_answer_says_how_to_build_it(tmp_path: Path) -> None:
    for path in ("/docs/", "/docs/http/"):
        answer = client_of(tmp_path / "none").get(path)
        assert answer.status_code == 404
        assert "Run `./run docs`" in answer.get_json(force=True)["detail"]
