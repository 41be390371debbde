"""Copies the pages of the repository into one folder, as Sphinx reads them.

`docs/index.md` is the table of contents: each of its headings becomes a part of the navigation, with the pages that the
section's list links to, in their order. A page of another folder, such as the changelog, becomes a page of the site. A
link to another file of `deploy/` or to a picture becomes a download. The site has no source code, so a link to source
code becomes its text.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import http_reference

REPOSITORY: Final = Path(__file__).resolve().parents[2]
DOCS: Final = REPOSITORY / "docs"
INDEX: Final = DOCS / "index.md"
HTTP_REFERENCE: Final = "reference/http.md"
README: Final = REPOSITORY / "README.md"  # the first page of the site stands for it
# Pages of the repository outside docs/, and their places on the site.
ELSEWHERE: Final = {
    README: "index.md",
    REPOSITORY / "README.zh-CN.md": "zh/readme.md",
    REPOSITORY / "CHANGELOG.md": "changelog.md",
    REPOSITORY / "CONTRIBUTING.md": "contributing.md",
    REPOSITORY / ".github" / "SECURITY.md": "security.md",
    REPOSITORY / "clients" / "python" / "README.md": "clients/python.md",
    REPOSITORY / "clients" / "js" / "README.md": "clients/javascript.md",
}
DOWNLOADS: Final = (".github/images", "deploy", "docs")
_FENCE: Final = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"(?P<picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
_SECTION: Final = re.compile(r"^## +(?P<title>.+?) *$(?P<body>.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_ENTRY: Final = re.compile(r"^- \[([^\]]+)\]\(([^)#\s]+\.md)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the navigation: pages, each with the title that it has there."""

    title: str
    pages: tuple[tuple[str, Path], ...]


def sections() -> list[Section]:
    """Return the parts of the table of contents that name pages."""
    found = []
    for section in _SECTION.finditer(INDEX.read_text(encoding="utf-8")):
        entries = [(title, Path(os.path.normpath(DOCS / path))) for title, path in _ENTRY.findall(section["body"])]
        if entries:
            found.append(Section(section["title"], tuple(entries)))
    return found


def pages() -> list[Path]:
    """Return the pages in docs/."""
    return [page for page in sorted(DOCS.rglob("*.md")) if (DOCS / "site") not in page.parents]


def places() -> dict[Path, str]:
    """Return each page and its place on the site."""
    return {page: page.relative_to(DOCS).as_posix() for page in pages()} | ELSEWHERE


def write(folder: Path) -> None:
    """Write every page of the site, and what the pages show, into `folder`."""
    known = places()
    titles = {page: title for section in sections() for title, page in section.pages}
    for page, place in known.items():
        if page == README:
            continue
        text = page.read_text(encoding="utf-8")
        text = rewritten(text, page, place, known, lambda file: _copied(file, folder))
        if not re.search(r"^# ", text, re.MULTILINE):  # the benchmark writes a table without a title
            text = f"# {titles[page]}\n\n{text}"
        _write(folder / place, text + (_contents(known) if page == INDEX else ""))
    _write(folder / HTTP_REFERENCE, http_reference.page())


def rewritten(text: str, page: Path, place: str, places: dict[Path, str], copied: Callable[[Path], str]) -> str:
    """Return the text of `page` with the links that it needs at `place`. Code stays as it is.

    `copied` copies a file to the site, and returns its place.
    """

    def link(match: re.Match[str]) -> str:
        path, _, anchor = match["target"].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        file = Path(os.path.normpath(page.parent / path))
        if file in places:
            target = places[file] + (f"#{anchor}" if anchor and file != README else "")
        elif file.is_file() and file.relative_to(REPOSITORY).as_posix().startswith(DOWNLOADS):
            target = copied(file)
        else:
            return match["text"]
        return f"{match['picture']}[{match['text']}]({os.path.relpath(target, Path(place).parent)})"

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, text[end:])])


def _copied(file: Path, folder: Path) -> str:
    place = Path("files") / file.relative_to(REPOSITORY).as_posix().removeprefix(".")
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / place)
    return place.as_posix()


def _contents(places: dict[Path, str]) -> str:
    """Return Sphinx's tables of contents, one for each part of the navigation."""
    tables = []
    for section in sections():
        entries = [f"{title} <{places[page]}>" for title, page in section.pages]
        if section.title == "Reference":
            entries.insert(0, f"HTTP reference <{HTTP_REFERENCE}>")
        tables.append("\n".join(["```{toctree}", ":hidden:", f":caption: {section.title}", "", *entries, "```"]))
    return "\n\n" + "\n\n".join(tables) + "\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
