"""The built documentation: every link and anchor leads somewhere, and no page needs what the server's policy forbids.

The build itself fails at a warning, for example at a page that the table of contents does not name.
"""

from __future__ import annotations

import json
import os
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs.site import source
from tests.documentation import built_documentation
from tests.servers import REPOSITORY

OUTSIDE = ("http", "https", "mailto")


class Html(HTMLParser):
    """The links, anchors and inline code of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("href", "src", "action", "data-root") if name in found]
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        self.inline += [f"<{tag} {name}>" for name in found if name == "style" or name.startswith("on")]
        self.inline += [f"<{tag}>"] if tag == "style" or (tag == "script" and "src" not in found) else []


@pytest.fixture(scope="module")
def site() -> Path:
    return built_documentation()


@cache
def read(page: Path) -> Html:
    return Html(page.read_text(encoding="utf-8"))


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def fault(page: Path, link: str) -> str:
    """Return the fault of a link in a page, or '' if the link leads to a page."""
    parts = urlsplit(link)
    if parts.scheme in OUTSIDE:
        return ""
    target = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
    file = target / "index.html" if target.is_dir() else target
    if parts.path.startswith("/") or parts.scheme or parts.netloc:
        return f"{page}: {link} breaks below another path"
    if target.is_dir() and parts.path and not parts.path.endswith("/") and not parts.path.endswith(".."):
        return f"{page}: {link} needs a redirect"
    if not file.is_file():
        return f"{page}: {link} leads to no file"
    if parts.fragment and file.suffix == ".html" and unquote(parts.fragment) not in read(file).anchors:
        return f"{page}: {link} leads to no heading"
    return ""


def test_every_link_and_anchor_leads_somewhere_below_any_path(site: Path) -> None:
    assert len(pages(site)) > 20
    assert [told for page in pages(site) for link in read(page).links if (told := fault(page, link))] == []


def test_a_wrong_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    links = ("gone/", "#gone", "/docs/", "#here")
    page.write_text('<p id="here">' + "".join(f'<a href="{link}">a</a>' for link in links))
    found = [fault(page, link).rpartition("page.html: ")[2] for link in read(page).links]
    assert found == ["gone/ leads to no file", "#gone leads to no heading", "/docs/ breaks below another path", ""]


def test_no_page_has_a_script_or_a_style_in_it(site: Path) -> None:
    assert {page.parent.name: read(page).inline for page in pages(site) if read(page).inline} == {}
    found = Html('<p onclick="f()" style="color: red"><script>f()</script>').inline
    assert found == ["<p onclick>", "<p style>", "<script>"]


def test_the_search_knows_every_section_and_every_call(site: Path) -> None:
    entries = json.loads((site / "search.json").read_text(encoding="utf-8"))
    assert [told for entry in entries if (told := fault(site / "search.json", entry["address"] or "./"))] == []
    titles = {entry["title"] for entry in entries}
    assert {"Settings", "Several nodes", "POST /publish"} <= titles
    assert any("BELFRY_HEARTBEAT_SECONDS" in entry["text"] for entry in entries if entry["title"] == "Settings")


def test_the_table_of_contents_names_every_page() -> None:
    named = {entry for section in source.sections() for _title, entry in section.pages}
    missing = [str(page.relative_to(REPOSITORY)) for page in source.pages() if page not in named | {source.INDEX}]
    assert missing == []


def test_a_link_leads_to_a_page_a_download_or_becomes_text() -> None:
    page = source.DOCS / "made" / "up.md"
    copied: list[Path] = []
    text = (
        "[a](../http.md#publish) [b](../../deploy/nginx.conf) [`c`](../../app/client.py) [d](#here) ![e](https://x.y/z)\n"
        "```md\n[f](../../app/client.py)\n```\n"
    )

    def copy(file: Path) -> str:
        copied.append(file)
        return "files/nginx.conf"

    got = source.rewritten(text, page, "made/up.md", source.places(), copy)
    assert got == (
        "[a](../http.md#publish) [b](../files/nginx.conf) `c` [d](#here) ![e](https://x.y/z)\n"
        "```md\n[f](../../app/client.py)\n```\n"
    )
    assert copied == [REPOSITORY / "deploy" / "nginx.conf"]
