"""The results of a run: one line per check for people, JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

OK: Final = "ok"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """`outcome` is ok, failed or skipped. `note` is why a check was skipped, or what else there is to know.

    `fix` is what mends a failure, where that is known.
    """

    name: str
    promise: str
    outcome: str
    seconds: float
    note: str = ""
    expected: str = ""
    got: str = ""
    left: int = 0
    fix: str = ""

    def line(self) -> str:
        """One line, whatever the deployment sent."""
        shown = f"{self.outcome.upper() if self.outcome == FAILED else self.outcome:8} {self.name:24} {self.promise}"
        if self.outcome == FAILED:
            shown += f": expected {self.expected}, got {self.got}"
            shown += f"; to mend it: {self.fix}" if self.fix else ""
        return _plain(f"{shown} ({self.note})" if self.note else shown)


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a run against `url`; `seconds` is how long all of it took, `known` how many of its users stay."""

    url: str
    results: Sequence[Result]
    seconds: float
    known: int = 0

    @property
    def ok(self) -> bool:
        return all(result.outcome != FAILED for result in self.results)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(result.outcome for result in self.results)
        return {outcome: found[outcome] for outcome in (OK, FAILED, SKIPPED)}

    @property
    def left(self) -> int:
        """Messages that were not taken back; they expire."""
        return sum(result.left for result in self.results)

    def summary(self) -> str:
        """The last line."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
        left = f"; not retracted, but expiring in 15 minutes: {self.left}" if self.left else ""
        known = f"; users that stay known for a while: {self.known}" if self.known else ""
        return f"{self.url}: {counts} in {self.seconds:.1f} s{left}{known}"

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program."""
        results = [asdict(result) for result in self.results]
        about = {"url": self.url, "ok": self.ok, "seconds": self.seconds, "counts": self.counts, "known": self.known}
        return {**about, "checks": results}


def _plain(text: str) -> str:
    return "".join([char if char.isprintable() else " " for char in text])
