"""The health checks."""

from __future__ import annotations

from app import metrics
from app.core.store_faults import Fault
from tests.web.identity_app import open_site


def test_a_server_with_its_store_is_live_and_ready() -> None:
    site = open_site()
    assert site.client.get("/health/live").get_json() == {"status": "live"}
    assert site.client.get("/health/ready").get_json() == {"status": "ready"}


def test_a_server_without_its_store_is_live_but_not_ready() -> None:
    site = open_site()
    site.store_is_up = False
    assert site.client.get("/health/live").status_code == 200
    assert site.client.get("/health/ready").status_code == 503


def test_what_is_wrong_with_the_store_is_told_beside_that_it_is_ready() -> None:
    site = open_site()
    site.faults = (Fault("eviction", "It evicts."),)
    answer = site.client.get("/health/ready").get_json()
    assert answer == {"status": "ready", "warnings": [{"code": "eviction", "detail": "It evicts."}]}


def test_the_dashboard_counts_no_error_for_a_health_check() -> None:
    site = open_site()
    site.store_is_up = False
    counted = metrics.REFUSALS.labels("store_unavailable")
    errors, refusals = metrics.TALLY.errors, counted._value.get()
    for accept in ("*/*", "text/html"):
        assert site.client.get("/health/ready", headers={"Accept": accept}).status_code == 503
    assert metrics.TALLY.errors == errors
    assert counted._value.get() == refusals + 2, "the metric for operators counts it"
