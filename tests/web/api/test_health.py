"""The health checks."""

from __future__ import annotations

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
