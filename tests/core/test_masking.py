"""No credential in a log, and no line that was not logged."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.masking import log_block, log_line

TOKEN = jwt.encode({"sub": "alice"}, "x" * 32, "HS256")
SECRET = "kJ8vQ2mN5pR7tW9y"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"authorization: bearer {SECRET}",
        f"Cookie: belfry_session={SECRET}; theme=dark",
        f"{{'Cookie': '__Host-belfry_session={SECRET}'}}",
        f"Set-Cookie: __Host-belfry_session={SECRET}; Secure",
        f'"GET /stream?ticket={SECRET} HTTP/1.1" 200',
        f"GET /stream?topics=a&last_event_id={SECRET}",
        f"GET /feed?before={SECRET}#x",
        f'{{"ticket": "{SECRET}"}}',
        f"password={SECRET}",
    ],
)
def test_a_credential_is_masked_wherever_it_stands(text: str) -> None:
    assert SECRET not in log_line(text)
    assert "[masked]" in log_line(text)


@pytest.mark.parametrize("text", [TOKEN, f"bad token {TOKEN!r}", TOKEN[:-10], f"x={TOKEN}"])
def test_a_token_is_known_by_its_look(text: str) -> None:
    assert TOKEN.split(".")[1] not in log_line(text)


def test_what_is_no_credential_stays_readable() -> None:
    line = "stream of 'alice' closed: replaced (/stream, 3 topics)"
    assert log_line(line) == line


def test_the_names_in_a_query_stay_and_its_values_go() -> None:
    assert log_line("GET /feed?limit=5&unread=1") == "GET /feed?limit=[masked]&unread=[masked]"


@given(st.text())
def test_whatever_is_logged_stays_on_its_line(text: str) -> None:
    line = log_line(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line)


def test_a_line_of_a_traceback_can_t_be_taken_for_a_record() -> None:
    block = log_block(f"Traceback:\n  x\nValueError: a\r[2026-01-01] [INFO] forged {TOKEN}")
    assert all(line.startswith("  | ") for line in block.split("\n"))
    assert "\r" not in block
    assert TOKEN not in block
