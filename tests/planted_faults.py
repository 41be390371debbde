"""One fault for each promise: what it does to what passes through the proxy, and which checks have to find it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import jwt

from app.conformance.checks import CHECKS
from app.conformance.checks.limits import STEP
from tests.faulty_proxy import Answer, Asked, Blocks, Fault

FIRST_PLACE = re.compile(rb"\.\d+")
CURSOR = re.compile(r"[0-9A-Za-z]{1,16}\.(0|[1-9]\d*)(-[0-9A-Za-z]{1,16}\.(0|[1-9]\d*))*")
HIDES_NOTHING = re.compile(r'"data":(\d+)[,}]')
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Planted:
    """`make` gives a fresh fault, for some remember what passed. `found_by` are the names of the checks."""

    make: Callable[[], Fault]
    found_by: frozenset[str]


PLANTED: dict[str, Planted] = {}


def found_by(*names: str) -> Callable[[Callable[[], Fault]], Callable[[], Fault]]:
    """Plant what the function makes; its name, as words, is the fault's."""
    known = {check.name for check in CHECKS}
    assert known.issuperset(names), sorted(set(names) - known)

    def plant(make: Callable[[], Fault]) -> Callable[[], Fault]:
        PLANTED[make.__name__.replace("_", " ")] = Planted(make, frozenset(names))
        return make

    return plant


# Small things that faults are made of


def number_of(block: bytes) -> int:
    """The `data` of a message, -1 of anything else."""
    found = HIDES_NOTHING.search(block.decode())
    return int(found[1]) if found and b"event: ready" not in block else -1


def is_event(block: bytes, event: str) -> bool:
    return f"event: {event}\n".encode() in block


def each_block(change: Callable[[bytes], bytes]) -> Fault:
    """Changes every block of every feed's stream; an empty one is dropped."""

    def blocks(asked: Asked, passing: Iterable[bytes]) -> Blocks:
        return map(change, passing) if asked.route == "/stream" else passing

    return Fault(blocks=blocks)


def without(event: str) -> Fault:
    return each_block(lambda block: b"" if is_event(block, event) else block)


def replaced(old: bytes, new: bytes) -> Fault:
    return each_block(lambda block: block.replace(old, new))


def each_answer(change: Callable[[Asked, Answer], None]) -> Fault:
    return Fault(answer=change)


def every_answer(change: Callable[[Answer], None]) -> Fault:
    return each_answer(lambda _asked, answer: change(answer))


def when(method: str, route: str, change: Callable[[Answer], None]) -> Fault:
    """Changes the answers to one method of the addresses that begin so."""
    return each_answer(lambda asked, answer: change(answer) if fits(asked, method, route) else None)


def fits(asked: Asked, method: str, route: str) -> bool:
    return asked.method == method and asked.route.startswith(route)


def members(**changes: Any) -> Callable[[Answer], None]:
    """Sets members of a JSON object."""

    def change(answer: Answer) -> None:
        answer.body = json.dumps({**json.loads(answer.body), **changes}).encode()

    return change


def status(number: int) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.status = number

    return change


def no_header(name: str) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        del answer.headers[name]

    return change


def of_status(number: int, change: Callable[[Answer], None]) -> Callable[[Answer], None]:
    """Changes the answers of this status alone."""
    return lambda answer: change(answer) if answer.status == number else None


def page(answer: Answer) -> None:
    """Turns an answer into what a proxy of its own says."""
    del answer.headers["Content-Type"]
    answer.headers["Content-Type"] = "text/html"
    answer.body = b"<html>Something went wrong</html>"


def instead(method: str, route: str, number: int) -> Fault:
    """The server never hears of it."""

    def answer(asked: Asked) -> Answer | None:
        return Answer(number, Message(), b"{}") if fits(asked, method, route) else None

    return Fault(instead=answer)


def without_parameter(route: str, name: str) -> Fault:
    def ask(asked: Asked) -> None:
        if asked.route == route:
            asked.path = re.sub(rf"([?&]){name}=[^&]*&?", r"\1", asked.path)

    return Fault(ask=ask)


def change_message(change: Callable[[dict[str, Any]], None]) -> Fault:
    """Changes single messages on their way in."""

    def ask(asked: Asked) -> None:
        if fits(asked, "POST", "/publish") and asked.headers.get_content_type() == "application/json":
            try:
                message = json.loads(asked.body)
            except ValueError:
                return
            change(message)
            send_instead(asked, json.dumps(message).encode())

    return Fault(ask=ask)


def send_instead(asked: Asked, body: bytes) -> None:
    asked.body = body
    del asked.headers["Content-Length"]
    asked.headers["Content-Length"] = str(len(body))


def subject(asked: Asked) -> str:
    """Whose token came with it."""
    token = asked.headers.get("Authorization", "").removeprefix("Bearer ")
    return str(jwt.decode(token, options={"verify_signature": False})["sub"]) if token.count(".") == 2 else ""


# Delivery


@found_by(
    "stream.at-once", "delivery.order", "delivery.batch-order", "delivery.reconnecting", "resume.header",
    "resume.every-id",
)  # fmt: skip
def loses_a_message() -> Fault:
    return each_block(lambda block: b"" if number_of(block) == 3 else block)


@found_by("delivery.order", "delivery.batch-order", "delivery.reconnecting")
def doubles_a_message() -> Fault:
    return each_block(lambda block: block * 2 if number_of(block) == 5 else block)


@found_by("delivery.order", "delivery.batch-order", "delivery.reconnecting")
def swaps_two_messages() -> Fault:
    def blocks(_asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        held = b""
        for block in passing:
            if number_of(block) == 5:
                held = block
            else:
                yield block + held
                held = b""

    return Fault(blocks=blocks)


@found_by("delivery.all-connections", "limits.connections")
def feeds_one_connection_of_two() -> Fault:
    opened: Counter[str] = Counter()

    def blocks(asked: Asked, passing: Iterable[bytes]) -> Blocks:
        if asked.headers.get("Last-Event-ID") or asked.query or asked.route != "/stream":
            return passing
        opened[subject(asked)] += 1
        if opened[subject(asked)] == 1:
            return passing
        return (b"" if number_of(block) >= 0 else block for block in passing)

    return Fault(blocks=blocks)


@found_by("delivery.isolation")
def sends_to_a_stranger_too() -> Fault:
    def ask(asked: Asked) -> None:
        if fits(asked, "POST", "/publish") and b'"to": "conformance-' in asked.body and b"\n" not in asked.body:
            message = json.loads(asked.body)
            if message["to"] != subject(asked):
                send_instead(asked, json.dumps({**message, "to": [message["to"], subject(asked)]}).encode())

    def answer(asked: Asked, answer: Answer) -> None:
        if fits(asked, "POST", "/publish") and answer.body.count(b'"offset"') == 2 and answer.status == 201:
            members(deliveries=json.loads(answer.body)["deliveries"][:1])(answer)

    return Fault(ask=ask, answer=answer)


@found_by("delivery.topics")
def gives_topics_to_everyone() -> Fault:
    def ask(asked: Asked) -> None:
        token = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        if "topics" in asked.query and not jwt.decode(token, options={"verify_signature": False}).get("topics"):
            asked.path = urlsplit(asked.path).path

    return Fault(ask=ask)


@found_by("delivery.transient")
def gives_transient_messages_a_place() -> Fault:
    return each_block(lambda block: b"id: a.1\n" + block if number_of(block) >= 0 and b"id:" not in block else block)


@found_by("delivery.offsets")
def counts_no_offsets() -> Fault:
    def change(answer: Answer) -> None:
        answer.body = re.sub(rb'"offset":\d+', b'"offset":7', answer.body)

    return when("POST", "/publish", change)


@found_by("delivery.online")
def takes_everyone_for_absent() -> Fault:
    return when("POST", "/publish", lambda answer: replace_body(answer, b'"online":true', b'"online":false'))


def replace_body(answer: Answer, old: bytes, new: bytes) -> None:
    answer.body = answer.body.replace(old, new)


# Stream


STREAMS = (
    "stream.first-block", "stream.first-bytes", "stream.at-once", "stream.ids", "stream.event-types",
    "stream.line-ends", "stream.heartbeat", "delivery.order", "delivery.batch-order", "delivery.all-connections",
    "delivery.reconnecting", "delivery.transient", "delivery.isolation", "delivery.topics", "delivery.online",
    "dedup.same-again", "dedup.other-content", "dedup.batch-again", "resume.header", "resume.query",
    "resume.every-id", "resume.up-to-date", "resume.feed-cursor", "reset.foreign-epoch", "reset.offset-ahead",
    "reset.poll", "state.unread", "state.read", "state.archived", "state.removed", "state.retracted",
    "publish.bad-line", "access.ticket", "access.ticket-once", "presence.shown", "presence.dismissed",
    "presence.revoked", "limits.connections",
)  # fmt: skip


@found_by(*STREAMS)
def buffers() -> Fault:
    def blocks(asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        if asked.method == "POST":
            yield from passing
        else:
            yield b"".join(passing)

    return Fault(blocks=blocks)


@found_by("stream.headers")
def lets_caches_keep_the_stream() -> Fault:
    return when("GET", "/stream", no_header("Cache-Control"))


@found_by("stream.headers")
def lets_browsers_guess() -> Fault:
    return when("GET", "/stream", no_header("X-Content-Type-Options"))


@found_by("stream.accel-buffering")
def lets_nginx_buffer() -> Fault:
    return when("GET", "/stream", no_header("X-Accel-Buffering"))


@found_by("stream.uncompressed")
def compresses() -> Fault:
    def change(asked: Asked, answer: Answer) -> None:
        if asked.headers.get("Accept-Encoding") == "gzip":
            answer.headers["Content-Encoding"] = "gzip"

    return each_answer(change)


@found_by("stream.first-block")
def tells_no_delay() -> Fault:
    return each_block(lambda block: re.sub(rb"retry: \d+\n", b"", block) if is_event(block, "ready") else block)


@found_by("stream.first-block")
def counts_nothing_at_first() -> Fault:
    return each_block(lambda block: re.sub(rb'"revision":\d+', b'"revision":null', block))


@found_by("stream.line-ends")
def ends_a_line_where_python_does() -> Fault:
    """Belfry escapes the character; a server that writes it unescaped and then splits at it sends this."""
    return replaced(rb"\u2028", b"\ndata: ")


@found_by("stream.event-types")
def forgets_event_types() -> Fault:
    return replaced(b"event: build.done\n", b"")


@found_by("stream.head")
def refuses_head() -> Fault:
    return when("HEAD", "/stream", status(405))


@found_by("stream.heartbeat")
def beats_by_comments() -> Fault:
    return each_block(lambda block: b": heartbeat\n\n" if is_event(block, "heartbeat") else block)


@found_by("stream.heartbeat")
def beats_with_an_id() -> Fault:
    return replaced(b"event: heartbeat\n", b"event: heartbeat\nid: a.1\n")


@found_by("stream.heartbeat")
def is_silent() -> Fault:
    return without("heartbeat")


# Resume and reset


RESUMED = (
    "delivery.reconnecting", "resume.header", "resume.every-id", "resume.feed-cursor", "state.retracted",
    "reset.foreign-epoch", "reset.offset-ahead",
)  # fmt: skip


@found_by(
    "stream.ids", "delivery.reconnecting", "resume.header", "resume.every-id", "resume.up-to-date",
    "reset.foreign-epoch", "reset.offset-ahead",
)  # fmt: skip
def gives_messages_no_id() -> Fault:
    return each_block(lambda block: re.sub(rb"id: .*\n", b"", block) if number_of(block) >= 0 else block)


@found_by(*RESUMED, "reset.malformed", "completions.run", "completions.resumed")
def ignores_last_event_id() -> Fault:
    def ask(asked: Asked) -> None:
        del asked.headers["Last-Event-ID"]

    return Fault(ask=ask)


@found_by("resume.query")
def ignores_the_query_s_cursor() -> Fault:
    return without_parameter("/stream", "last_event_id")


@found_by(*(set(RESUMED) - {"state.retracted"}), "resume.up-to-date", "completions.run", "completions.resumed")
def resumes_from_the_beginning() -> Fault:
    def ask(asked: Asked) -> None:
        cursor = asked.headers.get("Last-Event-ID", "")
        if CURSOR.fullmatch(cursor):
            asked.headers.replace_header("Last-Event-ID", re.sub(r"\.\d+", ".0", cursor))

    return Fault(ask=ask)


@found_by("reset.foreign-epoch", "reset.offset-ahead")
def skips_lost_history_silently() -> Fault:
    return without("reset")


@found_by("reset.foreign-epoch", "reset.offset-ahead")
def resets_to_nowhere() -> Fault:
    return each_block(lambda block: re.sub(rb"id: .*\n", b"", block) if is_event(block, "reset") else block)


@found_by(*RESUMED, "resume.up-to-date")
def resets_always() -> Fault:
    def blocks(asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        for block in passing:
            yield block
            if is_event(block, "ready") and asked.headers.get("Last-Event-ID") and asked.route == "/stream":
                yield b"event: reset\n" + block[block.index(b"id: ") :]

    return Fault(blocks=blocks)


@found_by("reset.malformed")
def takes_any_cursor() -> Fault:
    def ask(asked: Asked) -> None:
        if not CURSOR.fullmatch(asked.headers.get("Last-Event-ID", "")):
            del asked.headers["Last-Event-ID"]

    return Fault(ask=ask)


@found_by("reset.poll")
def polls_over_lost_history() -> Fault:
    return when("GET", "/feed", of_status(410, status(200)))


# Dedup


@found_by("dedup.same-again", "dedup.other-content", "dedup.batch-again")
def forgets_ids() -> Fault:
    seen: Counter[str] = Counter()

    def renamed(line: bytes) -> bytes:
        try:
            message = json.loads(line)
        except ValueError:
            return line
        name = message.get("id", "") if isinstance(message, dict) else ""
        seen[name] += 1
        return json.dumps({**message, "id": f"{name}x{seen[name]}"}).encode() if seen[name] > 1 else line

    def ask(asked: Asked) -> None:
        if fits(asked, "POST", "/publish"):
            send_instead(asked, b"\n".join([renamed(line) for line in asked.body.split(b"\n")]))

    return Fault(ask=ask)


@found_by("dedup.same-again")
def hides_duplicates() -> Fault:
    return when("POST", "/publish", lambda answer: replace_body(answer, b'"duplicate":true', b'"duplicate":false'))


@found_by("dedup.other-content")
def takes_other_content_for_the_same() -> Fault:
    return when("POST", "/publish", of_status(409, status(200)))


# Feed and state


@found_by("feed.pages")
def shows_the_first_page_again() -> Fault:
    return without_parameter("/feed", "before")


@found_by("feed.private")
def lets_caches_keep_the_feed() -> Fault:
    return when("GET", "/feed", no_header("Cache-Control"))


@found_by("feed.long-poll", "feed.poll-waits")
def polls_without_waiting() -> Fault:
    """Answers a long poll with an empty page at once. The server is not asked: on a slow machine its page without
    `wait` could already hold the message that the check sends during the poll."""

    def answer(asked: Asked) -> Answer | None:
        if asked.route != "/feed" or "wait" not in asked.query:
            return None
        return Answer(200, Message(), json.dumps({"messages": [], "cursor": asked.query["after"]}).encode())

    return Fault(instead=answer)


@found_by("feed.keys")
def ignores_keys() -> Fault:
    return change_message(lambda message: message.pop("key", None))


@found_by("state.unread", "state.read", "state.removed", "state.retracted")
def miscounts_unread() -> Fault:
    def change(block: bytes) -> bytes:
        return re.sub(rb'"unread":(\d+)', rb'"unread":1\1', block) if is_event(block, "ready") else block

    return each_block(change)


@found_by("state.read")
def tells_nobody_of_reading() -> Fault:
    return without("read")


@found_by("state.archived")
def tells_nobody_of_archiving() -> Fault:
    return without("updated")


@found_by("state.removed", "state.retracted")
def tells_nobody_of_removing() -> Fault:
    return without("removed")


@found_by("state.retracted")
def retracts_nothing() -> Fault:
    return instead("DELETE", "/messages/", 200)


# Publishing and refusals


@found_by("publish.receipt")
def renames_messages_in_receipts() -> Fault:
    def change(asked: Asked, answer: Answer) -> None:
        if fits(asked, "POST", "/publish") and answer.status == 201:
            members(id="another")(answer)

    return each_answer(change)


@found_by("publish.bad-line", "dedup.batch-again")
def answers_a_batch_backwards() -> Fault:
    def change(answer: Answer) -> None:
        if answer.headers.get_content_type() == "application/x-ndjson":
            answer.body = b"\n".join(reversed(answer.body.splitlines())) + b"\n"

    return when("POST", "/publish", change)


@found_by("publish.bad-line")
def refuses_a_batch_for_one_line() -> Fault:
    def answer(asked: Asked) -> Answer | None:
        return Answer(400, Message()) if fits(asked, "POST", "/publish") and b"{not json" in asked.body else None

    return Fault(instead=answer)


@found_by("publish.refused")
def refuses_without_a_code() -> Fault:
    return when("POST", "/publish", of_status(422, members(code=None)))


@found_by("publish.not-json")
def guesses_the_content_type() -> Fault:
    return when("POST", "/publish", of_status(415, status(400)))


@found_by("publish.too-large")
def refuses_large_messages_by_a_page() -> Fault:
    return when("POST", "/publish", of_status(413, page))


@found_by("refusals.not-found")
def shows_a_page_for_404() -> Fault:
    return when("GET", "/no/", page)


@found_by("refusals.method")
def names_no_methods() -> Fault:
    return every_answer(of_status(405, no_header("Allow")))


@found_by("refusals.no-credential")
def redirects_to_the_sign_in() -> Fault:
    def change(asked: Asked, answer: Answer) -> None:
        if answer.status == 401 and asked.route == "/stream" and "ticket" not in asked.query:
            answer.status = 302
            answer.headers["Location"] = "/login"

    return each_answer(change)


@found_by("refusals.no-credential")
def challenges_nobody() -> Fault:
    return when("GET", "/stream", no_header("WWW-Authenticate"))


@found_by("refusals.expired-token")
def takes_expired_for_invalid() -> Fault:
    def change(_asked: Asked, answer: Answer) -> None:
        replace_body(answer, b'"token_expired"', b'"token_invalid"')

    return each_answer(change)


@found_by("refusals.bad-token")
def lets_anyone_in() -> Fault:
    def change(asked: Asked, answer: Answer) -> None:
        if asked.headers.get("Authorization") == "Bearer not.a.token":
            answer.status = 200

    return each_answer(change)


@found_by("refusals.scope", "refusals.recipient", "delivery.topics", "access.cross-site")
def refuses_by_401_alone() -> Fault:
    return every_answer(of_status(403, status(401)))


@found_by("health.live")
def is_dead() -> Fault:
    return when("GET", "/health/live", status(500))


@found_by("health.ready")
def has_no_store() -> Fault:
    return when("GET", "/health/ready", status(503))


@found_by("health.store")
def has_a_store_that_forgets() -> Fault:
    def answer(asked: Asked, answer: Answer) -> None:
        if asked.route == "/health/ready":
            answer.body = b'{"status":"ready","warnings":[{"code":"eviction","detail":"it evicts"}]}'

    return Fault(answer=answer)


# Access


@found_by("access.ticket-once")
def takes_a_ticket_twice() -> Fault:
    tokens: dict[str, str] = {}

    def ask(asked: Asked) -> None:
        if asked.query.get("ticket") in tokens:
            asked.headers["Authorization"] = tokens[asked.query["ticket"]]
            asked.path = "/stream"

    def answer(asked: Asked, answer: Answer) -> None:
        if asked.route == "/tickets":
            tokens[json.loads(answer.body)["ticket"]] = asked.headers["Authorization"]

    return Fault(ask=ask, answer=answer)


@found_by("access.ticket", "access.ticket-once")
def takes_no_tickets() -> Fault:
    return without_parameter("/stream", "ticket")


@found_by("access.session")
def keeps_sessions_for_ever() -> Fault:
    return instead("DELETE", "/session", 204)


@found_by("access.session", "access.cross-site")
def shows_the_cookie_to_scripts() -> Fault:
    def change(answer: Answer) -> None:
        (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
        cookie["httponly"] = False
        answer.headers.replace_header("Set-Cookie", cookie.OutputString())

    return when("POST", "/session", change)


@found_by("access.cross-site")
def takes_cookies_from_anywhere() -> Fault:
    def ask(asked: Asked) -> None:
        del asked.headers["Sec-Fetch-Site"], asked.headers["Origin"]

    def from_our_pages(asked: Asked) -> None:
        if "Cookie" in asked.headers:
            ask(asked)

    return Fault(ask=from_our_pages)


@found_by("access.cors-closed")
def allows_every_origin() -> Fault:
    def change(asked: Asked, answer: Answer) -> None:
        if "Origin" in asked.headers and "Access-Control-Allow-Origin" not in answer.headers:
            answer.headers["Access-Control-Allow-Origin"] = asked.headers["Origin"]

    return each_answer(change)


@found_by("access.cors-open")
def allows_no_origin() -> Fault:
    return every_answer(no_header("Access-Control-Allow-Origin"))


@found_by("access.cors-open")
def allows_no_cursor_from_elsewhere() -> Fault:
    return every_answer(no_header("Access-Control-Allow-Headers"))


# Presence


@found_by("presence.shown")
def shows_everyone_as_online() -> Fault:
    return when("GET", "/presence", lambda answer: replace_body(answer, b'"online":false', b'"online":true'))


@found_by("presence.dismissed", "presence.revoked", "presence.expired", "limits.connections")
def leaves_without_a_goodbye() -> Fault:
    return without("goodbye")


@found_by("presence.revoked")
def calls_the_banished_back() -> Fault:
    return replaced(b'{"reason":"revoked"}', b'{"reason":"shutdown"}')


@found_by("presence.dismissed")
def lets_nobody_be_dismissed() -> Fault:
    return instead("DELETE", "/presence/", 204)


@found_by("presence.revoked")
def revokes_nothing() -> Fault:
    return instead("POST", "/admin/revocations", 200)


@found_by("presence.forgotten")
def forgets_nobody() -> Fault:
    return instead("DELETE", "/users/", 204)


# Limits


@found_by("limits.connections")
def replaces_without_a_word() -> Fault:
    return each_block(lambda block: b"" if b'"reason":"replaced"' in block else block)


@found_by("limits.connections")
def calls_the_replaced_back() -> Fault:
    return replaced(b'{"reason":"replaced"}', b'{"reason":"shutdown"}')


@found_by("limits.connections")
def makes_room_by_turning_the_newest_away() -> Fault:
    """As its client sees it."""
    opened: Counter[str] = Counter()

    def blocks(asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        opened[subject(asked)] += 1
        last = opened[subject(asked)] == STEP
        for block in passing:
            yield block
            if last:
                yield b'event: goodbye\nretry: 1000\ndata: {"reason":"replaced"}\n\n'
                return

    return Fault(blocks=blocks)


@found_by("limits.publishing")
def lets_publishers_do_anything() -> Fault:
    return when("POST", "/publish", of_status(429, status(201)))


@found_by("limits.publishing")
def tells_nobody_how_far_to_go() -> Fault:
    return when("POST", "/publish", no_header("RateLimit-Limit"))


@found_by("limits.publishing")
def tells_nobody_how_long_to_wait() -> Fault:
    return when("POST", "/publish", of_status(429, no_header("Retry-After")))


@found_by("limits.publishing")
def stops_publishers_by_a_page() -> Fault:
    return when("POST", "/publish", of_status(429, page))


# Completions


@found_by("completions.run", "completions.resumed", "completions.others")
def never_says_that_an_answer_is_done() -> Fault:
    return runs(lambda block: b"" if b"[DONE]" in block else block)


@found_by("completions.run")
def begins_an_ended_run_again() -> Fault:
    return when("GET", "/completions/", of_status(204, status(200)))


@found_by("completions.resumed")
def loses_a_chunk_at_first() -> Fault:
    watched: Counter[str] = Counter()

    def blocks(asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        watched[asked.route] += 1
        for block in passing:
            if not (b'"three' in block and watched[asked.route] == 1 and asked.method == "GET"):
                yield block

    return Fault(blocks=blocks)


@found_by("completions.openai")
def gives_openai_s_clients_an_id() -> Fault:
    def blocks(asked: Asked, passing: Iterable[bytes]) -> Iterator[bytes]:
        for block in passing:
            yield (b"id: 1\n" if asked.method == "POST" else b"") + block

    return Fault(blocks=blocks)


@found_by("completions.models")
def has_an_upstream_at_a_wrong_address() -> Fault:
    return when("GET", "/v1/models", status(502))


@found_by("completions.upstreams")
def has_one_upstream_of_several_at_a_wrong_address() -> Fault:
    return when("GET", "/v1/models", members(upstreams=[{"upstream": "http://x", "trouble": "It is not there."}]))


@found_by("completions.others")
def hides_nobody_s_run() -> Fault:
    return when("GET", "/completions/", of_status(404, status(200)))


def runs(change: Callable[[bytes], bytes]) -> Fault:
    """Changes every block of the runs' streams."""

    def blocks(asked: Asked, passing: Iterable[bytes]) -> Blocks:
        return map(change, passing) if asked.route.startswith("/completions/") else passing

    return Fault(blocks=blocks)
