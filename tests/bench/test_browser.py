"""The measurement of the browser gives every figure, and of the right kind. How good they are is not for a test."""

from __future__ import annotations

from bench.browser import measure
from tests.browsing import chromium_path
from tests.conftest import absent


def test_every_figure_is_measured() -> None:
    if chromium_path() is None:
        absent("Chromium")
    figures = measure(messages=5)
    assert figures["messages"] == 5
    assert 0 < figures["published_to_visible_median_ms"] <= figures["published_to_visible_p95_ms"]
    assert 5_000 < figures["first_view_bytes"] <= 60_000
    assert 0 < figures["scroll_step_script_cpu_ms"] < figures["scroll_step_task_cpu_ms"]
    assert 0 < figures["rows_in_the_page_most"] < 100
