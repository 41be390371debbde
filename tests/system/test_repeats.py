"""A publisher that keeps its connection: what it sends again goes a way of its own, and is answered all the same."""

from __future__ import annotations

import math
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.servers import HOST, Belfry, RedisServer
from tests.system.conftest import StartBelfry
from tests.system.test_endpoints import BODY, FOREIGN, lines, received, shown
from tests.system.test_limits import count
from tests.waiting import patient, wait_until

JSON = "Content-Type: application/json"
PER_MINUTE = 8
REFILL_SECONDS = 60 / PER_MINUTE  # after which one more message is allowed
TRIES = 5


@pytest.fixture
def client(belfry: Belfry) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        yield client


def request(token: str, body: str, *fields: str) -> bytes:
    head = ["POST /publish HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", JSON, *fields]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()


def answer(client: socket.socket) -> tuple[int, bytes]:
    """The status and all of the next answer. Raises `OSError` where the connection was ended instead."""
    text = b""
    while b"\r\n\r\n" not in text:
        more = client.recv(65_536)
        if not more:
            raise ConnectionResetError
        text += more
    head, _, body = text.partition(b"\r\n\r\n")
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    while len(body) < length:
        body += client.recv(65_536)
    return int(head.split()[1]), head + b"\r\n\r\n" + body


def ask(client: socket.socket, data: bytes) -> tuple[int, bytes]:
    client.sendall(data)
    return answer(client)


def test_gunicorn_parses_two_of_ten_and_all_are_answered_to_the_byte_alike(redis_server: RedisServer) -> None:
    belfry = Belfry(redis_server.url, options=["--log-level", "debug"])  # then it logs what it parsed
    try:
        belfry.start()
        with socket.create_connection((HOST, belfry.port), timeout=60) as client:
            usual = lines(belfry, ())  # once, for the token of the next second is another one
            answers = {shown(ask(client, usual)[1]) for _ in range(10)}
            assert belfry.log().count("POST /publish") == 2
            assert answers == {shown(ask(client, lines(belfry, (FOREIGN,)))[1])}
            assert belfry.log().count("POST /publish") == 3
    finally:
        belfry.destroy()


def test_each_message_is_checked_and_counted(belfry: Belfry, client: socket.socket, alice: str) -> None:
    token = belfry.token("repeated", "publish")
    for number in range(5):
        status, text = ask(client, request(token, f'{{"to":"{alice}","id":"{alice}-{number}"}}'))
        assert (status, f'"offset":{number + 1},'.encode() in text) == (201, True)
    assert ask(client, request(token, f'{{"to":"{alice}","id":"{alice}-4"}}'))[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("", 400),
        ("{}", 422),
        ('{"to":"a b"}', 422),
        ('{"to":"repeated-dup","id":"repeated-dup","title":"other"}', 409),
        ('{"to":"alice","body":"' + "x" * 65_536 + '"}', 413),
    ],
)
def test_what_is_refused_is_refused_as_by_flask(belfry: Belfry, client: socket.socket, body: str, status: int) -> None:
    token = belfry.token("repeated", "publish")
    first = request(token, '{"to":"repeated-dup","id":"repeated-dup"}')
    for _ in range(3):
        assert ask(client, first)[0] in (200, 201)
    with socket.create_connection((HOST, belfry.port), timeout=60) as other:
        expected = ask(other, request(token, body))
    refused = ask(client, request(token, body))
    assert refused[0] == expected[0] == status
    assert shown(refused[1]) == shown(expected[1])
    assert ask(client, first)[0] == 200, "the connection goes on"


def remaining(text: bytes) -> int:
    return next(int(line[21:]) for line in text.split(b"\r\n") if line.startswith(b"RateLimit-Remaining: "))


def test_publishers_that_share_a_connection_keep_their_own_rights(belfry: Belfry, client: socket.socket) -> None:
    """As behind a proxy. Each may address one user; the tokens are of one length, and so are the requests."""
    tokens = {user: belfry.token(f"for-{user}", "publish", to=[user]) for user in ("anna", "bert")}
    for pair in ["aa", "aa", "aa", "ba", "ab", "bb", "bb", "bb", "ab", "ba", "aa", "bb", "ab"]:
        name = {"a": "anna", "b": "bert"}
        holder, to = pair[0], pair[1]
        status, _ = ask(client, request(tokens[name[holder]], f'{{"to":"{name[to]}"}}'))
        assert status == (201 if holder == to else 403), (holder, to)


def test_a_token_that_expires_meanwhile_is_refused(belfry: Belfry, client: socket.socket) -> None:
    seconds = math.ceil(patient(8))
    data = request(belfry.token("brief", "publish", seconds=seconds), BODY)
    deadline = time.monotonic() + seconds + patient(20)
    statuses = {ask(client, data)[0]}
    while 401 not in statuses and time.monotonic() < deadline:
        statuses.add(ask(client, data)[0])
    assert statuses == {201, 401}


def test_other_requests_come_in_between(belfry: Belfry, client: socket.socket, alice: str) -> None:
    """Several in one packet, one in pieces, one by chunks, one that waits to be asked for its body, another route."""
    token = belfry.token("repeated", "publish")
    body = f'{{"to":"{alice}"}}'
    usual = request(token, body)
    chunked = usual.replace(f"Content-Length: {len(body)}".encode(), b"Transfer-Encoding: chunked")
    chunked = chunked[: -len(body)] + f"{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode()
    for _ in range(2):
        for _ in range(3):
            assert ask(client, usual)[0] == 201
        client.sendall(usual * 3)
        assert received_of(client, 3) == [b"201"] * 3
        for at in (1, 60, len(usual) - len(body), len(usual) - 3):
            client.sendall(usual[:at])
            belfry.api().get("/health/live")  # the piece has come
            assert ask(client, usual[at:])[0] == 201
        assert ask(client, chunked)[0] == 201
        client.sendall(request(token, body, "Expect: 100-continue")[: -len(body)])
        assert received(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert ask(client, body.encode())[0] == 201
        assert ask(client, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200
    assert ask(client, usual)[1].count(b'"offset":25,') == 1, "each was published once"


def received_of(client: socket.socket, count: int) -> list[bytes]:
    text = b""
    while text.count(b"}]}\n") < count:
        text += client.recv(65_536)
    return [part[:3] for part in text.split(b"HTTP/1.1 ")[1:]]


def test_two_lengths_or_a_chunked_body_beside_one_are_refused_as_ever(belfry: Belfry) -> None:
    for further in ("Content-Length: 5", "Transfer-Encoding: chunked"):
        with socket.create_connection((HOST, belfry.port), timeout=60) as client:
            usual = lines(belfry, ())
            for _ in range(3):
                assert ask(client, usual)[0] == 201
            assert ask(client, lines(belfry, (further,)))[0] == 400
            assert client.recv(1) == b"", "hung up"


def asked_in_time(belfry: Belfry, data: bytes, times: int) -> socket.socket:
    """A connection over which `data` was answered so often, without a pause that the server takes for silence."""

    def connected() -> socket.socket | None:
        client = socket.create_connection((HOST, belfry.port), timeout=patient(60))
        try:
            statuses = [ask(client, data)[0] for _ in range(times)]
        except OSError:  # the machine was busy, and the server hung up between two requests
            client.close()
            return None
        assert statuses == [201] * times
        return client

    return wait_until(connected, what="the requests to follow each other in time")


def test_who_is_silent_is_hung_up_on_as_by_gunicorn(redis_server: RedisServer) -> None:
    belfry = Belfry(redis_server.url, options=["--keep-alive", "2"])
    try:
        belfry.start()
        usual = lines(belfry, ())
        for count in (0, 1, 3):  # none was asked, gunicorn waits, the worker waits
            with asked_in_time(belfry, usual, count) as client:
                assert client.recv(1) == b""
        with asked_in_time(belfry, usual, 3) as client:
            with suppress(OSError):  # hung up before: the machine was busy
                client.sendall(usual[:20])
            with suppress(ConnectionResetError):  # by what was sent after the end
                assert client.recv(1) == b"", "a head must come in time as well"
    finally:
        belfry.destroy()


def known(belfry: Belfry, data: bytes) -> socket.socket:
    """A connection over which `data` was answered as often as makes it known."""
    client = socket.create_connection((HOST, belfry.port), timeout=patient(60))
    for _ in range(3):
        assert ask(client, data)[0] in (200, 201)
    return client


def test_how_far_a_publisher_may_go_is_told_anew_with_each_answer(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_PUBLISH_PER_MINUTE=str(PER_MINUTE))
    for number in range(TRIES):
        told, took = told_how_far(belfry, f"shop-{number}")
        if took < REFILL_SECONDS:
            break
    first, left, again, texts = told
    assert first == 409
    assert left == [3, 2, 1, 0]
    assert again == [(429, 0, 1)] * 2
    assert len(texts) == 1


def told_how_far(
    belfry: Belfry, publisher: str
) -> tuple[tuple[int, list[int], list[tuple[int, int, int]], set[bytes]], float]:
    """What Belfry tells a publisher until its limit is reached, and how many seconds that took."""
    token = belfry.token(publisher, "publish")
    usual = request(token, '{"to":"alice","id":"far"}')
    began = time.monotonic()
    with known(belfry, usual) as client:
        first, _ = ask(client, request(token, '{"to":"alice","id":"far","title":"other"}'))
        left = [remaining(ask(client, usual)[1]) for _ in range(4)]
        refusals = [ask(client, usual) for _ in range(2)]
        with socket.create_connection((HOST, belfry.port), timeout=60) as other:
            texts = {without_waits(refusals[-1][1]), without_waits(ask(other, usual)[1])}
    again = [(status, remaining(text), text.count(b"\r\nRetry-After: ")) for status, text in refusals]
    return (first, left, again, texts), time.monotonic() - began


def without_waits(text: bytes) -> bytes:
    return shown(re.sub(rb"Retry-After: \d+|in \d+ s", b"", text))


def test_a_token_that_is_revoked_meanwhile_is_refused(belfry: Belfry) -> None:
    token = belfry.token("revoked", "publish")
    usual = request(token, BODY)
    with known(belfry, usual) as client:
        admin = belfry.api(belfry.token("root", "admin"))
        assert admin.post("/admin/revocations", json={"token": token}).status_code == 200
        status, text = wait_until(lambda: refused(ask(client, usual)))
    assert status == 401
    assert b'"code":"token_revoked"' in text.replace(b" ", b"")
    assert b"\r\nWWW-Authenticate: Bearer" in text


def refused(answered: tuple[int, bytes]) -> tuple[int, bytes] | None:
    return answered if answered[0] >= 400 else None


def test_a_body_has_to_come_in_time(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_BODY_SECONDS="0.5")
    usual = lines(belfry, ())
    texts = []
    with known(belfry, usual) as client, socket.create_connection((HOST, belfry.port), timeout=patient(60)) as other:
        for each in (client, other):
            each.sendall(usual[:-3])
            texts.append(shown(received(each, b"the end")))
    assert texts[0].startswith(b"HTTP/1.1 408 ")
    assert b"\nConnection: close\r\n" in texts[0]
    assert texts[0] == texts[1]


def test_a_body_over_the_limit_is_refused_before_it_came(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_MAX_BODY_BYTES="1024")
    token = belfry.token("shop", "publish")
    fits, long = (request(token, '{"to":"alice","body":"' + "x" * count + '"}') for count in (1000, 1001))
    with known(belfry, fits) as client, socket.create_connection((HOST, belfry.port), timeout=60) as other:
        texts = [shown(ask(each, long[:-9])[1]) for each in (client, other)]
        assert texts[0].startswith(b"HTTP/1.1 413 ")
        assert texts[0] == texts[1]
        client.sendall(long[-9:])
        assert ask(client, fits)[0] == 201, "the rest was read and left"


def test_what_a_proxy_says_of_the_scheme_holds_for_its_own_request(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_TRUSTED_PROXIES="127.0.0.1")
    usual = {scheme: lines(belfry, (f"X-Forwarded-Proto: {scheme}",)) for scheme in ("http", "https", "http", "https")}
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        for scheme in ["http"] * 4 + ["https"] * 4 + ["http", "https"] * 3:
            status, text = ask(client, usual[scheme])
            assert (status, b"Strict-Transport-Security" in text) == (201, scheme == "https")


def test_each_message_and_each_refusal_is_counted(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_FIGURES_SECONDS="1")
    token = belfry.token("shop", "publish")
    usual = request(token, BODY)
    with known(belfry, usual) as client:
        for _ in range(7):
            ask(client, usual)
        assert ask(client, request(token, "{}"))[0] == 422
    wait_until(lambda: count(belfry, "belfry_messages_total") == 10, what="the messages to be counted")
    assert count(belfry, 'belfry_refusals_total{code="missing_target"}') == 1


def test_where_an_access_log_is_kept_it_has_a_line_for_each(redis_server: RedisServer) -> None:
    belfry = Belfry(redis_server.url, options=["--access-logfile", "-"])
    try:
        belfry.start()
        with known(belfry, usual := lines(belfry, ())) as client:
            assert ask(client, usual)[0] == 201
        wait_until(lambda: belfry.log().count('"POST /publish HTTP/1.1" 201') == 4, what="the lines")
    finally:
        belfry.destroy()


def test_a_worker_of_a_limited_number_of_requests_counts_them_all(redis_server: RedisServer) -> None:
    belfry = Belfry(redis_server.url, options=["--max-requests", "200"])
    try:
        belfry.start()
        usual, worker = lines(belfry, ()), belfry.worker()
        with socket.create_connection((HOST, belfry.port), timeout=60) as client:
            heads = [ask(client, usual)[1] for _ in range(3)]
            while b"\r\nConnection: close\r\n" not in heads[-1]:
                heads.append(ask(client, usual)[1])
            assert client.recv(1) == b"", "the last answer says so"
        assert 3 < len(heads) <= 200, "beside those by which the fixture saw that it serves, more on a busy machine"
        wait_until(lambda: belfry.workers() and worker not in belfry.workers(), what="its successor")
    finally:
        belfry.destroy()


MESSAGES = [
    '{"to":"%s"}', '{"to":["%s","%s-b"]}', '{"topic":"%s","data":{"a":[1]}}',
    '{"to":"%s","transient":true}', '{"to":"%s","id":"%s-1"}', '{"to":"%s","id":"%s-1","title":"other"}',
    '{"to":"%s","body":"' + "x" * 20_000 + '"}', '{"to":"%s","body":"' + "x" * 65_536 + '"}',
    '{"to":"é %s"}', '{"to":"é-%s"}', "", "{", "{}", "[]", "null", '{"to":"%s","event":"open"}', '{"to":"root"}',
]  # fmt: skip
HEADS = ["usual"] * 8 + ["own", "limited", "guess", "chunked", "lower", "two", "short", "close"]
STEPS = st.tuples(st.sampled_from(MESSAGES), st.sampled_from(HEADS), st.lists(st.integers(1, 400), max_size=2))


@pytest.fixture(scope="module")
def tokens(belfry: Belfry) -> dict[str, str]:
    limited = belfry.token("shop", "publish", to=["root"])
    return {"": belfry.token("shop", "publish"), "limited": limited, "guess": "guess"}


def step(tokens: dict[str, str], text: str, head: str, *further: str) -> bytes:
    """A request, whose framing may be unusual or wrong."""
    data = request(tokens.get(head, tokens[""]), "", *further, *(["X-Own: 1"] if head == "own" else []))
    body = text.encode()
    length = f"Content-Length: {len(body)}"
    framing = {
        "chunked": "Transfer-Encoding: chunked",
        "lower": length.lower(),
        "two": f"{length}\r\n{length}",
        "short": f"Content-Length: {max(0, len(body) - 3)}",  # what is left over begins the next request
        "close": f"{length}\r\nConnection: close",
    }.get(head, length)
    if head == "chunked":
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return data.replace(b"Content-Length: 0", framing.encode()) + body


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [len(data) - cut for cut in sorted(cuts, reverse=True) if cut < len(data)]
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


def conversation(belfry: Belfry, requests: list[list[bytes]]) -> list[bytes]:
    """The answers to requests that are sent one after the other over one connection, until it ends."""
    answers = []
    with socket.create_connection((HOST, belfry.port), timeout=patient(60)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for each in requests:
            with suppress(OSError):  # ended, and told why before
                for piece in each:
                    client.sendall(piece)
            try:
                answers.append(shown(answer(client)[1]))
            except OSError:
                break
    return answers


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=8))
@example(steps=[(MESSAGES[0], "usual", [])] * 4)
@example(steps=[(MESSAGES[0], "usual", [])] * 3 + [(MESSAGES[0], "short", []), (MESSAGES[0], "usual", [])])
def test_whatever_is_sent_is_answered_as_by_flask(
    belfry: Belfry, tokens: dict[str, str], steps: list[tuple[str, str, list[int]]]
) -> None:
    """The same twice, each time to users of its own; the second time with a field that keeps it on the long way."""
    answers, kept = [], []
    for further in ((), (FOREIGN,)):
        name = f"{secrets.token_hex(4)}-end"  # its last letters can be told by a refusal of what is left over
        sent = [step(tokens, text.replace("%s", name), head, *further) for text, head, _ in steps]
        warm = [[step(tokens, '{"to":"root"}', "usual", *further)]] * 3
        told = conversation(belfry, warm + [pieces(each, cuts) for each, (*_, cuts) in zip(sent, steps, strict=True)])
        answers.append([text.replace(name.encode(), b"name") for text in told])
        kept.append(belfry.reader(name).feed()["unread"])
    assert answers[0] == answers[1]
    assert kept[0] == kept[1]


def test_a_worker_that_stops_answers_regulars_and_leaves(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_DRAIN_SECONDS="60")
    usual = lines(belfry, ())
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        for _ in range(3):
            assert ask(client, usual)[0] == 201
        client.sendall(usual[:-5])
        belfry.api().get("/health/live")
        stopping = threading.Thread(target=belfry.terminate)
        stopping.start()
        assert ask(client, usual[-5:])[0] == 201
        stopping.join()
    with socket.socket() as late:
        wait_until(lambda: late.connect_ex((HOST, belfry.port)) != 0, what="the port to be closed")


def test_an_idle_regular_holds_no_worker_back(start_belfry: StartBelfry) -> None:
    belfry = start_belfry(BELFRY_DRAIN_SECONDS="60")
    usual = lines(belfry, ())
    with socket.create_connection((HOST, belfry.port), timeout=60) as client:
        for _ in range(3):
            assert ask(client, usual)[0] == 201
        assert belfry.terminate() == 0
