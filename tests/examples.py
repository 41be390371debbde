"""How many examples Hypothesis tries: all of them in CI, fewer at home, where tests run all day."""

from __future__ import annotations

import os

from hypothesis import settings

AT_HOME = 5  # one example of so many
DEFAULT_EXAMPLES = 100  # Hypothesis' own


def examples(in_ci: int) -> int:
    """The number of examples for a test that tries `in_ci` of them in CI."""
    return in_ci if os.environ.get("CI") else max(in_ci // AT_HOME, 10)


def choose_profile() -> None:
    """Give the tests that name no number the same treatment, and none of them a limit for one example's time.

    In CI the same examples are tried each time, so that a change alone decides what passes.
    """
    in_ci = bool(os.environ.get("CI"))
    usual = settings.get_profile("ci" if in_ci else "default")  # Hypothesis' own for each of the two
    settings.register_profile(
        "belfry", usual, max_examples=examples(DEFAULT_EXAMPLES), deadline=None, derandomize=in_ci
    )
    settings.load_profile("belfry")
