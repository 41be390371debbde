"""Logging of the server processes: gunicorn's and our own records in one format, masked, and not repeated without end.

The gunicorn configuration names this module, and the master imports it unpatched: it imports nothing that opens
sockets.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TypeAlias

from gunicorn.glogging import Logger

from ..core.masking import LINE_BYTES, cut, log_block, log_line, mask
from ..core.settings import load

ExceptionInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

FORMAT: Final = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"
FIELDS: Final = "fields"  # a record's attribute: what it tells, by name, for programs that read the log
JSON_FRAME_BYTES: Final = 160  # of a JSON line beside the text: time, level, logger, process

REPEATS: Final = 5  # of a line within a period that are written
PERIOD_SECONDS: Final = 60.0
TEXTS_MAX: Final = 1_000  # lines that are remembered; beyond that all are written
TEXT_MAX: Final = 300


class MaskingFormatter(logging.Formatter):
    """Formats a record as one line, and its traceback as marked lines; neither holds a credential or exceeds a bound.

    A line has at most `line_bytes`, its end included. Times are RFC 3339 in UTC.
    """

    def __init__(self, fmt: str | None = None, datefmt: str | None = None, line_bytes: int = LINE_BYTES) -> None:
        super().__init__(fmt, datefmt)
        self._most_bytes = line_bytes - 1

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002 - logging's own
        return moment(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return log_line(super().formatMessage(record), self._most_bytes)

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 - logging's own name
        return log_block(super().formatException(ei), self._most_bytes)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's own name
        return log_block(super().formatStack(stack_info), self._most_bytes)


class JsonFormatter(MaskingFormatter):
    """Formats a record as one JSON object on one line, its traceback included, under the same bounds.

    Members: `time`, `level`, `logger`, `pid`, `message`, the record's `FIELDS`, and `exception` where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": self._text(record.getMessage()),
        }
        fields = getattr(record, FIELDS, {})
        told |= {name: self._text(value) if isinstance(value, str) else value for name, value in fields.items()}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)

    def _text(self, text: str) -> str:
        """JSON escapes line ends and control characters, so only masking and the bound are left to do here."""
        most = max(self._most_bytes - JSON_FRAME_BYTES, 64)
        return cut(mask(cut(text, most)), most).encode(errors="backslashreplace").decode()


def moment(record: logging.LogRecord) -> str:
    """When a record was made, to the millisecond, as RFC 3339 in UTC."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Repeats(logging.Filter):
    """Counts repeated lines instead of writing them.

    Within a period a line is written `REPEATS` times. The first one after the period says how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._known: dict[tuple[str, int, str], list[float]] = {}  # began, written, left out

    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, FIELDS):
            return True  # an event of its own, such as a closed stream: no other line is the same
        now = self._clock()
        text = record.getMessage()
        line = (record.name, record.levelno, text[:TEXT_MAX])
        known = self._known.get(line)
        if known is None or now - known[0] >= PERIOD_SECONDS:
            self._begin(line, now)
            if known is not None and known[2]:
                record.msg, record.args = f"{text} ({known[2]:.0f} times more in the last {now - known[0]:.0f} s)", ()
            return True
        if known[1] < REPEATS:
            known[1] += 1
            return True
        known[2] += 1
        return False

    def _begin(self, line: tuple[str, int, str], now: float) -> None:
        if len(self._known) >= TEXTS_MAX:
            self._known = {line: known for line, known in self._known.items() if now - known[0] < PERIOD_SECONDS}
        if len(self._known) < TEXTS_MAX:
            self._known[line] = [now, 1, 0]


class MaskingLogger(Logger):
    """gunicorn's logger, with our formatter on its handlers and on the root's."""

    def setup(self, cfg: Any) -> None:
        """Set up gunicorn's logs, then all others: warnings, errors and closed streams go to stderr."""
        super().setup(cfg)
        settings = load(os.environ)
        kind = JsonFormatter if settings.log_format == "json" else MaskingFormatter
        root = logging.getLogger()
        if not root.handlers:
            root.addHandler(logging.StreamHandler(sys.stderr))
        repeats = Repeats()
        for handler in (*root.handlers, *self.error_log.handlers):
            handler.setFormatter(kind(FORMAT, None, settings.log_line_bytes))
            for former in [each for each in handler.filters if isinstance(each, Repeats)]:
                handler.removeFilter(former)
            handler.addFilter(repeats)
        for handler in self.access_log.handlers:  # its lines have gunicorn's own format, and each one counts
            plain = handler.formatter or logging.Formatter()
            handler.setFormatter(kind(plain._fmt, plain.datefmt, settings.log_line_bytes))  # noqa: SLF001 - has no public name
        logging.getLogger("belfry.closed").setLevel(logging.INFO)
