"""Refusals that are prepared as bytes: for connections without a Flask request, and for overload.

They have the headers of every answer (`cors`, `headers`), so that pages of other origins can read them. All are made
together with the application, because a worker without a free file descriptor can't even import modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ... import metrics
from ...core.errors import BelfryError
from .answers import Answers

SCHEMES: Final = ("http", "https")
_NOBODY: Final = ""  # no origin, or one that is not on the list


class PreparedAnswer:
    """The answer to `error`, for pages of each of `origins` and for all other clients."""

    def __init__(self, answers: Answers, error: BelfryError, origins: Sequence[str]) -> None:
        self._code = error.code
        self._answers = {
            (origin, scheme): _made(answers, error, origin, scheme)
            for origin in (_NOBODY, *origins)
            for scheme in SCHEMES
        }

    def answer(self, origin: str = _NOBODY, scheme: str = "http") -> bytes:
        """Return the bytes of the answer for the request's `Origin` and scheme, and count the refusal."""
        metrics.refused(self._code)
        return self._answers.get((origin, scheme)) or self._answers[_NOBODY, scheme]


class PreparedRefusals(NamedTuple):
    """The refusals that the worker sends by itself."""

    overloaded: PreparedAnswer
    no_room: PreparedAnswer
    no_place: PreparedAnswer


def _made(answers: Answers, error: BelfryError, origin: str, scheme: str) -> bytes:
    answer = answers.prepared(error, {"wsgi.url_scheme": scheme, "HTTP_ORIGIN": origin}).as_answered()
    return f"HTTP/1.1 {answer.status}\r\n{answer.lines}\r\n".encode("latin-1") + answer.body
