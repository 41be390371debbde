"""What is withdrawn ends at once, wherever it is in use: logout, a user, a token; and a ticket is used once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any

import pytest
import requests

from tests.servers import Api, Belfry, RedisServer
from tests.stream_client import StreamClient
from tests.system.test_two_workers import open_on_both_workers
from tests.waiting import patient, wait_until

PROMISED_SECONDS = 2.0
ENDS_WITHIN_SECONDS = 30.0  # where a test is about whether a stream ends, and not about when
# The time of issue is cut to whole seconds. The second token is for a machine that needs longer to open a stream.
TOKENS_SECONDS = (5, 40)
ASKED_TIMES = 20  # in a row, so that each of two workers is asked


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"WEB_CONCURRENCY": "2", "BELFRY_DEMO": "1"}


def admin(belfry: Belfry) -> Api:
    return belfry.api(belfry.token("root", "admin"))


def goodbye(stream: StreamClient, seconds: float = ENDS_WITHIN_SECONDS) -> str:
    """The reason that the server gave at the end of the stream."""
    events = stream.read_to_end(patient(seconds))
    (reason,) = re.findall(r'"reason":"(\w+)"', events[-1].data)
    return str(reason)


def wait_revoked(refusal: Callable[[], dict[str, Any]], seconds: float = ENDS_WITHIN_SECONDS) -> None:
    """Whichever worker ends a stream first, the other one may hear of the revocation later."""
    wait_until(lambda: refusal().get("code") == "token_revoked", seconds)


def is_revoked(belfry: Belfry, token: str) -> bool:
    """What one of the workers says, on a new connection."""
    with belfry.api(token) as api:
        code: str = api.get("/feed").json().get("code", "")
    return code == "token_revoked"


def signed_in(belfry: Belfry, user: str) -> requests.Session:
    browser = belfry.api()
    assert browser.post("/login", data={"name": user}, allow_redirects=False).status_code == 303
    return browser


def cookies(browser: requests.Session) -> dict[str, str]:
    return {"Authorization": "", "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}


def test_a_withdrawn_token_ends_its_streams_and_opens_no_other(belfry: Belfry, alice: str) -> None:
    token, other = belfry.token(alice, "feed"), belfry.token(alice, "feed", seconds=601)
    with belfry.stream(alice, token=token) as stream, belfry.stream(alice, token=other) as second:
        stream.wait_for("ready")
        second.wait_for("ready")
        assert admin(belfry).post("/admin/revocations", json={"token": token}).status_code == 200
        assert goodbye(stream) == "revoked"
        assert (stream.events[-1].retry or 0) >= 1_800_000, "clients that obey only this stay away"
        wait_revoked(lambda: belfry.api(token).get("/feed").json())
        belfry.publish({"to": alice, "data": 1})
        second.wait_for_messages(1)


def test_a_logout_ends_the_streams_of_that_session_alone(belfry: Belfry, alice: str) -> None:
    phone, laptop = signed_in(belfry, alice), signed_in(belfry, alice)
    with (
        belfry.stream(alice, headers=cookies(phone)) as on_phone,
        belfry.stream(alice, headers=cookies(laptop)) as on_laptop,
    ):
        on_phone.wait_for("ready")
        on_laptop.wait_for("ready")
        assert phone.delete("/session").status_code == 204
        assert goodbye(on_phone) == "revoked"
        belfry.publish({"to": alice, "data": 1})
        on_laptop.wait_for_messages(1)


def test_a_withdrawn_user_s_sessions_are_listed_no_more(belfry: Belfry, alice: str) -> None:
    browser = signed_in(belfry, alice)
    root = admin(belfry)
    assert len(root.get("/admin/sessions", params={"user": alice}).json()["sessions"]) == 1
    assert root.post("/admin/revocations", json={"user": alice}).json()["sessions_ended"] == 1
    assert root.get("/admin/sessions", params={"user": alice}).json()["sessions"] == []
    with belfry.stream(alice, headers=cookies(browser)) as refused:
        assert refused.status == 401


MANY_SESSIONS = 45_000


@pytest.fixture
def many_sessions(belfry: Belfry, redis_server: RedisServer, alice: str) -> Iterator[None]:
    """As many sessions of alice as a version without a limit could be made to keep."""
    control = f"{belfry.settings_environment['BELFRY_REDIS_PREFIX']}:{{control}}"
    names = [f"{number:032x}" for number in range(MANY_SESSIONS)]
    with redis_server.client() as client:
        for at in range(0, MANY_SESSIONS, 5_000):
            part = names[at : at + 5_000]
            client.zadd(f"{control}:sessions:{alice}", dict.fromkeys(part, time.time() + 600))
            client.mset({f"{control}:session:{name}": "{}" for name in part})
        yield
        assert client.keys(f"{control}:session*{alice}") == []
        assert client.keys(f"{control}:session:00000000*") == []


@pytest.mark.alone  # measures how soon the user is refused
@pytest.mark.usefixtures("many_sessions")
@pytest.mark.parametrize("how", ["revoke", "forget"])
def test_a_user_is_refused_within_two_seconds_however_many_sessions_there_are(
    belfry: Belfry, alice: str, how: str
) -> None:
    token = belfry.token(alice, "feed")
    with ThreadPoolExecutor(1) as pool, belfry.stream(alice, token=token) as stream:
        stream.wait_for("ready")
        root = admin(belfry)
        if how == "revoke":
            answered = pool.submit(root.post, "/admin/revocations", json={"user": alice})
        else:
            answered = pool.submit(root.delete, f"/users/{alice}")
        assert goodbye(stream, PROMISED_SECONDS) == "revoked"
        wait_revoked(lambda: belfry.api(token).get("/feed").json(), PROMISED_SECONDS)
        answer = answered.result()
        assert answer.ok
        assert how == "forget" or answer.json()["sessions_ended"] == MANY_SESSIONS


def test_a_forgotten_user_is_signed_out_everywhere_until_a_new_token_is_issued(belfry: Belfry, alice: str) -> None:
    browser, token = signed_in(belfry, alice), belfry.token(alice, "feed")
    ticket = belfry.reader(alice).post("/tickets").json()["ticket"]
    root = admin(belfry)
    with ExitStack() as stack:
        streams = open_on_both_workers(belfry, alice, stack)
        streams.append(stack.enter_context(belfry.stream(alice, headers=cookies(browser))))
        streams[-1].wait_for("ready")
        assert root.delete(f"/users/{alice}").status_code == 204
        assert {goodbye(stream) for stream in streams} == {"revoked"}
    wait_until(lambda: all(is_revoked(belfry, token) for _ in range(ASKED_TIMES)), what="both workers to hear of it")
    assert root.get("/admin/sessions", params={"user": alice}).json()["sessions"] == []
    with belfry.stream(alice, headers=cookies(browser)) as refused:  # a worker may remember the session for a moment
        assert (refused.status, refused.body()["code"] in {"token_invalid", "token_revoked"}) == (401, True)
    assert belfry.api().get("/feed", params={"ticket": ticket}).json()["code"] in {"token_revoked", "ticket_invalid"}
    later = belfry.token(alice, "feed", now=time.time() + 1)  # one of the same second would count as earlier
    assert belfry.api(later).get("/feed").status_code == 200
    entry = root.get("/admin/audit", params={"limit": 1}).json()["entries"][0]
    assert (entry["user"], entry["action"], entry["target"]) == ("root", "forget", f"user:{alice}")


def test_a_forgotten_user_who_was_connected_does_not_come_back(belfry: Belfry, alice: str, bob: str) -> None:
    root = admin(belfry)

    def known(user: str) -> bool:
        return bool(root.get("/users", params={"prefix": user}).json()["users"])

    with belfry.stream(alice) as stream, belfry.stream(bob) as other:
        stream.wait_for("ready")
        other.wait_for("ready")
        belfry.publish({"to": alice, "title": "Private"})
        wait_until(lambda: known(alice) and root.get(f"/users/{alice}").json()["events"])
        wait_until(lambda: [alice] in [each["to"] for each in root.get("/messages").json()["messages"]])
        assert root.delete(f"/users/{alice}").status_code == 204
        assert goodbye(stream) == "revoked"
    # What bob's end left behind was told after what alice's did.
    wait_until(lambda: [each["what"] for each in root.get(f"/users/{bob}").json()["events"]] == ["closed", "connected"])
    wait_until(lambda: bob not in root.get("/presence").json()["users"])
    assert not known(alice)
    assert root.get(f"/users/{alice}").json()["events"] == []
    assert [alice] not in [each["to"] for each in root.get("/messages").json()["messages"]]


def test_a_token_that_ends_in_mid_stream_ends_the_stream(belfry: Belfry, alice: str) -> None:
    for seconds in TOKENS_SECONDS:
        with belfry.stream(alice, token=belfry.token(alice, "feed", seconds=seconds)) as stream:
            if stream.status == 200:
                assert goodbye(stream, seconds + ENDS_WITHIN_SECONDS) == "expired"
                return
    pytest.fail("no stream was opened before its token had expired")


def test_of_fifty_clients_with_one_ticket_one_wins(belfry: Belfry, alice: str) -> None:
    ticket = belfry.reader(alice).post("/tickets").json()["ticket"]
    start = Barrier(50)

    def race(_: int) -> int:
        start.wait()
        with belfry.stream(alice, query=f"ticket={ticket}", headers={"Authorization": ""}) as stream:
            return stream.status

    with ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(race, range(50)))
    assert sorted(statuses) == [200] + [401] * 49


def test_a_stream_opened_by_a_ticket_ends_with_the_session_behind_it(belfry: Belfry, alice: str) -> None:
    browser = signed_in(belfry, alice)
    ticket = browser.post("/tickets").json()["ticket"]
    with belfry.stream(alice, query=f"ticket={ticket}", headers={"Authorization": ""}) as stream:
        stream.wait_for("ready")
        browser.delete("/session")
        assert goodbye(stream) == "revoked"


def test_a_withdrawn_user_loses_every_stream_on_every_worker(belfry: Belfry, alice: str, bob: str) -> None:
    with ExitStack() as stack:
        streams = open_on_both_workers(belfry, alice, stack)
        bystander = stack.enter_context(belfry.stream(bob))
        bystander.wait_for("ready")
        answer = admin(belfry).post("/admin/revocations", json={"user": alice})
        assert answer.status_code == 200
        assert {goodbye(stream) for stream in streams} == {"revoked"}
        belfry.publish({"to": bob, "data": 1})
        bystander.wait_for_messages(1)
