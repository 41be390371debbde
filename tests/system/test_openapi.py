"""The OpenAPI document is valid, and what a real server answers is what the document says, operation by operation."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
import requests
from flask import template_rendered
from openapi_spec_validator import validate

from app import __version__, create_app
from app.core.identity.tokens import SCOPES
from app.core.push.vapid import VapidKey
from app.core.settings import Settings
from app.core.wire.sse import Decoder
from app.launch.demo import new_push_key
from app.web.api.described import DESCRIBED, described
from app.web.api.openapi import document
from app.web.api.operations import EVENTS, NDJSON, OPERATIONS, Access
from tests.documentation import built_documentation
from tests.push_service import Browser
from tests.servers import Belfry
from tests.upstream import Conversation, Upstream, running_upstream, saying
from tests.waiting import wait_until

DOCUMENT: Any = document(__version__)
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
EMBEDDED = {"object": "list", "data": []}
METHODS = ("get", "post", "patch", "delete")


def answer(conversation: Conversation) -> None:
    if conversation.path.endswith("/embeddings"):
        conversation.refuse(200, EMBEDDED)
    elif conversation.body.get("stream"):
        saying("Hello")(conversation)
    else:
        message = {"role": "assistant", "content": "Hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        conversation.refuse(200, {"id": "c1", "object": "chat.completion", "choices": [choice]})


PUSH_KEY = new_push_key()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        upstream.play = answer
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_UPSTREAM_URL": upstream.url,
        "BELFRY_DEMO": "1",
        "BELFRY_FIGURES_SECONDS": "1",
        "BELFRY_PUSH_PRIVATE_KEY": PUSH_KEY,
        "BELFRY_PUSH_DELAY_SECONDS": "3600",  # nothing is sent to a real push service
    }


def resolved(part: Any) -> Any:
    """`part` of the document as a JSON schema that stands alone."""
    return {**part, "components": DOCUMENT["components"]}


def check(instance: Any, schema: Any) -> None:
    validator: Any = jsonschema.Draft202012Validator(resolved(schema))
    validator.validate(instance)


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def parts(part: Any) -> Iterator[Any]:
    yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from parts(inner)


class Checked:
    """Calls a server and holds each answer to the document. `seen` counts answers by operation and outcome."""

    def __init__(self, belfry: Belfry) -> None:
        self._url = belfry.url
        self._token = belfry.token("alice", *SCOPES, topics=["*"])
        self.seen: Counter[tuple[str, str]] = Counter()

    def call(self, method: str, path: str, status: int, *, token: str | None = None, **options: Any) -> Any:
        sent = dict(options.pop("headers", {}))
        if token != "":
            sent["Authorization"] = f"Bearer {token or self._token}"
        got = requests.request(method, self._url + path, headers=sent, timeout=60, allow_redirects=False, **options)
        assert got.status_code == status, (method, path, got.status_code, got.text)
        operation = operation_of(method, path.partition("?")[0])
        hold(operation, got)
        self.seen[operation["operationId"], "refusal" if status >= 400 else "success"] += 1
        return got


def operation_of(method: str, path: str) -> Any:
    """The operation of a path; one without parameters comes first."""
    for template, item in sorted(DOCUMENT["paths"].items(), key=lambda pair: pair[0].count("{")):
        if method.lower() in item and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return item[method.lower()]
    raise AssertionError((method, path))


def hold(operation: Any, got: requests.Response) -> None:
    told = operation["responses"].get(str(got.status_code)) or operation["responses"]["default"]
    if got.status_code in (204, 302, 303):
        assert str(got.status_code) in operation["responses"], (operation["operationId"], got.status_code)
        return
    media = got.headers["Content-Type"].partition(";")[0]
    content = told["content"].get(media) or told["content"].get("*/*")
    assert content, (operation["operationId"], got.status_code, media, list(told["content"]))
    hold_body(media, content, got)


def hold_body(media: str, content: Any, got: requests.Response) -> None:
    if media.endswith("json") and media != NDJSON:
        check(got.json(), content["schema"])
    elif media == NDJSON:
        for line in got.text.splitlines():
            check(json.loads(line), content["x-lines"])
    elif media == EVENTS:
        hold_events(content, got.content)


def hold_events(content: Any, stream: bytes) -> None:
    events = content["x-events"]
    for event in Decoder().feed(stream):
        if event.data != "[DONE]":
            check(json.loads(event.data), events.get(event.event) or events["message"])


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_each_operation_has_a_name_of_its_own_and_a_description() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(OPERATIONS) == len(set(names))
    assert {f"{operation.method} {operation.path}" for operation in OPERATIONS} == set(DESCRIBED)


def test_no_member_of_a_body_has_a_default() -> None:
    """Generators take a member with a default for one that is always there."""
    assert [
        part for part in parts(DOCUMENT["components"]["schemas"]) if isinstance(part, dict) and "default" in part
    ] == []


def test_each_answer_with_json_says_what_it_holds() -> None:
    bare = [
        (operation["operationId"], status)
        for _, _, operation in operations()
        for status, told in operation["responses"].items()
        for media, content in told.get("content", {}).items()
        if media == "application/json" and not content["schema"] and operation["operationId"] != "getOpenApi"
    ]
    assert bare == []


def test_each_operation_with_a_body_and_each_answer_of_the_interface_has_an_example() -> None:
    missing = []
    for operation in OPERATIONS:
        told = described(operation)
        contents = [*told.body.values(), *[each for answer in told.answers.values() for each in answer.values()]]
        named = [content for content in contents if content.name and not content.name.startswith("Forwarded")]
        missing += [(told.id, content.name) for content in named if content.example is None]
    assert missing == []


def test_every_example_is_what_its_schema_says() -> None:
    for operation in OPERATIONS:
        told = described(operation)
        for content in [*told.body.values(), *[each for answer in told.answers.values() for each in answer.values()]]:
            if content.events:
                hold_events(content.written(), content.example.encode())
            elif content.lines:
                for line in content.example.splitlines():
                    check(json.loads(line), content.written()["x-lines"])
            elif content.example is not None:
                check(content.example, content.schema)


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({"to": "alice"}, True),
        ({"to": ["alice", "bob"], "title": None}, True),
        ({"topic": "news", "data": [1]}, True),
        ({"everyone": True}, True),
        ({}, False),
        ({"to": "alice", "topic": "news"}, False),
        ({"to": ""}, False),
        ({"to": []}, False),
        ({"to": "a b"}, False),
        ({"to": 17}, False),
        ({"topic": "x" * 129}, False),
        ({"everyone": False}, False),
        ({"to": "alice", "id": ""}, False),
        ({"to": "alice", "id": "a/b"}, False),
        ({"to": "alice", "event": "ready"}, False),
        ({"to": "alice", "event": ""}, False),
        ({"to": "alice", "url": "javascript:alert(1)"}, False),
        ({"to": "alice", "url": "//evil.example"}, False),
        ({"to": "alice", "url": "HTTPS://example.com/a"}, True),
        ({"to": "alice", "url": ""}, False),
        ({"to": "alice", "ttl": 0}, False),
        ({"to": "alice", "tags": [""]}, False),
        ({"to": "alice", "actions": [{"label": ""}]}, False),
        ({"to": "alice", "surprise": 1}, False),
    ],
)
def test_the_schema_of_a_message_allows_what_the_server_takes(belfry: Belfry, body: Any, is_valid: bool) -> None:
    schema = resolved({"$ref": "#/components/schemas/Publish"})
    validator: Any = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(body) is is_valid
    assert belfry.publisher.publish(body).ok is is_valid


def test_what_each_operation_answers_is_what_the_document_says(belfry: Belfry) -> None:
    checked = Checked(belfry)
    call = checked.call
    with ThreadPoolExecutor(1) as background:
        stream = background.submit(call, "GET", "/stream", 200)
        try:
            wait_until(lambda: belfry.is_online("alice"), 20, what="the stream to be open")
            publish_and_read(call)
            administrate(call, belfry)
        finally:
            call("DELETE", "/presence/alice", 204)  # ends the stream, so that the whole of it can be read
        assert all(f"event: {name}" in stream.result().text for name in ("ready", "read", "removed", "goodbye"))
    push(call)
    complete(call)
    other(call)
    refuse(call, belfry)
    missing = [
        (described(operation).id, outcome)
        for operation in OPERATIONS
        for outcome in ("success", *(["refusal"] if operation.access in {Access.SCOPE, Access.TOKEN} else []))
        if not checked.seen[described(operation).id, outcome]
    ]
    assert missing == []


def schedule(call: Any) -> None:
    later = {"to": "alice", "id": "s1", "title": "x", "deliver_at": 3_600}
    call("POST", "/publish", 202, json=later)
    call("POST", "/publish", 200, json=later)
    call("POST", "/publish", 200, data=json.dumps(later), headers={"Content-Type": NDJSON})
    call("POST", "/publish", 422, json={**later, "deliver_at": "noon"})
    call("GET", "/scheduled", 200)
    call("GET", "/scheduled?after=~", 400)
    call("PATCH", "/scheduled/s1", 200, json={"deliver_at": 7_200})
    call("PATCH", "/scheduled/nothing", 404, json={"deliver_at": 0})
    call("GET", "/messages/s1", 200)
    call("DELETE", "/messages/s1", 200)
    call("GET", "/messages/s1", 200)


def push(call: Any) -> None:
    endpoint = "https://fcm.googleapis.com/x"
    call("POST", "/push/subscriptions", 201, json=Browser().subscription(endpoint))
    call("POST", "/push/subscriptions", 422, json=Browser().subscription("https://evil.example/x"))
    call("POST", "/push/subscriptions", 422, json={})
    call("GET", "/push/key", 200)
    call("GET", "/push/key", 401, token="none")
    call("POST", "/publish", 201, json={"to": "alice", "id": "p1", "push": True})
    call("POST", "/publish", 422, json={"topic": "news", "push": True})
    read = {"user": "alice", "id": "p1", "proof": VapidKey(PUSH_KEY).proof("alice", "p1")}
    call("POST", "/push/read", 204, token="", json=read)
    call("POST", "/push/read", 403, token="", json={**read, "id": "p2"})
    call("DELETE", "/push/subscriptions", 204, json={"endpoint": endpoint})
    call("DELETE", "/push/subscriptions", 415, data="x", headers={"Content-Type": "text/plain"})


def publish_and_read(call: Any) -> None:
    message = {
        "to": ["alice", "bob"], "id": "m1", "title": "x", "level": "info", "tags": ["a"], "data": {"a": 1}, "ttl": 600,
        "actions": [{"label": "Open", "url": "/"}], "url": "/x", "key": "k", "event": "order",
    }  # fmt: skip
    call("POST", "/publish", 201, json=message)
    call("POST", "/publish", 200, json=message)
    call("POST", "/publish", 409, json={**message, "title": "y"})
    call("POST", "/publish", 422, json={"to": "alice", "id": "", "ttl": 0})
    call("POST", "/publish", 422, json={})
    call("POST", "/publish", 400, data="{", headers={"Content-Type": "application/json"})
    call("POST", "/publish", 415, data="x", headers={"Content-Type": "text/plain"})
    call("POST", "/publish", 201, json={"everyone": True, "id": "m2"})
    call("POST", "/publish", 201, json={"to": "alice", "transient": True})
    lines = '{"to":"alice","id":"m3"}\n{"to":"alice","id":"m1"}\n{}\nnope\n'
    call("POST", "/publish", 200, data=lines, headers={"Content-Type": NDJSON})
    schedule(call)
    cursor = call("GET", "/feed", 200).json()["cursor"]
    call("GET", f"/feed?after={cursor}", 200)
    call("GET", "/feed?unread=true&level=info&tag=a&limit=1", 200)
    call("GET", "/feed?limit=0", 400)
    call("GET", "/feed?before=~", 400)
    call("POST", "/feed/read", 200, json={"ids": ["m1"]})
    call("POST", "/feed/read", 422, json={})
    call("POST", "/feed/archive", 200, json={"all": True, "archived": False})
    call("POST", "/feed/remove", 200, json={"ids": ["m3"], "removed": False})
    call("DELETE", "/feed/m3", 200)
    call("DELETE", "/feed/nothing", 404)
    call("GET", "/messages/m1?readers=true", 200)
    call("GET", "/messages/m2?readers=true", 200)
    call("GET", "/messages/m1/content", 200)
    call("GET", "/messages/nothing", 404)
    call("GET", "/stream?last_event_id=~", 400)


def administrate(call: Any, belfry: Belfry) -> None:
    admin = belfry.api(belfry.token("admin", *SCOPES))
    wait_until(lambda: admin.get("/presence").json()["users"], 20, what="a connection to be told")
    call("GET", "/presence", 200)
    call("GET", "/presence?users=alice,bob", 200)
    call("GET", "/presence?users=%20", 422)
    wait_until(lambda: admin.get("/messages").json()["messages"], 20, what="a message to be listed")
    call("GET", "/messages", 200)
    wait_until(lambda: admin.get("/users?prefix=a").json()["users"], 20, what="a user to be known")
    call("GET", "/users?prefix=a", 200)
    call("GET", "/users/alice", 200)
    call("GET", "/users/alice/messages/m1", 200)
    call("GET", "/users/alice/messages/nothing", 404)
    connection = next(iter(admin.get("/presence").json()["users"]["alice"]["list"]))["id"]
    call("POST", f"/presence/tabs?connection={connection}&tabs=2", 204)
    wait_until(lambda: admin.get("/admin/figures").json()["points"], 20, what="a point of the figures")
    call("GET", "/admin/figures", 200)
    call("DELETE", "/messages/m1", 200)
    call("POST", "/session", 201)
    call("GET", "/admin/sessions?user=alice", 200)
    call("GET", "/admin/audit", 200)
    call("POST", "/admin/revocations", 200, json={"user": "zed"})
    call("POST", "/admin/revocations", 400, json={})
    call("DELETE", "/users/zed", 204)


def converse(call: Any) -> None:
    asked = {"id": "c1", "model": "m", "content": "hi"}
    call("POST", "/conversations", 201, json=asked)
    call("GET", "/completions/c1/stream", 200)
    call("POST", "/conversations", 200, json=asked)
    call("POST", "/conversations", 400, json={"model": "m"})
    call("GET", "/conversations", 200)
    call("GET", "/conversations/nothing", 404)
    more = {"id": "t2", "model": "m", "content": [{"type": "text", "text": "and?"}], "after": "c1", "revision": 1}
    call("POST", "/conversations/c1/turns", 201, json=more)
    call("GET", "/completions/t2/stream", 200)
    call("POST", "/conversations/c1/turns", 200, json=more)
    call("POST", "/conversations/c1/turns", 409, json={**more, "id": "t3"})
    call("GET", "/conversations/c1", 200)
    call("PATCH", "/conversations/c1", 200, json={"title": "Bells"})
    call("PATCH", "/conversations/c1", 422, json={"title": ""})
    call("DELETE", "/conversations/c1", 204)
    call("DELETE", "/conversations/c1", 404)


def complete(call: Any) -> None:
    call("POST", "/completions", 201, json={"id": "r1", **ASKED})
    call("GET", "/completions/r1/stream", 200)
    call("POST", "/completions", 200, json={"id": "r1", **ASKED})
    call("POST", "/completions", 409, json={"id": "r1", **ASKED, "n": 2})
    call("POST", "/completions", 400, json={"model": "m"})
    call("GET", "/completions", 200)
    call("GET", "/completions/r1", 200)
    call("GET", "/completions/nothing", 404)
    call("DELETE", "/completions/r1", 200)
    converse(call)
    call("POST", "/v1/chat/completions", 200, json={**ASKED, "stream": None})
    call("POST", "/v1/chat/completions", 200, json={**ASKED, "stream": True})
    call("POST", "/v1/chat/completions", 400, json={})
    asked = {"model": "m", "input": "hi"}
    call("POST", "/v1/responses", 200, json={**asked, "stream": True})
    whole = call("POST", "/v1/responses", 200, json={**asked, "background": True}).json()
    call("GET", f"/v1/responses/{whole['id']}", 200)
    call("GET", f"/v1/responses/{whole['id']}?stream=true", 200)
    call("POST", f"/v1/responses/{whole['id']}/cancel", 200)
    call("DELETE", f"/v1/responses/{whole['id']}", 200)
    for path in ("completions", "embeddings", "moderations", "images/generations", "audio/speech"):
        call("POST", f"/v1/{path}", 200, json={"model": "m", "input": "hi"})
    call("POST", "/openai/deployments/m/embeddings", 200, json={"input": "hi"})
    call("GET", "/v1/models", 200)
    call("GET", "/v1/models/m", 200)
    call("GET", "/v1/models/nothing", 404)


def other(call: Any) -> None:
    built_documentation()
    call("POST", "/tickets", 201)
    call("DELETE", "/session", 204, token="")
    for path in ("/", "/chat", "/chat/r1", "/admin/", "/admin/people/", "/admin/dashboard/"):
        call("GET", path, 302, token="")
    for path in (
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/",
        "/docs/search.json",
        "/login",
    ):
        call("GET", path, 200, token="")
    for path in ("/docs/search.json", "/static/belfry.css"):
        call("GET", path, 200, token="")
    call("POST", "/logout", 303, token="")
    call("POST", "/login", 303, token="", data={"name": "alice"})
    call("GET", "/static/nothing", 404, token="")


def refuse(call: Any, belfry: Belfry) -> None:
    """Every operation that needs a credential says so, and what scope it needs."""
    weak = belfry.token("alice")
    for operation in OPERATIONS:
        if operation.access in {Access.SCOPE, Access.TOKEN}:
            path = re.sub(r"\{\w+\}", "x", operation.path)
            call(operation.method, path, 401, token="")
            if operation.access is Access.SCOPE:
                call(operation.method, path, 403, token=weak)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/feed/read", {"POST"}),
        ("/feed/m1", {"DELETE"}),
        ("/presence/tabs", {"POST"}),
        ("/session", {"POST", "DELETE"}),
        ("/feed", {"GET", "HEAD"}),
    ],
)
def test_options_names_the_methods_of_the_document(belfry: Belfry, path: str, methods: set[str]) -> None:
    for method in ("OPTIONS", "PUT"):  # the second one is refused
        allowed = requests.request(method, belfry.url + path, timeout=60).headers["Allow"]
        assert set(allowed.split(", ")) == {*methods, "OPTIONS"}


def test_the_page_shows_bodies_answers_and_examples(belfry: Belfry) -> None:
    page = requests.get(f"{belfry.url}/docs", timeout=60).text
    for shown in ("&#34;id&#34;: &#34;order-17-shipped&#34;", "event: ready", 'href="#Published"', 'id="Published"'):
        assert shown in page, shown
    for name in DOCUMENT["components"]["schemas"]:
        assert f'id="{name}"' in page


def test_the_page_is_made_once_for_each_prefix() -> None:
    """It has no rate and asks for no credential, and takes as long to make as 20 other requests."""
    made: list[str] = []
    app = create_app(Settings(secret="x" * 32, redis_url="redis://nowhere"))
    with template_rendered.connected_to(lambda _sender, template, **_: made.append(template.name), app):
        pages = [app.test_client().get("/docs", base_url=f"http://localhost{below}").text for below in ("", "/p") * 3]
    assert made == ["openapi/docs.html"] * 2
    assert [f'"{below}/openapi.json"' in page for below, page in zip(("", "/p") * 3, pages, strict=True)] == [True] * 6


def test_below_a_prefix_the_document_names_it() -> None:
    """Without `servers`, a client takes the root of the host."""
    client = create_app(Settings(secret="x" * 32, redis_url="redis://nowhere")).test_client()
    assert client.get("/openapi.json", base_url="http://localhost/p").get_json()["servers"] == [{"url": "/p"}]
    assert "servers" not in client.get("/openapi.json").get_json()


def test_the_pages_lead_to_the_description_of_the_interface(belfry: Belfry) -> None:
    assert 'href="/docs"' in requests.get(f"{belfry.url}/login", timeout=60).text
