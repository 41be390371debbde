"""Logging of the server processes: gunicorn's and our own records through one formatter that masks credentials.

Named in gunicorn.conf.py and imported in the master, unpatched: it imports nothing that opens sockets.
"""

from __future__ import annotations

import logging
import os
import sys
from types import TracebackType
from typing import Any, TypeAlias

from gunicorn.glogging import Logger

from ..core.masking import LINE_BYTES, log_block, log_line
from ..core.settings import load

ExceptionInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"


class MaskingFormatter(logging.Formatter):
    """Formats a record as one line, and its traceback as marked lines; neither holds a credential or exceeds a bound.

    A line has at most `line_bytes`, its end included.
    """

    def __init__(self, fmt: str | None = None, datefmt: str | None = None, line_bytes: int = LINE_BYTES) -> None:
        super().__init__(fmt, datefmt)
        self._most_bytes = line_bytes - 1

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return log_line(super().formatMessage(record), self._most_bytes)

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 - logging's own name
        return log_block(super().formatException(ei), self._most_bytes)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's own name
        return log_block(super().formatStack(stack_info), self._most_bytes)


class MaskingLogger(Logger):
    """gunicorn's logger, with our formatter on its handlers and on the root's."""

    def setup(self, cfg: Any) -> None:
        """Set gunicorn's logs up, then those of everybody else: warnings and worse, to stderr."""
        super().setup(cfg)
        line_bytes = load(os.environ).log_line_bytes
        root = logging.getLogger()
        if not root.handlers:
            root.addHandler(logging.StreamHandler(sys.stderr))
            root.handlers[0].setFormatter(logging.Formatter(FORMAT))
        for handler in (*root.handlers, *self.error_log.handlers, *self.access_log.handlers):
            plain = handler.formatter or logging.Formatter()
            handler.setFormatter(MaskingFormatter(plain._fmt, plain.datefmt, line_bytes))  # noqa: SLF001 - has no public name
