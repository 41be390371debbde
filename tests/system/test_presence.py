"""Who is connected now: at once after connecting, after leaving, and after the death of a worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from tests.servers import START_SECONDS, Belfry, RedisServer
from tests.system.conftest import StartBelfry
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_LEASE_SECONDS": "3"}


def present(belfry: Belfry, *users: str) -> dict[str, Any]:
    answer = belfry.publisher.get("/presence", params={"users": ",".join(users)})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()["users"]
    return told


def listed(belfry: Belfry) -> dict[str, Any]:
    told: dict[str, Any] = belfry.api(belfry.token("root", "admin")).get("/presence").json()["users"]
    return told


def test_a_user_is_online_while_a_connection_is_open(belfry: Belfry, alice: str, bob: str) -> None:
    assert present(belfry, alice)[alice] == {"online": False, "connections": 0, "since": None}
    with belfry.stream(alice) as one, belfry.stream(alice) as two:
        one.wait_for("ready"), two.wait_for("ready")
        told = present(belfry, alice, bob)
        assert (told[alice]["online"], told[bob]["online"]) == (True, False)
        both = wait_until(lambda: told if (told := present(belfry, alice)[alice])["connections"] == 2 else None)
        assert both["since"]
    wait_until(lambda: present(belfry, alice)[alice] == {"online": False, "connections": 0, "since": None})


def test_an_administrator_sees_each_connection_and_can_end_one(belfry: Belfry, alice: str, topic: str) -> None:
    with (
        belfry.stream(alice, topics=[topic], headers={"User-Agent": "probe/1"}) as one,
        belfry.stream(alice) as two,
    ):
        one.wait_for("ready"), two.wait_for("ready")
        both = wait_until(lambda: told if (told := listed(belfry).get(alice, {})).get("connections") == 2 else None)
        (found,) = [each for each in both["list"] if each["topics"] == [topic]]
        assert (found["address"], found["agent"]) == ("127.0.0.1", "probe/1")
        root = belfry.api(belfry.token("root", "admin"))
        assert root.delete(f"/presence/{alice}", params={"connection": found["id"]}).status_code == 204
        assert "disconnected" in one.wait_for("goodbye").data
        belfry.publish({"to": alice, "title": "still here"})
        two.wait_for_messages(1)
        assert "goodbye" not in [event.event for event in two.events]


def tell(belfry: Belfry, user: str, **query: str | int) -> requests.Response:
    return belfry.reader(user).post("/presence/tabs", params=query)


def test_a_client_tells_how_many_tabs_share_its_connection(belfry: Belfry, alice: str, bob: str) -> None:
    """As it opens, as that changes, and of none but its own."""
    with belfry.stream(alice, query="tabs=3") as one, belfry.stream(alice) as two, belfry.stream(bob) as other:
        names = [json.loads(stream.wait_for("ready").data)["connection"] for stream in (one, two, other)]

        def tabs(user: str) -> dict[str, int | None]:
            return {each["id"]: each["tabs"] for each in listed(belfry).get(user, {"list": []})["list"]}

        wait_until(lambda: tabs(alice) == {names[0]: 3, names[1]: None})
        assert tell(belfry, alice, connection=names[1], tabs=2).status_code == 204
        wait_until(lambda: tabs(alice) == {names[0]: 3, names[1]: 2})
        assert tell(belfry, alice, connection=names[2], tabs=9).status_code == 204  # bob's, whom it does not concern
        assert tell(belfry, alice, connection=names[0], tabs=1).status_code == 204
        wait_until(lambda: tabs(alice) == {names[0]: 1, names[1]: 2})
        wait_until(lambda: tabs(bob) == {names[2]: None})
        belfry.publish({"to": alice, "title": "all that a client hears"})
        one.wait_for_messages(1)
        assert {event.event for event in one.events} <= {"ready", "heartbeat", "message"}


@pytest.mark.parametrize("tabs", ["", "0", "-1", "1001", "1.5", "many", "nan"])
def test_an_impossible_number_of_tabs_is_refused(belfry: Belfry, alice: str, tabs: str) -> None:
    assert tell(belfry, alice, connection="0badcafe", tabs=tabs).json()["code"] == "bad_parameter"
    assert belfry.reader(alice).get("/stream", params={"tabs": tabs}).json()["code"] == "bad_parameter"


@pytest.mark.parametrize("connection", ["", "0badcaf", "0BADCAFE", "0badcafe ", '"}\n\n     '])
def test_what_names_no_connection_is_refused(belfry: Belfry, alice: str, connection: str) -> None:
    assert tell(belfry, alice, connection=connection, tabs=2).json()["code"] == "bad_parameter"


@pytest.mark.parametrize(
    ("proxies", "address"), [("127.0.0.0/8", "203.0.113.7"), ("192.0.2.1", "127.0.0.1"), ("", "127.0.0.1")]
)
def test_a_connection_is_shown_with_the_address_that_a_trusted_proxy_saw(
    start_belfry: StartBelfry, alice: str, proxies: str, address: str
) -> None:
    belfry = start_belfry(BELFRY_TRUSTED_PROXIES=proxies)
    with belfry.stream(alice, headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}) as stream:
        stream.wait_for("ready")
        (connection,) = wait_until(lambda: listed(belfry).get(alice))["list"]
        assert connection["address"] == address


@pytest.fixture
def on_ipv6(redis_server: RedisServer) -> Iterator[Belfry]:
    server = Belfry(redis_server.url, {"BELFRY_TRUSTED_PROXIES": "127.0.0.1"}, listen_on="[::]")
    try:
        yield server.start()
    finally:
        server.destroy()


def test_a_server_on_ipv6_knows_a_trusted_proxy_by_its_ipv4_address(on_ipv6: Belfry, alice: str) -> None:
    belfry = on_ipv6
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7:51234", "X-Forwarded-Proto": "https"}
    with belfry.stream(alice, headers=forwarded) as stream:
        stream.wait_for("ready")
        assert "strict-transport-security" in stream.headers
        (connection,) = wait_until(lambda: listed(belfry).get(alice))["list"]
        assert connection["address"] == "203.0.113.7"


def test_a_killed_workers_users_are_offline_at_once_and_unlisted_when_its_lease_ends(
    start_belfry: StartBelfry, alice: str
) -> None:
    belfry = start_belfry(BELFRY_LEASE_SECONDS="2")
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        wait_until(lambda: alice in listed(belfry))
        os.kill(belfry.worker(), signal.SIGKILL)
        wait_until(belfry.is_ready, START_SECONDS)
        assert present(belfry, alice)[alice] == {"online": False, "connections": 0, "since": None}
        wait_until(lambda: alice not in listed(belfry))


def test_a_publisher_sees_only_whom_it_may_address(belfry: Belfry, alice: str, bob: str) -> None:
    limited = belfry.api(belfry.token("limited", "publish", to=[alice]))
    assert limited.get("/presence", params={"users": alice}).status_code == 200
    assert limited.get("/presence", params={"users": f"{alice},{bob}"}).json()["code"] == "target_forbidden"
    assert limited.get("/presence").json()["code"] == "scope_missing"


@pytest.mark.parametrize(("users", "code"), [("", "bad_parameter"), ("a b", "bad_user_id")])
def test_bad_users_are_refused(belfry: Belfry, users: str, code: str) -> None:
    assert belfry.publisher.get("/presence", params={"users": users}).json()["code"] == code


def test_the_flight_recorder_tells_which_connection_was_sent_a_message(belfry: Belfry, alice: str) -> None:
    root = belfry.api(belfry.token("root", "admin"))
    with belfry.stream(alice) as stream:
        stream.wait_for("ready")
        (delivery,) = belfry.publish({"to": alice, "title": "one"})["deliveries"]
        stream.wait_for_messages(1)
    wait_until(lambda: len(root.get(f"/users/{alice}").json()["events"]) == 2)
    told = root.get(f"/users/{alice}").json()
    closed, connected = told["events"]
    assert (connected["what"], closed["what"], closed["reason"]) == ("connected", "closed", "gone")
    assert connected["connection"] == closed["connection"]
    assert connected["offset"] < delivery["offset"] <= closed["offset"]
    assert told["log"] == {"newest": 1, "oldest": 1, "kept": 1, "unread": 1}


def test_only_an_administrator_reads_the_flight_recorder(belfry: Belfry, alice: str) -> None:
    assert belfry.reader(alice).get(f"/users/{alice}").json()["code"] == "scope_missing"


@pytest.mark.parametrize("path", ["/users/{user}", "/users/{user}/messages/m1"])
def test_a_bad_name_is_refused_before_any_worker_is_asked(
    belfry: Belfry, redis_server: RedisServer, alice: str, path: str
) -> None:
    root = belfry.api(belfry.token("root", "admin"))
    with redis_server.client() as client, client.pubsub() as heard:
        heard.psubscribe("*:{user:*")
        wait_until(heard.get_message)
        assert root.get(path.format(user="no%20body")).json()["code"] == "bad_user_id"
        root.get(path.format(user=alice))
        told = wait_until(heard.get_message)
    assert told is not None
    assert alice in told["channel"], "a name out of the blue became a channel"
