"""Sphinx's settings. The build runs offline, and every warning is an error."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder

from app import __version__
from docs.site.search_index import SearchIndex

project = "Belfry"
author = "The Belfry authors"
release = version = __version__
language = "en"

extensions = ["myst_parser"]
myst_heading_anchors = 4  # headings have the anchors that GitHub gives them
suppress_warnings = ["misc.highlighting_failure", "myst.header"]  # an example may contain `…`
highlight_language = "text"
nitpicky = True

exclude_patterns = ["files"]  # downloads, not pages

html_theme = "theme"
html_theme_path = ["."]
html_title = "Belfry"
html_copy_source = False
html_use_index = False
html_permalinks_icon = "#"
html_domain_indices = False


def _pages(_app: Sphinx) -> list[tuple[str, dict[str, Any], str]]:
    return [("search", {}, "search.html")]


def _scrollable(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Let keyboards scroll what may be wider than a phone."""
    body = context.get("body", "").replace("<pre>", '<pre tabindex="0">')
    body = body.replace("<table", '<div class="table" tabindex="0"><table').replace("</table>", "</table></div>")
    context["body"] = body


def _without_sphinx_search(app: Sphinx) -> None:
    # Sphinx's own search writes HTML by `innerHTML`, which the server's Content-Security-Policy forbids.
    if isinstance(app.builder, StandaloneHTMLBuilder):
        app.builder.search = False


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", _without_sphinx_search)
    app.connect("html-collect-pages", _pages)
    app.connect("html-page-context", _scrollable)
    index = SearchIndex()
    app.connect("doctree-resolved", index.collect)
    app.connect("build-finished", index.write)
