"""The server's log: one line a record, without credentials."""

from __future__ import annotations

import io
import logging
import sys

from app.core.masking import LINE_BYTES
from app.server.logger import MaskingFormatter

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
