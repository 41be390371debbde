"""Every route has its row, in the table of operations and in SECURITY.md.

`python -m tests.test_security_doc` prints the table for pasting.
"""

from __future__ import annotations

import re
from pathlib import Path

from app import create_app
from app.core.settings import PREFIX, Settings
from app.web.api.operations import OPERATIONS, Access, Operation

SECURITY = Path(__file__).resolve().parent.parent / ".github" / "SECURITY.md"
IMPLIED = {"HEAD", "OPTIONS"}  # Flask's own, as GET is and without a view

_OUTCOMES = {
    Access.PUBLIC: ("served", "served", "served"),
    Access.SCOPE: ("401 `token_missing`", "401", "403 `scope_missing`"),
    Access.TOKEN: ("401 `token_missing`", "401", "served"),
    Access.OWN_COOKIE: ("served, nothing to end", "served", "served"),
    Access.PAGE: ("to the sign-in, or 401", "to the sign-in, or 401", "403 `scope_missing`"),
}


def routes() -> set[tuple[str, str]]:
    """Method and path of everything that the application answers."""
    app = create_app(Settings(secret="x" * 32, redis_url="redis://nowhere"))
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - IMPLIED
    }


def route_table() -> str:
    """Route × credential × outcome as Markdown."""
    head = [
        "| Route | For | Scope | No credential | Expired, forged, revoked | Without the scope |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *[_row(operation) for operation in OPERATIONS]])


def _row(operation: Operation) -> str:
    route = f"`{operation.method} {operation.path}`"
    return f"| {' | '.join([route, operation.access.value, operation.needs, *_OUTCOMES[operation.access]])} |"


def test_every_route_has_its_row_and_every_row_its_route() -> None:
    assert {(operation.method, operation.path) for operation in OPERATIONS} == routes()


def test_the_security_page_shows_the_table_as_it_is() -> None:
    assert route_table() in SECURITY.read_text(encoding="utf-8")


def test_the_security_page_names_settings_that_there_are() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", SECURITY.read_text(encoding="utf-8"))) <= known


def test_every_sample_token_in_the_documentation_says_when_it_was_issued() -> None:
    """Without `iat` it stops counting for good once its user was withdrawn."""
    root = SECURITY.parent.parent
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "deploy").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    samples = re.findall(r"\{[^{}]*[\"']?\bsub\b[^{}]*\bexp\b[^{}]*\}", text)
    assert samples
    assert [sample for sample in samples if not re.search(r"\biat\b", sample)] == []


if __name__ == "__main__":
    print(route_table())
