"""A check: one promise, the function that tests it, and what the test needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .probe import Probe

# Returns what a person may like to know, or nothing. Raises `FailedError` or `SkippedError`.
Trial = Callable[[Probe], str | None]


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is `group.check`, `promise` a sentence; `scopes` are those of the tokens that it uses.

    `doctor` tells that it is of the short form, which looks at the way to the server.
    """

    name: str
    promise: str
    scopes: tuple[str, ...]
    trial: Trial
    doctor: bool


@dataclass
class Group:
    """The checks of one subject, in the order of their definition."""

    name: str
    checks: list[Check] = field(default_factory=list)

    def check(self, *scopes: str, doctor: bool = False) -> Callable[[Trial], Trial]:
        """Make a check of a function: its docstring is the promise."""

        def add(trial: Trial) -> Trial:
            name = f"{self.name}.{trial.__name__.replace('_', '-')}"
            promise = (trial.__doc__ or "").strip().rstrip(".")
            self.checks.append(Check(name, promise, scopes, trial, doctor))
            return trial

        return add
