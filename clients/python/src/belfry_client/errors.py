"""What goes wrong: Belfry refused a request, or nobody answered it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BelfryError(Exception):
    """Any failure of a call."""


class UnavailableError(BelfryError):
    """No answer came, or only answers that say "later", until the retries were used up. Call again with the same id."""


class RefusedError(BelfryError):
    """Belfry refused the request. `code` is for programs, `detail` for people, `problem` is the whole answer.

    `id_reused` (409) in a job that is retried means that the message was delivered before, with another text.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        super().__init__(f"{status} {self.code}: {self.detail}")
