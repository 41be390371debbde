"""What a run keeps of the usage that an upstream tells."""

from __future__ import annotations

import pytest

from app.core.completion.json_text import written
from app.core.completion.usage import COUNTS_MAX, USAGE_MAX_CHARS, kept_usage


def test_a_usage_of_ordinary_length_is_kept_as_it_is() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 2}}
    assert kept_usage(usage) == usage


@pytest.mark.parametrize(
    "more",
    [
        {"note": "x" * 1_000_000},
        {"x" * 1_000_000: 1},
        {f"count_{number}": 10**14 for number in range(100_000)},
        {"details": [[1] * 1_000] * 100},
    ],
)
def test_a_long_usage_is_cut_to_its_first_counts(more: dict[str, object]) -> None:
    found = kept_usage({"prompt_tokens": 3, "completion_tokens": "4", **more})
    assert (found["prompt_tokens"], found["completion_tokens"]) == (3, 4)
    assert len(found) <= COUNTS_MAX
    assert len(written(found)) <= USAGE_MAX_CHARS
