"""Static files: compressed for whoever takes that, and open to pages of other origins."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.web.pages.assets import Assets, _compressed, without_comments
from tests.web.identity_app import ROOT, open_site

ENTRY = "/static/belfry.js"
ON_DEMAND = {"custom_tabs.js", "languages.js", "notify.js", "push_setting.js", "remedies.js", "toasts.js"}
ON_DEMAND |= {path.name for path in (ROOT / "app/static/modules").glob("texts_*.js")}
IMPORTED = re.compile(r'"\./(modules/([0-9a-f]{12})/\w+\.js)"')


def imported(client: FlaskClient) -> list[str]:
    """The addresses of the modules that the entry imports."""
    with client.get(ENTRY) as answer:
        return [f"/static/{name}" for name, _version in IMPORTED.findall(answer.data.decode())]


def test_a_browser_gets_the_same_file_compressed() -> None:
    client = open_site().client
    with client.get(ENTRY) as plain, client.get(ENTRY, headers={"Accept-Encoding": "gzip, br"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Length"] == str(len(answer.data))
        assert len(answer.data) < len(plain.data) / 2
        assert gzip.decompress(answer.data) == plain.data


@pytest.mark.parametrize(
    "headers", [{}, {"Accept-Encoding": "gzip;q=0"}, {"Accept-Encoding": "gzip", "Range": "bytes=0-9"}]
)
def test_whoever_does_not_take_that_gets_it_plain(headers: dict[str, str]) -> None:
    with open_site().client.get(ENTRY, headers=headers) as answer:
        assert "Content-Encoding" not in answer.headers
        assert answer.vary.to_header() == "Accept-Encoding"


def test_an_unchanged_file_is_not_sent_again() -> None:
    client = open_site().client
    with client.get(ENTRY, headers={"Accept-Encoding": "gzip"}) as first:
        tag = first.headers["ETag"]
    with client.get(ENTRY, headers={"Accept-Encoding": "gzip", "If-None-Match": tag}) as second:
        assert (second.status_code, second.data) == (304, b"")


def test_pages_of_every_origin_may_load_it() -> None:
    with open_site().client.get(ENTRY) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize("prefix", ["", "/below"])
def test_the_service_worker_may_serve_every_page_of_its_site(prefix: str) -> None:
    client = open_site().client
    below = {"SCRIPT_NAME": prefix}
    with client.get("/static/belfry-push.js", environ_overrides=below) as answer, client.get(ENTRY) as other:
        assert answer.headers["Service-Worker-Allowed"] == f"{prefix}/"
        assert answer.headers["Cache-Control"] == "no-cache", "browsers look for a new version"
        assert "Service-Worker-Allowed" not in other.headers


def test_only_static_files_are_open_like_this() -> None:
    assert "Access-Control-Allow-Origin" not in open_site(demo=True).client.get("/login").headers


def test_the_entry_imports_every_module_from_an_address_with_their_version() -> None:
    """A page of another origin preloads nothing. It then needs two levels of fetches, not one per level of imports."""
    modules = {path.name for path in (ROOT / "app/static/modules").glob("*.js")}
    assert {address.rpartition("/")[2] for address in imported(open_site().client)} == modules - {
        "types.js",
        *ON_DEMAND,
    }


def test_browsers_keep_a_module_and_ask_for_the_entry_again() -> None:
    client = open_site().client
    with client.get(ENTRY) as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
    for address in imported(client):
        with client.get(address) as answer:
            assert (answer.status_code, answer.mimetype) == (200, "text/javascript")
            assert answer.headers["Cache-Control"] == "max-age=31536000, immutable"


def test_a_module_of_another_version_is_the_present_one_and_is_not_kept() -> None:
    """A browser that loaded the entry before an update asks for the modules after it."""
    client = open_site().client
    with client.get("/static/modules/0123456789ab/client.js") as answer:
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    assert client.get("/static/modules/0123456789ab/nothing.js").status_code == 404


def test_a_change_of_any_module_changes_the_version_and_the_entry_s_tag(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "belfry.js").write_text('import "./modules/a.js";\n')
    (tmp_path / "modules/a.js").write_text("1;\n")
    assets = Assets(tmp_path)
    before, entry = assets.version(), assets.find("belfry.js")
    (tmp_path / "modules/b.js").write_text("2;\n")
    after, changed = assets.version(), assets.find("belfry.js")
    assert before != after
    assert entry is not None
    assert changed is not None
    assert entry.etag != changed.etag
    assert changed.content.decode() == f'import "./modules/{after}/a.js";\n'


def test_comments_indentation_and_empty_lines_are_not_sent() -> None:
    script = """// One.
/**
 * Two.
 */
class A {
  /** @type {string} */ b = "// no comment"; // three
  /** Four. */
}
"""
    assert without_comments(script).split("\n") == ["class A {", 'b = "// no comment";', "}", ""]


def test_the_licences_of_other_people_s_code_are_sent() -> None:
    with open_site().client.get("/static/vendor/uplot-1.6.32/uPlot.iife.min.js") as answer:
        assert answer.data.startswith(b"/*! https://github.com/leeoniya/uPlot")


@pytest.mark.parametrize("path", ["x/../belfry.js", "./belfry.js", "vendor/../belfry.js", "vendor/x/../../belfry.js"])
def test_another_spelling_of_a_path_is_compressed_like_the_file_and_once(path: str) -> None:
    client = open_site().client
    with (
        client.get(ENTRY, headers={"Accept-Encoding": "gzip"}) as plain,
        client.get(f"/static/{path}", headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        misses = _compressed.cache_info().misses
        assert (answer.status_code, answer.data) == (200, plain.data)
    with client.get(f"/static/{'vendor/../' * 50}{path}", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.status_code == 200
    assert _compressed.cache_info().misses == misses


@pytest.mark.parametrize(
    "path",
    [
        "../app/server/worker.py",
        "x/../../worker.py",
        "%2e%2e/worker.py",
        "vendor",
        "modules",
        "modules/",
        "",
        "%00",
        "a%ff",
    ],
)
def test_nothing_outside_of_the_folder_is_sent(path: str) -> None:
    answer = open_site().client.get(f"/static/{path}", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code in (301, 308, 404)


@pytest.mark.parametrize(
    "name", ["a" * 256 + ".js", "a" * 5_000 + ".css", "a/" * 3_000 + "b.svg", "modules/" + "é" * 200 + ".js"]
)
def test_a_name_that_no_file_can_have_is_not_found(name: str) -> None:
    """The system refuses such a name with an error of its own: `ENAMETOOLONG`."""
    assert open_site().client.get(f"/static/{name}").status_code == 404
