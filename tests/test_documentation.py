"""The pages for readers: no link in them is dead, and the README stays short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PAGES: Final = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted(REPOSITORY.glob(".github/*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted((REPOSITORY / "deploy").rglob("*.md")),
]
README_LINES: Final = 200
ON_GITHUB: Final = {"../../security/advisories/new"}  # a page of the repository's web site, not a file
EXTERNAL: Final = ("http:", "https:", "mailto:")
_CODE_BLOCK: Final = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_CODE: Final = re.compile(r"`[^`\n]*`")
_LINK: Final = re.compile(r"\]\(<?([^)\s>]+)>?\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def links(page: Path) -> list[str]:
    """The targets of a page's links and images, without those of other sites."""
    text = _CODE.sub("`code`", _CODE_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return [link for link in _LINK.findall(text) if not link.startswith(EXTERNAL) and link not in ON_GITHUB]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    return set(_anchors(_HEADING.findall(_CODE_BLOCK.sub("", page.read_text(encoding="utf-8")))))


def _anchors(headings: list[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for heading in headings:
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if anchor in seen else anchor
        seen[anchor] = seen.get(anchor, 0) + 1


def fault(page: Path, link: str) -> str:
    """What is wrong with a link; '' for one that leads somewhere."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link}: no file {target}"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"{link}: no heading #{anchor}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_link_is_dead(page: Path) -> None:
    assert [told for link in links(page) if (told := fault(page, link))] == []


def test_a_missing_file_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `word`, two\n\n[a](gone.md) [b](#one-word-two) [c](#gone) [d](https://example.com) `[e](code.md)`\n",
        encoding="utf-8",
    )
    found = [told for link in links(page) if (told := fault(page, link))]
    assert [told.partition(":")[0] for told in found] == ["gone.md", "#gone"]


def test_a_repeated_heading_has_a_number_in_its_anchor(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Added\n\n## Added\n", encoding="utf-8")
    assert anchors(page) == {"added", "added-1"}


def test_the_readme_has_what_a_new_user_needs_and_no_more() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_the_readme_leads_to_the_table_of_contents() -> None:
    """`tests/test_site.py` checks that the table of contents names every page."""
    assert "docs/index.md" in links(REPOSITORY / "README.md")


def test_the_chinese_readme_has_the_same_parts_code_and_links() -> None:
    english, chinese = (REPOSITORY / name for name in ("README.md", "README.zh-CN.md"))
    texts = [page.read_text(encoding="utf-8") for page in (english, chinese)]
    blocks = [_CODE_BLOCK.findall(text) for text in texts]
    assert blocks[1] == blocks[0]
    headings = [len(_HEADING.findall(_CODE_BLOCK.sub("", text))) for text in texts]
    assert headings[1] == headings[0]
    assert links(chinese)[1:] == links(english)[1:], "the first link leads to the other language"
