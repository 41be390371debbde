"""Every id that is accepted can be managed, by its address and by the query, directly and through the shipped nginx."""

from __future__ import annotations

import secrets
import unicodedata
from urllib.parse import quote, urlencode

import pytest

from tests.servers import Api, Belfry, RedisServer, ShippedNginx
from tests.waiting import wait_until

SLASHED = ["a/b", "/", "//", "a/", "/a", "x/messages/y", "../x", "a/../b", "./", "..%2F", "http://x/y"]
OTHERS = [
    "%2F", "%", "%25", "?", "#", "a?id=b", "a#b", "a&b=c", "a+b", "a;b", "~", "~~", "*", "\\", "a:b", "é", "日本/語",
    "tabs",
]  # fmt: skip
DOTS = [".", ".."]
WAYS = ["direct", "nginx"]


@pytest.fixture(params=WAYS)
def site(request: pytest.FixtureRequest, belfry: Belfry, shipped_nginx: ShippedNginx) -> str:
    return belfry.url if request.param == "direct" else shipped_nginx.url


def administrator(belfry: Belfry, site: str) -> Api:
    return Api(site, belfry.token("root", "admin", "publish"))


def addresses(collection: str, id_: str) -> list[str]:
    """All forms of the address of an entry. Clients resolve dots in a path themselves."""
    in_path = [] if id_ in DOTS else [f"{collection}/{quote(id_, safe='')}"]
    return [*in_path, f"{collection}?{urlencode({'id': id_})}", f"{collection}/~?{urlencode({'id': id_})}"]


@pytest.mark.parametrize("user", [*SLASHED, *OTHERS, *DOTS])
def test_a_user_of_any_name_is_found_disconnected_and_forgotten(belfry: Belfry, site: str, user: str) -> None:
    admin = administrator(belfry, site)
    message = belfry.publish({"to": user, "title": "kept"})["id"]
    with belfry.stream(user) as stream:
        stream.wait_for("ready")
        for address in addresses("/users", user):
            told = admin.get(address).json()
            assert (told["user"], told["online"], told["log"]["kept"]) == (user, True, 1)
        for address in addresses("/presence", user):
            assert admin.delete(address).status_code == 204
        stream.wait_for("goodbye")
    path = "~" if user in DOTS else quote(user, safe="")
    query = urlencode({"id": user} if user in DOTS else {})
    assert admin.get(f"/users/{path}/messages/{message}?{query}").json()["log"] == f"user:{user}"
    assert admin.get(f"/users/~/messages/~?{urlencode({'id': user, 'message': message})}").status_code == 200
    for address in addresses("/users", user):
        belfry.publish({"to": user, "title": "again"})
        assert admin.delete(address).status_code == 204
        assert admin.get(addresses("/users", user)[0]).json()["log"]["kept"] == 0


@pytest.mark.parametrize("message_id", [".", "..", "...", ":", "-", "content", "read", "a.b:c_d-e"])
def test_a_message_of_any_id_is_found_read_removed_and_retracted(
    belfry: Belfry, site: str, alice: str, message_id: str
) -> None:
    admin = administrator(belfry, site)
    reader = Api(site, belfry.token(alice, "feed"))
    for address in addresses("/messages", message_id):
        belfry.publish({"to": alice, "id": message_id, "title": "x"})
        assert admin.get(address).json()["id"] == message_id
        assert reader.post("/feed/read", json={"ids": [message_id]}).json()["unread"] == 0
        told = admin.get(f"/users/{alice}/messages/~?{urlencode({'message': message_id})}").json()
        assert told["read"]
        content = admin.get(f"/messages/~/content?{urlencode({'id': message_id})}").json()
        assert content["message"]["id"] == message_id
        assert alice in admin.delete(address).json()["retracted"]
        alice = f"alice-{secrets.token_hex(4)}"
        reader = Api(site, belfry.token(alice, "feed"))
    for address in addresses("/feed", message_id):
        belfry.publish({"to": alice, "id": message_id, "title": "x"})
        assert reader.delete(address).status_code == 200
        alice = f"alice-{secrets.token_hex(4)}"
        reader = Api(site, belfry.token(alice, "feed"))


@pytest.mark.parametrize("message_id", [".", "..", "...", "a.b:c_d-e"])
def test_a_scheduled_message_of_any_id_is_changed_and_cancelled(
    belfry: Belfry, shipped_nginx: ShippedNginx, alice: str, message_id: str
) -> None:
    """One message for all addresses: an id that was cancelled can't be scheduled again for a day."""
    sent = belfry.publisher.publish({"to": alice, "id": message_id, "title": "x", "deliver_at": 3_600})
    assert sent.status_code == 202
    for site in (belfry.url, shipped_nginx.url):
        for address in addresses("/scheduled", message_id):
            changed = administrator(belfry, site).request("PATCH", address, json={"deliver_at": 7_200})
            assert (changed.status_code, changed.json().get("id")) == (200, message_id), address
    assert administrator(belfry, belfry.url).delete(addresses("/messages", message_id)[-1]).status_code == 200


def test_an_id_in_the_query_must_be_one(belfry: Belfry) -> None:
    admin = administrator(belfry, belfry.url)
    belfry.publish({"to": "~", "title": "stays"})
    for query in ("id=", "id=a&id=b", "id=a%00b"):
        for collection in ("/users", "/users/~"):
            answer = admin.delete(f"{collection}?{query}")
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
            assert "id: expected one id" in answer.json()["detail"]
    assert admin.get("/users/~").json()["log"]["kept"] == 1


@pytest.mark.parametrize("path", ["/users/a%00b", "/users/a%00b%2Fc", "/messages/%00", "/static/belfry.js%00", "/%00"])
def test_a_path_with_nul_leads_nowhere(belfry: Belfry, path: str) -> None:
    """Inside the server NUL stands for a slash of an id, so it would name another user."""
    for accept in ("application/json", "text/html"):
        answer = administrator(belfry, belfry.url).get(path, headers={"Accept": accept})
        assert (answer.status_code, "There is nothing at" in answer.text) == (404, True), accept


@pytest.mark.parametrize("name", ["Jörg", "가나다", "Å", "ǭ"])
def test_every_spelling_of_a_name_is_one_user(belfry: Belfry, site: str, name: str) -> None:
    name = f"{name}-{secrets.token_hex(4)}"
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert composed != decomposed
    admin = administrator(belfry, site)
    with belfry.stream(decomposed) as stream:
        stream.wait_for("ready")
        told = belfry.publish({"to": [composed, decomposed], "title": "hello"})
        assert [each["to"] for each in told["deliveries"]] == [composed]
        assert stream.wait_for_messages(1)[0]["title"] == "hello"
        for spelling in (composed, decomposed):
            for address in addresses("/users", spelling):
                assert admin.get(address).json()["user"] == composed
            asked = admin.get("/presence", params={"users": spelling}).json()
            assert asked["users"][composed]["online"]
            restricted = Api(site, belfry.token("p", "publish", to=[f"user:{spelling}"]))
            assert restricted.publish({"to": decomposed, "title": "x"}).status_code == 201
        wait_until(lambda: any(each["user"] == composed for each in found(admin, decomposed)))
        assert admin.delete(addresses("/presence", decomposed)[0]).status_code == 204
        stream.wait_for("goodbye")
    withdrawn = belfry.reader(composed)
    assert admin.post("/admin/revocations", json={"user": decomposed}).json()["name"] == composed
    wait_until(lambda: withdrawn.get("/feed").status_code == 401)
    assert admin.delete(addresses("/users", decomposed)[0]).status_code == 204
    assert admin.get(addresses("/users", composed)[0]).json()["log"]["kept"] == 0


def found(admin: Api, prefix: str) -> list[dict[str, str]]:
    users: list[dict[str, str]] = admin.get("/users", params={"prefix": prefix}).json()["users"]
    return users


def test_every_spelling_of_a_topic_is_one_topic(belfry: Belfry, alice: str) -> None:
    name = f"café-{secrets.token_hex(4)}"
    decomposed = unicodedata.normalize("NFD", name)
    token = belfry.token(alice, "feed", topics=[decomposed])
    with belfry.stream(alice, topics=[quote(name)], token=token) as one, belfry.stream(alice, token=token) as two:
        one.wait_for("ready"), two.wait_for("ready")
        for spelling in (name, decomposed):
            receipt = belfry.publish({"topic": spelling, "title": "hello"})
            assert receipt["deliveries"][0]["to"] == f"topic:{name}"
        for stream in (one, two):
            assert [message["topic"] for message in stream.wait_for_messages(2)] == [name, name]


def test_what_was_kept_under_another_spelling_is_erased_too(
    belfry: Belfry, redis_server: RedisServer, alice: str
) -> None:
    name = f"Jörg-{alice}"
    decomposed = unicodedata.normalize("NFD", name)
    belfry.publish({"to": name, "title": "x"})
    with redis_server.client() as client:  # as a former version kept it
        for key in client.scan_iter(f"*{name}*"):
            client.copy(key, key.replace(name, decomposed))
        assert list(client.scan_iter(f"*{decomposed}*:log"))
        assert administrator(belfry, belfry.url).delete(f"/users?{urlencode({'id': name})}").status_code == 204
        assert not list(client.scan_iter(f"*{decomposed}*:log"))


def test_names_with_commas_can_be_asked_for(belfry: Belfry, alice: str) -> None:
    topic, user = f"a,b-{alice}", f"x,y-{alice}"
    belfry.publish({"topic": topic, "title": "hello"})
    token = belfry.token(user, "feed", topics=["*"])
    with belfry.stream(user, token=token, query=urlencode({"topic": topic})) as stream:
        stream.wait_for("ready")
        belfry.publish({"topic": topic, "title": "hello"})
        assert stream.wait_for_messages(1)[0]["topic"] == topic
        told = belfry.publisher.get("/presence", params={"users": alice, "user": [user, "z,z"]}).json()["users"]
        assert {name: each["online"] for name, each in told.items()} == {alice: False, user: True, "z,z": False}
