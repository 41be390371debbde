"""When a request is sent again, and after how long. A repetition is safe because every message has an id."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

LATER: Final = frozenset({408, 429, 503, 507})  # statuses after which the same request may succeed


@dataclass(frozen=True, slots=True)
class Retries:
    """`tries` in all. The delay doubles from `first_seconds` up to `most_seconds`, at random within that.

    `Retry-After` is obeyed where it is longer, up to `patience_seconds`.
    """

    tries: int = 5
    first_seconds: float = 0.5
    most_seconds: float = 10.0
    patience_seconds: float = 60.0

    def delay(self, failures: int, retry_after: str | None = None) -> float | None:
        """Seconds until the next try after so many failures; None if there is none."""
        if failures >= self.tries:
            return None
        backoff = random.uniform(0, min(self.most_seconds, self.first_seconds * 2 ** min(failures, 16)))  # noqa: S311 - spreads clients, hides nothing
        asked = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
        return max(backoff, min(asked, self.patience_seconds))
