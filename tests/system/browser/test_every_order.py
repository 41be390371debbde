"""Tabs in every order of events that the dice bring up: each message once, in its order, in each tab, and one count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browsing import Visitor

WORLD = Path(__file__).with_name("tabs_world.js").read_text()
SEEDS = range(15)
MORE_SEEDS = range(15, 100)
STEPS = 400


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(SEEDS, id="some seeds"),
        pytest.param(MORE_SEEDS, id="more seeds", marks=[pytest.mark.nightly, pytest.mark.timeout(900)]),
    ],
)
def test_whatever_happens_to_the_tabs_each_hears_every_message_once_and_in_order(
    visitor: Visitor, seeds: range
) -> None:
    """Tabs that come, go and freeze, a server that goes and comes back or loses its history, requests that fail."""
    faults = {}
    for seed in seeds:
        page = visitor.context.new_page()
        page.goto("/health/live")
        found = page.evaluate(WORLD, [seed, STEPS])
        if found:
            faults[seed] = found
        page.close()
    assert not faults
