"""A mistake in the integration explains itself to the developer, and the user reads plain true words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import jwt
import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect

from tests.browsing import BACK_SECONDS, NO_POLLING, FeedTab, wait_ms
from tests.host_site import PAGE, HostSite, host_site
from tests.servers import Belfry
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until

Bell = Callable[[], FeedTab]
WATCH = "window.problems = []; addEventListener('belfry-error', ({ detail }) => problems.push(detail));"


@pytest.fixture(scope="module")
def shared_site() -> Iterator[HostSite]:
    with host_site() as site:
        yield site


@pytest.fixture(scope="module")
def environment(shared_site: HostSite) -> Mapping[str, str]:
    return {"BELFRY_CORS_ORIGINS": shared_site.url, "BELFRY_RETRY_MS": "100"}


@pytest.fixture
def site(shared_site: HostSite, belfry: Belfry, alice: str) -> HostSite:
    """The site as it is without a mistake."""
    shared_site.belfry = belfry.url
    shared_site.mint = lambda: belfry.token(alice, "feed")
    shared_site.page, shared_site.failures = PAGE, []
    return shared_site


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def bell(browser: Browser, site: HostSite, warnings: list[str]) -> Iterator[Bell]:
    """Opens the site's page."""
    context = browser.new_context()
    context.set_default_timeout(wait_ms())
    for script in (WATCH, NO_POLLING):
        context.add_init_script(script)

    def note(line: ConsoleMessage) -> None:
        if line.type == "warning":
            warnings.append(line.text)

    context.on("console", note)

    def start() -> FeedTab:
        tab = FeedTab(context.new_page())
        tab.page.goto(site.url)
        return tab

    yield start
    context.close()


def wait_for_problem(tab: FeedTab, warnings: list[str], code: str, *words: str) -> None:
    """One warning and one event name this code; the words are in the warning."""
    wait_until(
        lambda: [each["code"] for each in tab.page.evaluate("problems")] == [code] and warnings,
        BACK_SECONDS,
        what=f"the problem {code}",
    )
    (warning,) = warnings
    assert warning.startswith(f"Belfry: {code}: ")
    for word in words:
        assert word in warning
    (problem,) = tab.page.evaluate("problems")
    assert problem["detail"] in warning
    assert problem["remedy"] in warning
    assert problem["remedy"]


def forged(alice: str, belfry: Belfry) -> str:
    claims = jwt.decode(belfry.token(alice, "feed"), options={"verify_signature": False})
    return jwt.encode(claims, "another secret that is as long as it has to be", "HS256")


@pytest.mark.parametrize(
    ("mistake", "code", "words"),
    [
        ("wrong secret", "token_invalid", ["BELFRY_SECRET"]),
        ("missing scope", "scope_missing", ["'feed'", "publish"]),
        ("expired", "token_expired", ["exp"]),
        ("login page", "token_malformed", ["login page"]),
        ("no token", "token_malformed", ["token address"]),
    ],
)
def test_a_token_that_does_not_do_is_explained(
    belfry: Belfry,
    site: HostSite,
    bell: Bell,
    warnings: list[str],
    alice: str,
    mistake: str,
    code: str,
    words: list[str],
) -> None:
    site.mint = {
        "wrong secret": lambda: forged(alice, belfry),
        "missing scope": lambda: belfry.token(alice, "publish"),
        "expired": lambda: belfry.token(alice, "feed", now=1_000_000_000),
        "login page": lambda: "<!doctype html><title>Sign in</title>",
        "no token": lambda: '{"error": "x"}',
    }[mistake]
    tab = bell()
    wait_for_problem(tab, warnings, code, *words)
    tab.feed.locator(".bell").click()
    said = "You are signed out." if mistake == "expired" else "Notifications are not available on this page."
    expect(tab.feed.locator(".notice")).to_contain_text(said)
    assert tab.state == "denied"


def test_a_forgotten_token_url_is_explained(site: HostSite, bell: Bell, warnings: list[str]) -> None:
    site.page = PAGE.replace(' token-url="/belfry-token"', "")
    wait_for_problem(bell(), warnings, "token_missing", "token-url")


@pytest.mark.parametrize("status", [404, 500])
def test_a_token_address_that_fails_is_named(site: HostSite, bell: Bell, warnings: list[str], status: int) -> None:
    site.failures = [status] * 100
    wait_for_problem(bell(), warnings, "token_unavailable", "/belfry-token", str(status))


def test_an_origin_that_is_not_allowed_is_named(
    start_belfry: StartBelfry, site: HostSite, bell: Bell, warnings: list[str], alice: str
) -> None:
    """Also where the list has `localhost` and the page is on `127.0.0.1`."""
    belfry = start_belfry(BELFRY_CORS_ORIGINS=site.url.replace("127.0.0.1", "localhost"))
    site.belfry = belfry.url
    site.mint = lambda: belfry.token(alice, "feed")
    wait_for_problem(bell(), warnings, "origin_refused", site.url, "BELFRY_CORS_ORIGINS")


@pytest.mark.parametrize("given", [lambda token: json.dumps({"token": token}), json.dumps, lambda token: f" {token}\n"])
def test_a_token_in_another_wrapping_is_taken(
    belfry: Belfry,
    site: HostSite,
    bell: Bell,
    warnings: list[str],
    alice: str,
    given: Callable[[str], str],
) -> None:
    site.mint = lambda: given(belfry.token(alice, "feed"))
    bell().wait_connected()
    assert not warnings


@pytest.mark.parametrize("asks", [False, True], ids=["by the token", "by the page"])
def test_a_topic_too_many_is_explained_and_costs_nothing_else(
    belfry: Belfry, site: HostSite, bell: Bell, warnings: list[str], alice: str, asks: bool
) -> None:
    topics = [f"{alice}-t{number}" for number in range(1, 8)]
    site.mint = lambda: belfry.token(alice, "feed", topics=topics)
    if asks:
        site.page = PAGE.replace("<belfry-feed", f'<belfry-feed topics="{" ".join(topics)}"')
    tab = bell()
    tab.wait_connected()
    wait_for_problem(tab, warnings, "too_many_topics", topics[6], "6 topics")
    belfry.publish({"to": alice, "title": "mine"})
    belfry.publish({"topic": topics[5], "title": "of the sixth topic"})
    tab.expect_unread(2)
    tab.feed.locator(".bell").click()
    tab.expect_titles("of the sixth topic", "mine")


def test_a_topic_that_is_not_granted_is_explained_and_costs_nothing_else(
    belfry: Belfry, site: HostSite, bell: Bell, warnings: list[str], alice: str
) -> None:
    site.page = PAGE.replace("<belfry-feed", '<belfry-feed topics="secret"')
    tab = bell()
    tab.wait_connected()
    wait_for_problem(tab, warnings, "topic_forbidden", "secret")
    belfry.publish({"to": alice, "title": "mine"})
    tab.expect_unread(1)
