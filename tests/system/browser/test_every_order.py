"""Tabs in every order of events that the dice bring up: each message once, in its order, in each tab, and one count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browsing import Visitor

WORLD = Path(__file__).with_name("tabs_world.js").read_text()
SEEDS = range(40)
STEPS = 400


@pytest.mark.timeout(180)  # some forty lives of four tabs
def test_whatever_happens_to_the_tabs_each_hears_every_message_once_and_in_order(visitor: Visitor) -> None:
    """Tabs that come, go and freeze, a server that goes and comes back or loses its history, requests that fail."""
    faults = {}
    for seed in SEEDS:
        page = visitor.context.new_page()
        page.goto("/health/live")
        found = page.evaluate(WORLD, [seed, STEPS])
        if found:
            faults[seed] = found
        page.close()
    assert not faults
