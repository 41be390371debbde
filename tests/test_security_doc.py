"""Every route has its row, in the table of operations and in SECURITY.md.

`python -m tests.test_security_doc` prints the table for pasting.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import create_app
from app.core.masking import BLOCK_LINES
from app.core.settings import PREFIX, Settings
from app.core.wire.strict_json import DEPTH_MAX
from app.server.request import BYTES_PER_CHUNK, FREE_CHUNKS, FREE_READS
from app.web.api.operations import OPERATIONS, Access, Operation
from app.web.api.publish import REFUSALS_TOLD

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
    paths = {
        (method, path)
        for path, endpoint in app.extensions["belfry.endpoints"].items()
        for method in set(endpoint.methods) - IMPLIED
    }
    return paths | {
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


def test_the_numbers_beside_settings_are_their_defaults() -> None:
    """`BELFRY_NAME`, 1,000: the number that follows a setting's name in a table or a sentence."""
    text = SECURITY.read_text(encoding="utf-8")
    told = re.findall(rf"`{PREFIX}([A-Z_]+)`(?: sessions)?(?: at most)?, ([\d,]*\d)( KiB| MiB)?", text)
    assert len(told) >= 4
    sizes = {"": 1, " KiB": 1_024, " MiB": 1_048_576}
    for name, number, unit in told:
        assert Settings.model_fields[name.lower()].default == int(number.replace(",", "")) * sizes[unit], name


def test_every_sample_token_in_the_documentation_says_when_it_was_issued() -> None:
    """Without `iat` it stops counting for good once its user was withdrawn."""
    root = SECURITY.parent.parent
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "deploy").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    samples = re.findall(r"\{[^{}]*[\"']?\bsub\b[^{}]*\bexp\b[^{}]*\}", text)
    assert samples
    assert [sample for sample in samples if not re.search(r"\biat\b", sample)] == []


def written(number: int) -> str:
    """As the page has it: sizes that are whole KiB or MiB in those, all else with commas."""
    for unit, size in (("MiB", 1_048_576), ("KiB", 1_024)):
        if number % size == 0:
            return f"{number // size} {unit}"
    return f"{number:,}"


def rows_with_numbers() -> list[tuple[str, str]]:
    """The rows of limits that tell a setting's default, with that setting's name."""
    limits = SECURITY.read_text(encoding="utf-8").partition("## Limits")[2]
    return [
        (row, found[1])
        for row in limits.splitlines()
        if (found := re.search(rf"`{PREFIX}([A-Z_]+)`,? [0-9]", row)) is not None
    ]


@pytest.mark.parametrize(("row", "name"), rows_with_numbers(), ids=[name for _, name in rows_with_numbers()])
def test_a_limit_of_the_security_page_is_the_default_of_its_setting(row: str, name: str) -> None:
    default = Settings.model_fields[name.lower()].default
    assert f"`{PREFIX}{name}`, {written(default)}" in row


def test_the_security_page_tells_the_limits_that_are_no_settings() -> None:
    page = SECURITY.read_text(encoding="utf-8")
    for told in (
        f"JSON | {DEPTH_MAX} levels",
        f"refused lines of a batch that are told in full | {REFUSALS_TOLD} |",
        f"after {FREE_READS} reads",
        f"chunks of a body | {FREE_CHUNKS:,}, and one more for every {BYTES_PER_CHUNK} bytes",
        f"{BLOCK_LINES} lines of a traceback",
    ):
        assert told in page
    configuration = Path(SECURITY.parent.parent, "gunicorn.conf.py").read_text(encoding="utf-8")
    for setting, value in re.findall(
        r"^(limit_request_(?:line|fields|field_size)) = (\d+)", configuration, re.MULTILINE
    ):
        assert f"{int(value):,}" in page, setting


if __name__ == "__main__":
    print(route_table())
