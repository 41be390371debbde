"""The suite finds each planted fault by the checks that are meant to, and nothing in a sound deployment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from app.conformance.check import Check
from app.conformance.checks import CHECKS, DOCTOR
from app.conformance.credentials import Credentials, GivenCredentials, SignedCredentials
from app.conformance.probe import Options
from app.conformance.report import FAILED, OK, SKIPPED, Report
from app.conformance.suite import Suite, UnreachableError
from app.core.identity.tokens import Keyring
from app.core.settings import load
from tests.conftest import absent
from tests.faulty_proxy import Fault, faulty_proxy
from tests.planted_faults import PLANTED, Planted
from tests.servers import HOST, Api, Belfry, Nginx, free_port
from tests.system.conftest import StartBelfry
from tests.upstream import Upstream, running_upstream, saying
from tests.waiting import wait_until

ORIGIN = "https://app.example"
WORDS = ("one ", "two ", "three ", "four ", "five")
PATIENCE = 30.0
NEVER_PATIENCE = 5.0  # for what never comes
FAULTS_AT_A_TIME = 4
CHECKS_AT_A_TIME = 6
OPTIONS = Options(patience=PATIENCE, silence=PATIENCE, origin=ORIGIN, model="any")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        upstream.play = saying(*WORDS)
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {
        "WEB_CONCURRENCY": "2",
        "BELFRY_HEARTBEAT_SECONDS": "0.5",
        "BELFRY_CORS_ORIGINS": ORIGIN,
        "BELFRY_PUBLISH_PER_MINUTE": "200",  # more than the other checks send, and little enough to be reached
        "BELFRY_MAX_CONNECTIONS_PER_USER": "4",
        "BELFRY_UPSTREAM_URL": upstream.url,
    }


def signing(belfry: Belfry) -> SignedCredentials:
    keyring = Keyring(load(belfry.settings_environment))

    def sign(user: str, scopes: list[str], seconds: int, **grants: Any) -> str:
        return keyring.sign(user, scopes, time.time(), seconds, **{"token_id": user, **grants})

    return SignedCredentials(sign)


def run(url: str, credentials: Credentials, options: Options = OPTIONS, checks: Sequence[Check] = CHECKS) -> Report:
    return Suite(url, credentials, options, checks, at_a_time=CHECKS_AT_A_TIME).run(lambda _result: None)


def diagnosed(belfry: Belfry, planted: Planted, checks: Sequence[Check]) -> Report:
    with faulty_proxy(belfry.port, planted.make()) as url:
        return run(url, signing(belfry), replace(OPTIONS, patience=NEVER_PATIENCE, silence=NEVER_PATIENCE), checks)


def meant_for(planted: Planted) -> Sequence[Check]:
    """The checks that have to find this fault."""
    return [check for check in CHECKS if check.name in planted.found_by]


def all_reports(
    belfry: Belfry, asked: Collection[str], checks_for: Callable[[Planted], Sequence[Check]]
) -> Mapping[str, Future[Report]]:
    """The report on each fault. Several run at a time, since a check mostly waits for something that never comes.

    All are done before the first test looks: pytest changes the environment between two tests, and requests reads it.
    """
    with ThreadPoolExecutor(FAULTS_AT_A_TIME) as pool:
        return {
            name: pool.submit(diagnosed, belfry, planted, checks_for(planted))
            for name, planted in PLANTED.items()
            if name in asked
        }


@pytest.fixture(scope="module")
def asked(request: pytest.FixtureRequest) -> Collection[str]:
    """The faults that this run of the tests plants."""
    return {item.callspec.params.get("fault") for item in request.session.items if hasattr(item, "callspec")}


@pytest.fixture(scope="module")
def reports(belfry: Belfry, asked: Collection[str]) -> Mapping[str, Future[Report]]:
    """Of the checks that have to find each fault."""
    return all_reports(belfry, asked, meant_for)


@pytest.fixture(scope="module")
def full_reports(belfry: Belfry, asked: Collection[str]) -> Mapping[str, Future[Report]]:
    """Of every check, on each fault."""
    return all_reports(belfry, asked, lambda _planted: CHECKS)


def outcomes(report: Report, outcome: str) -> dict[str, str]:
    return {result.name: result.line() for result in report.results if result.outcome == outcome}


def test_a_sound_deployment_passes_every_check(belfry: Belfry) -> None:
    report = run(belfry.url, signing(belfry))
    assert outcomes(report, OK).keys() == {check.name for check in CHECKS}, outcomes(report, FAILED)
    assert not report.left


def test_a_sound_deployment_passes_behind_nginx_too(belfry: Belfry) -> None:
    if Nginx.binary() is None:
        absent("nginx")
    nginx = Nginx(belfry.port)
    try:
        report = run(f"http://{HOST}:{nginx.start().port}", signing(belfry))
    finally:
        nginx.destroy()
    assert not outcomes(report, FAILED)
    assert outcomes(report, SKIPPED).keys() == {"stream.accel-buffering"}, "nginx keeps this header to itself"


def test_a_token_of_one_user_is_enough_for_most_checks(belfry: Belfry, alice: str) -> None:
    given = GivenCredentials([belfry.token(alice, "feed", "publish", "complete", topics=["news"])])
    report = run(belfry.url, given)
    assert not outcomes(report, FAILED)
    skipped = outcomes(report, SKIPPED)
    assert skipped.keys() == {
        "delivery.isolation", "delivery.topics", "delivery.online", "refusals.expired-token", "refusals.scope",
        "refusals.recipient", "presence.shown", "presence.dismissed", "presence.revoked", "presence.expired",
        "presence.forgotten", "limits.publishing", "limits.connections", "completions.others",
        "completions.upstreams",
    }  # fmt: skip
    assert "needs the secret" in skipped["delivery.isolation"]
    assert "needs a token with the scope admin" in skipped["presence.revoked"]


def test_limits_that_are_out_of_reach_are_named(start_belfry: StartBelfry) -> None:
    belfry = start_belfry()
    checks = [check for check in CHECKS if check.name.startswith("limits.")]
    report = Suite(belfry.url, signing(belfry), OPTIONS, checks).run(lambda _result: None)
    assert {result.note for result in report.results} == {
        "not checked: limit above 200 a minute", "not checked: cap above 30",
    }  # fmt: skip


def test_the_users_of_a_run_are_forgotten_if_wished(belfry: Belfry) -> None:
    credentials = signing(belfry)
    report = run(belfry.url, credentials, replace(OPTIONS, forget=True))
    assert (report.ok, report.known) == (True, 0)
    with belfry.api(belfry.token("boss", "admin")) as api:
        wait_until(lambda: not known(api, credentials.name))
        for user in credentials.made:
            wait_until(partial(is_left_alone, api, user))
            told = api.get(f"/users/{user}").json()
            assert (told["messages"], told["log"]["newest"]) == ([], 0)


def is_left_alone(api: Api, user: str) -> bool:
    """Whether the last of the user's connections is gone."""
    return not api.get(f"/users/{user}").json()["connections"]


def known(api: Api, prefix: str) -> list[str]:
    return [each["user"] for each in api.get("/users", params={"prefix": prefix}).json()["users"]]


def test_what_was_sent_is_taken_back(belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "id": "kept"})
    report = run(belfry.url, GivenCredentials([belfry.token(alice, "feed", "publish")]))
    assert not report.left
    feed = belfry.reader(alice)
    pages = [feed.feed(), feed.feed(archived="true")]
    assert [message["id"] for page in pages for message in page["messages"]] == ["kept"]


def test_publishing_alone_tries_what_it_can(belfry: Belfry) -> None:
    report = run(belfry.url, GivenCredentials([belfry.token("shop", "publish")]))
    assert not outcomes(report, FAILED)
    assert {"publish.refused", "refusals.not-found"} <= outcomes(report, OK).keys()
    assert "needs a token with the scope feed of shop" in outcomes(report, SKIPPED)["resume.header"]


def test_refused_credentials_are_told_before_any_check(belfry: Belfry, start_belfry: StartBelfry) -> None:
    other = SignedCredentials(signing(start_belfry()).signer)
    with pytest.raises(UnreachableError, match="refuses the credentials: 401"):
        run(belfry.url, other)


def test_a_publisher_that_may_not_address_the_reader_is_told_before_any_check(belfry: Belfry, alice: str) -> None:
    tokens = [belfry.token(alice, "feed"), belfry.token("shop", "publish", to=["user:somebody-else"])]
    with pytest.raises(UnreachableError, match="target_forbidden"):
        run(belfry.url, GivenCredentials(tokens))


def test_nobody_there_is_told_before_any_check(belfry: Belfry) -> None:
    with pytest.raises(UnreachableError, match="no answer"):
        run(f"http://{HOST}:{free_port()}", signing(belfry))


def test_the_short_form_looks_at_the_way_alone() -> None:
    names = {check.name for check in DOCTOR}
    assert {"stream.first-bytes", "stream.at-once", "stream.headers", "health.ready"} <= names
    assert len(DOCTOR) < len(CHECKS) / 2


def test_a_proxy_that_plants_nothing_passes_every_check(belfry: Belfry) -> None:
    with faulty_proxy(belfry.port, Fault()) as url:
        report = run(url, signing(belfry))
    assert outcomes(report, OK).keys() == {check.name for check in CHECKS}, outcomes(report, FAILED)


@pytest.mark.timeout(600)  # the first one waits for the reports of all
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_by_each_of_its_checks(reports: Mapping[str, Future[Report]], fault: str) -> None:
    report = reports[fault].result()
    assert outcomes(report, FAILED).keys() == PLANTED[fault].found_by


@pytest.mark.nightly
@pytest.mark.timeout(1_200)  # the first one waits for the reports of all
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_by_no_other_check(full_reports: Mapping[str, Future[Report]], fault: str) -> None:
    report = full_reports[fault].result()
    failed = outcomes(report, FAILED)
    assert failed.keys() == PLANTED[fault].found_by, "\n".join(failed.values())
    assert not outcomes(report, SKIPPED)


def test_every_check_finds_a_fault() -> None:
    found = {name for planted in PLANTED.values() for name in planted.found_by}
    assert {check.name for check in CHECKS} - found == set()
