"""Every route has its row, in the table of operations and in SECURITY.md.

`python -m tests.test_security_doc` prints the table for pasting.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import create_app
from app.core import rate
from app.core.completion import MODEL_MAX_CHARS, TITLE_MAX_CHARS, USAGE_MAX_CHARS
from app.core.completion.usage import COUNTS_MAX
from app.core.dialects.responses_request import ECHO_MAX_CHARS, METADATA_MAX_CHARS
from app.core.identity.jwk import RSA_MIN_BITS
from app.core.identity.names import NAME_MAX_BYTES
from app.core.identity.tokens import LEEWAY_SECONDS, TOKEN_ID_MAX
from app.core.log import cursor
from app.core.masking import BLOCK_LINES
from app.core.message import ERRORS_TOLD
from app.core.push.endpoint import ENDPOINT_MAX
from app.core.settings import PREFIX, SECRET_MIN_BYTES, Settings
from app.core.wire.strict_json import DEPTH_MAX
from app.live.identity import revocation_watch
from app.server.request import BYTES_PER_CHUNK, FREE_CHUNKS, FREE_READS
from app.server.worker import SPARE_PLACES
from app.store.identity import sessions
from app.store.insight.audit import REFUSED_SHARE
from app.store.runs.runs import DETAIL_MAX_CHARS
from app.store.timers.timers import LIST_BYTES
from app.web.api.admin import BODY_MAX_BYTES
from app.web.api.operations import OPERATIONS, Access, Operation
from app.web.api.publish import REFUSALS_TOLD
from app.web.edge.client_address import HOPS_MAX
from app.web.pages.sign_in import FORM_MAX_BYTES

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


def test_every_sample_token_in_the_documentation_says_when_it_was_issued() -> None:
    """Without `iat` it stops counting for good once its user was withdrawn."""
    root = SECURITY.parent.parent
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "deploy").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    samples = re.findall(r"\{[^{}]*[\"']?\bsub\b[^{}]*\bexp\b[^{}]*\}", text)
    assert samples
    assert [sample for sample in samples if not re.search(r"\biat\b", sample)] == []


def gunicorn_setting(name: str) -> int:
    text = Path(SECURITY.parent.parent, "app/server/configuration.py").read_text(encoding="utf-8")
    found = re.search(rf"^{name} = ([\d_]+)", text, re.MULTILINE)
    assert found is not None, name
    return int(found[1])


def written(number: float) -> str:
    """As the page has it: sizes that are whole KiB or MiB in those, all else with commas."""
    for unit, size in (("MiB", 1_048_576), ("KiB", 1_024)):
        if number >= size and number % size == 0:
            return f"{number / size:g} {unit}"
    return f"{number:,.15g}"


# Every number of the page that is no setting's default, in the words around it.
FIXED = (
    f"RSA keys have {RSA_MIN_BITS:,} bits or more, secrets {SECRET_MIN_BYTES} bytes or more",
    f"ends within {2 * revocation_watch.POLL_SECONDS:g} s",
    f"for {sessions.TICKET_SECONDS} s; logs mask",
    f"{8 * sessions.ID_BYTES} random bits",
    f"{HOPS_MAX} entries at most",
    f"leeway of {LEEWAY_SECONDS} s",
    f"{rate.KEYS_MAX:,} users, addresses or names",
    f"hold places for {gunicorn_setting('keepalive')} s each",
    f"each header {gunicorn_setting('limit_request_line'):,} bytes; {gunicorn_setting('limit_request_fields')} headers",
    f"tiny pieces | {FREE_READS} reads",
    f"chunks of a body | {FREE_CHUNKS:,}, and one more for every {BYTES_PER_CHUNK} bytes",
    f"told in full | {REFUSALS_TOLD}",
    f"message that are told | {ERRORS_TOLD}",
    f"JSON | {DEPTH_MAX} levels;",
    f"name of a model | {MODEL_MAX_CHARS} characters",
    f"title of a conversation | {TITLE_MAX_CHARS} characters",
    f"error text of an upstream, kept with a run | {DETAIL_MAX_CHARS:,} characters",
    f"usage of an upstream, kept with a run | {USAGE_MAX_CHARS:,} characters",
    f"only its first {COUNTS_MAX} counts",
    f"kept with a run | {ECHO_MAX_CHARS:,} characters of JSON; `metadata` {METADATA_MAX_CHARS:,}",
    f"device for Web Push | {ENDPOINT_MAX:,} characters",
    f"page of scheduled messages | {LIST_BYTES // 1_024} KiB",
    f"order of an administrator | {FORM_MAX_BYTES // 1_024} KiB",
    f"user id, topic | {NAME_MAX_BYTES} bytes",
    f"`jti` of a token | {TOKEN_ID_MAX:,} characters",
    f"cursor | {cursor.MAX_BYTES} bytes, {cursor.MAX_LOGS} logs",
    f"{BLOCK_LINES} lines of a traceback",
    f"{gunicorn_setting('worker_connections'):,} (`worker_connections`), and {SPARE_PLACES} more for health checks",
)
# Digits that are part of a name, and the statuses of answers.
NAMES = re.compile(
    r"SHA-256|UTF-8|base64url|HTTP/1\.1|gets (?:400|503)|The 401 says|: 421 |\| (?:4\d\d|503)\b|, (?:415|431)\b|`[^`]*`"
)
SETTING = re.compile(rf"`{PREFIX}([A-Z_]+)`, ([\d,.]*\d(?: [KM]iB)?)")


def described() -> str:
    """The page behind the table of routes, a line each without a break inside a sentence."""
    text = SECURITY.read_text(encoding="utf-8").partition("## Threats")[2]
    return re.sub(r"\n  (?=\S)", " ", text)


def unexplained(text: str) -> list[str]:
    """The numbers of `text` that neither a setting nor `FIXED` explains, with the words around them."""
    text = SETTING.sub("", text)
    for words in FIXED:
        text = text.replace(words, "")
    text = NAMES.sub("", text)
    return [text[max(found.start() - 30, 0) : found.end() + 10] for found in re.finditer(r"\d+", text)]


@pytest.mark.parametrize(("name", "number"), sorted(set(SETTING.findall(described()))))
def test_a_number_beside_a_setting_is_its_default(name: str, number: str) -> None:
    assert number == written(Settings.model_fields[name.lower()].default)


def test_every_row_of_limits_tells_the_defaults_of_its_settings() -> None:
    limits = described().partition("## Limits")[2]
    assert set(re.findall(rf"`{PREFIX}([A-Z_]+)`", limits)) == {name for name, _ in SETTING.findall(limits)}


@pytest.mark.parametrize("words", FIXED)
def test_the_page_tells_each_fixed_number(words: str) -> None:
    assert words in described()


def test_the_page_tells_no_number_that_nothing_holds() -> None:
    assert unexplained(described()) == []
    assert unexplained("at most 7 of them, `BELFRY_MAX_RECIPIENTS`, 1,000") == ["at most 7 of them, "]


def test_numbers_that_the_page_tells_once_hold_for_each_of_their_places() -> None:
    assert gunicorn_setting("limit_request_field_size") == gunicorn_setting("limit_request_line")
    assert BODY_MAX_BYTES == FORM_MAX_BYTES
    assert REFUSED_SHARE == 4  # "a quarter"


if __name__ == "__main__":
    print(route_table())
