"""The server's log: one line a record, without credentials."""

from __future__ import annotations

import io
import json
import logging
import os
import sys

import pytest

from app.core.masking import LINE_BYTES
from app.server.logger import (
    FORMAT,
    PERIOD_SECONDS,
    REPEATS,
    TEXTS_MAX,
    JsonFormatter,
    MaskingFormatter,
    Repeats,
)

SECRET = "kJ8vQ2mN5pR7tW9y"


def logged(message: str, *, failed: bool = False) -> list[str]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(MaskingFormatter("[%(levelname)s] %(message)s"))
    record = logging.LogRecord("x", logging.ERROR, "f", 1, message, (), None)
    if failed:
        try:
            int(f"bad\n[INFO] Bearer {SECRET}")
        except ValueError:
            record.exc_info = sys.exc_info()
    handler.emit(record)
    return out.getvalue().splitlines()


def test_a_record_is_one_line_whatever_it_says() -> None:
    assert logged("a\n[INFO] forged\x1b[2J") == ["[ERROR] a\\n[INFO] forged\\x1b[2J"]


def test_a_traceback_is_marked_and_masked() -> None:
    first, *rest = logged("failed", failed=True)
    assert first == "[ERROR] failed"
    assert rest
    assert all(line.startswith("  | ") for line in rest)
    assert not any(SECRET in line for line in rest)


def test_a_long_record_is_one_line_with_a_bound() -> None:
    (line,) = logged("x" * 500_000)
    assert len(line.encode()) + 1 <= LINE_BYTES


def record(message: str, *args: object, name: str = "belfry.x", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, "f", 1, message, args, None)
    made.created = 1_790_000_000.5
    vars(made).update(extra)
    return made


def test_times_are_rfc_3339_in_utc() -> None:
    line = MaskingFormatter(FORMAT).format(record("hello"))
    assert line == f"2026-09-21T14:13:20.500Z [{os.getpid()}] [WARNING] belfry.x: hello"


def test_json_has_the_same_with_the_record_s_own_fields_and_without_credentials() -> None:
    secret = f"Bearer {SECRET}"
    line = JsonFormatter(FORMAT).format(record(f"went\nwrong: {secret}", fields={"user": f"a {secret}", "bytes": 7}))
    assert "\n" not in line
    assert SECRET not in line
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.500Z",
        "level": "warning",
        "logger": "belfry.x",
        "pid": os.getpid(),
        "message": "went\nwrong: Bearer [masked]",
        "user": "a Bearer [masked]",
        "bytes": 7,
    }


def test_json_is_bounded_and_holds_a_traceback_and_half_an_emoji() -> None:
    assert len(JsonFormatter(FORMAT).format(record("x" * 500_000)).encode()) <= LINE_BYTES
    assert json.loads(JsonFormatter(FORMAT).format(record("\ud83d")))["message"] == "\\ud83d"
    failed = record("failed")
    try:
        int("bad")
    except ValueError:
        failed.exc_info = sys.exc_info()
    assert "ValueError" in json.loads(JsonFormatter(FORMAT).format(failed))["exception"]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\u2066", "\u200f"])
def test_json_holds_no_character_that_moves_a_terminal(character: str) -> None:
    line = JsonFormatter(FORMAT).format(record(f"a{character}b"))
    assert character not in line
    assert json.loads(line)["message"] == f"a{character}b"


def test_a_line_that_repeats_is_counted_and_the_count_is_told_later() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    assert [repeats.filter(record("away: %d", 7)) for _ in range(REPEATS + 3)] == [True] * REPEATS + [False] * 3
    assert repeats.filter(record("away: %d", 8)), "another line"
    clock.now += PERIOD_SECONDS
    told = record("away: %d", 7)
    assert repeats.filter(told)
    assert told.getMessage() == "away: 7 (3 times more in the last 60 s)"
    clock.now += PERIOD_SECONDS
    again = record("away: %d", 7)
    assert repeats.filter(again)
    assert again.getMessage() == "away: 7"


def test_lines_that_all_differ_take_no_more_memory_than_a_bound() -> None:
    repeats = Repeats(Clock())
    assert all(repeats.filter(record(f"line {number}")) for number in range(3 * TEXTS_MAX))
    assert len(repeats._known) <= TEXTS_MAX
