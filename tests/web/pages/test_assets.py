"""Static files: compressed for whoever takes that, and open to pages of other origins."""

from __future__ import annotations

import gzip

import pytest

from app.web.pages.assets import _gzipped
from tests.web.identity_app import ROOT, open_site

MODULE = "/static/belfry.js"


def test_a_browser_gets_the_same_file_compressed() -> None:
    plain = (ROOT / "app" / MODULE.lstrip("/")).read_bytes()
    with open_site().client.get(MODULE, headers={"Accept-Encoding": "gzip, br"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Length"] == str(len(answer.data))
        assert len(answer.data) < len(plain) / 3
        assert gzip.decompress(answer.data) == plain


@pytest.mark.parametrize(
    "headers", [{}, {"Accept-Encoding": "gzip;q=0"}, {"Accept-Encoding": "gzip", "Range": "bytes=0-9"}]
)
def test_whoever_does_not_take_that_gets_it_plain(headers: dict[str, str]) -> None:
    with open_site().client.get(MODULE, headers=headers) as answer:
        assert "Content-Encoding" not in answer.headers
        assert answer.vary.to_header() == "Accept-Encoding"


def test_an_unchanged_file_is_not_sent_again() -> None:
    client = open_site().client
    with client.get(MODULE, headers={"Accept-Encoding": "gzip"}) as first:
        tag = first.headers["ETag"]
    with client.get(MODULE, headers={"Accept-Encoding": "gzip", "If-None-Match": tag}) as second:
        assert (second.status_code, second.data) == (304, b"")


def test_pages_of_every_origin_may_load_it() -> None:
    with open_site().client.get(MODULE) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_only_static_files_are_open_like_this() -> None:
    assert "Access-Control-Allow-Origin" not in open_site(demo=True).client.get("/login").headers


@pytest.mark.parametrize("path", ["x/../belfry.js", "./belfry.js", "vendor/../belfry.js", "vendor/x/../../belfry.js"])
def test_another_spelling_of_a_path_is_compressed_like_the_file_and_once(path: str) -> None:
    client = open_site().client
    with (
        client.get(MODULE, headers={"Accept-Encoding": "gzip"}) as plain,
        client.get(f"/static/{path}", headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        misses = _gzipped.cache_info().misses
        assert (answer.status_code, answer.data) == (200, plain.data)
    with client.get(f"/static/{'vendor/../' * 50}{path}", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.status_code == 200
    assert _gzipped.cache_info().misses == misses


@pytest.mark.parametrize(
    "path", ["../app/server/worker.py", "x/../../worker.py", "%2e%2e/worker.py", "vendor", "", "%00", "a%ff"]
)
def test_nothing_outside_of_the_folder_is_sent(path: str) -> None:
    answer = open_site().client.get(f"/static/{path}", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code in (301, 308, 404)
