"""Tickets: one use, one minute, and no more than the credential behind them."""

from __future__ import annotations

import pytest

from tests.web.identity_app import Site, open_site


@pytest.fixture
def site() -> Site:
    return open_site()


def issue(site: Site, scopes: str = "feed") -> str:
    answer = site.client.post("/tickets", headers=site.bearer(scopes))
    assert answer.status_code == 201
    assert answer.get_json()["expires_in"] == 60
    ticket: str = answer.get_json()["ticket"]
    return ticket


def test_a_ticket_stands_for_its_user_once(site: Site) -> None:
    ticket = issue(site)
    assert site.client.get(f"/whoami?ticket={ticket}").get_json() == {"user": "alice"}
    answer = site.client.get(f"/whoami?ticket={ticket}")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (401, "ticket_invalid")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_ticket_allows_no_more_than_the_token_behind_it(site: Site) -> None:
    answer = site.client.get(f"/whoami?ticket={issue(site, 'complete')}")
    assert answer.get_json(force=True)["code"] == "scope_missing"


def test_tickets_are_for_those_who_have_something_to_stream(site: Site) -> None:
    assert site.client.post("/tickets", headers=site.bearer("publish admin")).status_code == 403


def test_a_ticket_lasts_a_minute(site: Site) -> None:
    issue(site)
    (key,) = site.redis.keys("*:ticket:*")
    assert 50 < site.redis.ttl(key) <= 60


def test_a_ticket_ends_with_the_token_that_bought_it(site: Site) -> None:
    ticket = site.client.post("/tickets", headers=site.bearer(seconds=30)).get_json()["ticket"]
    site.now += 30
    answer = site.client.get(f"/whoami?ticket={ticket}")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (401, "token_expired")


def test_the_store_can_t_tell_what_a_ticket_is(site: Site) -> None:
    ticket = issue(site)
    assert not [key for key in site.redis.keys("*") if ticket.encode() in key]


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_a_ticket_is_for_get_alone_and_nothing_else_uses_it_up(site: Site, method: str) -> None:
    ticket = issue(site)
    assert site.client.open(f"/whoami?ticket={ticket}", method=method).status_code == 401
    assert site.client.get(f"/whoami?ticket={ticket}").status_code == 200


def test_a_bearer_token_comes_first_and_leaves_the_ticket_alone(site: Site) -> None:
    ticket = issue(site)
    assert site.client.get(f"/whoami?ticket={ticket}", headers=site.bearer()).status_code == 200
    assert site.client.get(f"/whoami?ticket={ticket}").status_code == 200


def test_a_ticket_of_a_session_that_was_ended_is_worth_nothing(site: Site) -> None:
    site.start_session()
    ticket = site.client.post("/tickets").get_json()["ticket"]
    site.client.delete("/session")
    site.watch.read()
    assert site.client.get(f"/whoami?ticket={ticket}").get_json(force=True)["code"] == "token_revoked"


def test_a_ticket_can_be_bought_by_no_page_of_another_origin(site: Site) -> None:
    site.start_session()
    assert site.client.post("/tickets", headers={"Origin": "https://evil.example"}).status_code == 403
