"""No credential in a log, and no line that was not logged."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.masking import BLOCK_LINES, LINE_BYTES, log_block, log_line

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


@pytest.mark.parametrize("text", ["x" * 9_000, "é" * 9_000, "\u2028" * 9_000, "?a=b&a=b" * 9_000, "\ud800" * 9_000])
def test_a_line_has_a_bound_in_bytes_also_where_masks_and_escapes_are_longer(text: str) -> None:
    line = log_line(text)
    assert len(line.encode()) <= LINE_BYTES
    assert line.endswith("[cut]")
    assert len(log_line(text, 500).encode()) <= 500


def test_a_line_within_the_bound_is_not_cut() -> None:
    assert log_line("é" * (LINE_BYTES // 2)) == "é" * (LINE_BYTES // 2)


def test_a_credential_that_the_cut_goes_through_is_masked() -> None:
    line = log_line("x" * (LINE_BYTES - 20) + " " + TOKEN)
    assert "eyJ" not in line


def test_a_traceback_has_a_bound_and_keeps_its_beginning_and_its_end() -> None:
    block = log_block("\n".join([f"line {number}" for number in range(1_000)])).split("\n")
    assert len(block) == BLOCK_LINES + 1
    assert block[0].endswith("line 0")
    assert block[-1].endswith("line 999")
    assert "936 lines left out" in block[BLOCK_LINES // 2]


@pytest.mark.parametrize("text", [f"??ticket={SECRET}", f"?a?b={SECRET}", f"&&x={SECRET}", f"eyJ{SECRET}", f"-{TOKEN}"])
def test_odd_spellings_are_masked_too(text: str) -> None:
    assert SECRET not in log_line(text)
    assert TOKEN.split(".")[1] not in log_line(text)
