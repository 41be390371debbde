"""Writes `search.json`: the text of every section of the site, which the page `search/` searches in the browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from docutils import nodes

from . import http_reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FILE: Final = "search.json"
HTTP_REFERENCE: Final = "reference/http"


class SearchIndex:
    """The sections of all pages of one build."""

    def __init__(self) -> None:
        self._entries: list[dict[str, str]] = []

    def collect(self, app: Sphinx, tree: nodes.document, page: str) -> None:
        """Add the sections of a page."""
        address = app.builder.get_target_uri(page)
        sections = list(tree.findall(nodes.section))
        heading = _title(sections[0]) if sections else page
        for section in sections:
            is_first = section.parent is tree
            self._entries.append(
                {
                    "title": _title(section),
                    "page": "" if is_first else heading,
                    "address": address if is_first else f"{address}#{section['ids'][0]}",
                    "text": _text(section),
                }
            )
        if page == HTTP_REFERENCE:
            self._entries += http_reference.entries(address)

    def write(self, app: Sphinx, failure: Exception | None) -> None:
        """Write the index at the end of a build."""
        if failure is None:
            entries = sorted(self._entries, key=lambda entry: entry["address"])
            text = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
            Path(app.outdir, FILE).write_text(text, encoding="utf-8")


def _title(section: nodes.section) -> str:
    return str(section[0].astext())


def _text(section: nodes.section) -> str:
    """Return the text of `section` without its title and without the sections in it."""
    parts = [
        child.astext()
        for child in section.children
        if not isinstance(child, nodes.section | nodes.title | nodes.raw | nodes.comment)
    ]
    return " ".join(" ".join(parts).split())
