"""Every reader of what a stranger may send takes time in proportion to its length, whatever was sent.

`READERS` lists them: each regular expression and each parser that sees input before a credential is known, ours and
those of the libraries that we call. A test below fails for a regular expression of the server that is not listed.
"""

from __future__ import annotations

import io
import json
import pkgutil
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from flask import Request
from gunicorn.config import Config
from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import IterUnreader
from werkzeug import http
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, create_environ

import app
from app.core import addresses, completion, due, jws, masking, message
from app.core.completion.form import fields_of
from app.core.dialects import responses_request, ui_messages
from app.core.identity import jwk, names
from app.core.identity.tokens import Keyring
from app.core.log import change, cursor
from app.core.settings import Settings
from app.core.wire import sse, strict_json
from app.server.request import BoundedRequest
from app.web.api import scheduled
from app.web.api.publish import lines
from app.web.edge import loopback, paths, request_ids
from app.web.edge.client_address import client_address, throttled_address
from app.web.edge.cors import Cors
from app.web.edge.prefix import Prefix
from app.web.edge.reading import _decompressed, flag, logs_of, number, resumed_from
from app.web.pages.sign_in import local_path
from tests.hostile import growth

Reader = Callable[[str], object]

SETTINGS = Settings(secret="x" * 32, trusted_proxies="127.0.0.0/8")
KEYRING = Keyring(SETTINGS)
CLAIMS = KEYRING.verify(KEYRING.sign("alice", {"feed"}, 1.8e9, 60), 1.8e9)
# What comes from no stranger: settings, the launcher, the store, and the upstreams that the operator named.
NOT_A_STRANGER_S = {
    "app.core.endpoint", "app.core.identity.passwords", "app.core.redis_url", "app.core.settings",
    "app.core.upstreams", "app.transport.connection", "app.launch.address", "app.launch.embedded",
}  # fmt: skip


def raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def wire(text: str) -> str:
    """As WSGI hands a header on: its bytes as latin-1, none of which ends it."""
    return raw(text).decode("latin-1").replace("\r", " ").replace("\n", " ").replace("\0", " ")


def header(name: str, read: Callable[[Request], object]) -> Reader:
    """What reads a header of a request, as Flask has it."""

    def ask(text: str) -> object:
        environ = EnvironBuilder().get_environ()
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = wire(text)
        environ["REMOTE_ADDR"] = "127.0.0.1"
        return read(Request(environ))

    return ask


def query(read: Callable[[Request], object]) -> Reader:
    def ask(text: str) -> object:
        environ = EnvironBuilder().get_environ()
        environ["QUERY_STRING"] = wire(text)
        return read(Request(environ))

    return ask


def form(media_type: str) -> Reader:
    """What reads the fields of a form, as far as the sign-in takes one."""

    def ask(text: str) -> object:
        environ = EnvironBuilder(method="POST").get_environ()
        body = raw(text)
        environ |= {"CONTENT_TYPE": media_type, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        return Request(environ).form

    return ask


def request(text: bytes) -> object:
    """A request as gunicorn reads it, in pieces as they come from a socket, with its body."""
    pieces = [text[at : at + 8_192] for at in range(0, len(text), 8_192)]
    read = BoundedRequest(Config(), Source(pieces), ("127.0.0.1", 1))
    assert read.body is not None
    return read.body.read()


class Source(IterUnreader):
    """Pieces instead of a socket."""

    sock = None

    def chunk(self, size_hint: int | None = None) -> bytes:  # noqa: ARG002 - as the reader of a socket is asked
        piece: bytes = super().chunk()
        if not piece:
            raise NoMoreData
        return piece


def head(before: str, after: str) -> Reader:
    return lambda text: request(raw(f"{before}{text.translate(_NO_ENDS)}{after}"))


_NO_ENDS = {ord("\r"): None, ord("\n"): None}
START = "GET / HTTP/1.1\r\nHost: x\r\n"
BYTE = "1\r\nx\r\n"
END = "0\r\n\r\n"
CHUNKED = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

READERS: dict[str, Reader] = {
    # the log
    "masking.mask": masking.mask,
    "masking.log_line": masking.log_line,
    "masking.log_block": masking.log_block,
    # the request as gunicorn reads it
    "a request": lambda text: request(raw(text)),
    "a request line": head("GET /", " HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a header": head(f"{START}X: ", "\r\n\r\n"),
    "a header's name": head(START, ": x\r\n\r\n"),
    "Transfer-Encoding": head(f"{START}Transfer-Encoding: ", "\r\n\r\n"),
    "Host": head("GET / HTTP/1.1\r\nHost: ", "\r\n\r\n"),
    "a chunk's extension": head(f"{CHUNKED}5;", "\r\nhello\r\n0\r\n\r\n"),
    "chunks": lambda text: request(raw(CHUNKED + text)),
    "chunks of one byte": lambda text: request(raw(CHUNKED + BYTE * (len(text) // len(BYTE)) + END)),
    "trailers": lambda text: request(raw(f"{CHUNKED}0\r\n{text}\r\n\r\n")),
    # headers and parameters as Flask has them
    "the path": lambda text: Request(EnvironBuilder(path="/").get_environ() | {"PATH_INFO": wire(text)}).path,
    "ids in the path": lambda text: paths._undivided(
        Request(EnvironBuilder().get_environ() | {"RAW_URI": wire(text) + "%2F", "PATH_INFO": wire(text)})
    ),
    "the query": query(lambda asked: asked.args),
    "ids in the query": query(lambda asked: paths._with_ids_of_query("/users/~/messages/~", asked)),
    "the query as topics": lambda text: logs_of(CLAIMS, _asking(topics=text)),
    "the query as a number": lambda text: number(_asking(limit=text), "limit", 1, 1, 9),
    "Last-Event-ID": header("Last-Event-ID", resumed_from),
    "the query as a place": query(resumed_from),
    "X-Forwarded-Prefix": lambda text: _below({"X-Forwarded-Prefix": wire(text)}),
    "a path below a prefix": lambda text: _below({}, wire(text), path_prefix="/a/a/a/a/a/a/a/a"),
    "X-Request-Id and traceparent": lambda text: request_ids.fields(
        {"HTTP_X_REQUEST_ID": wire(text), "HTTP_TRACEPARENT": wire(text)}
    ),
    "what a preflight asks for": lambda text: Cors(["https://a"]).preflight(
        {
            "REQUEST_METHOD": "OPTIONS",
            "HTTP_ORIGIN": "https://a",
            "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET",
            "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": wire(text),
        }
    ),
    "a compressed body": lambda text: _decompressed(raw(text), wire(text), 1_000_000),
    "the query as a flag": lambda text: flag(_asking(unread=text), "unread"),
    "Cookie": header("Cookie", lambda asked: asked.cookies),
    "Authorization": header("Authorization", lambda asked: asked.authorization),
    "Accept": header("Accept", lambda asked: asked.accept_mimetypes.best),
    "Accept-Encoding": header("Accept-Encoding", lambda asked: asked.accept_encodings["gzip"]),
    "Accept-Language": header("Accept-Language", lambda asked: asked.accept_languages.best),
    "Range": header("Range", lambda asked: asked.range),
    "If-Range": header("If-Range", lambda asked: asked.if_range),
    "If-None-Match": header("If-None-Match", lambda asked: asked.if_none_match),
    "If-Modified-Since": header("If-Modified-Since", lambda asked: asked.if_modified_since),
    "Cache-Control": header("Cache-Control", lambda asked: asked.cache_control),
    "Host as Flask has it": header("Host", lambda asked: (asked.host, asked.url)),
    "Forwarded": header("X-Forwarded-For", lambda asked: client_address(asked, SETTINGS.proxies)),
    "an address": throttled_address,
    "a client's address": addresses.parse_address,
    "Content-Type": lambda text: http.parse_options_header(wire(text)),
    "Content-Type's charset": lambda text: Headers([("Content-Type", wire(text))]).get("Content-Type"),
    "a form": form("application/x-www-form-urlencoded"),
    "a form of parts": form("multipart/form-data; boundary=x"),
    "a form of parts, with a long boundary": form(f"multipart/form-data; boundary={'-' * 60}"),
    # texts of ours
    "loopback.host_of": lambda text: loopback.is_loopback(loopback.host_of(text)),
    "a token": lambda text: KEYRING.verify(text, 1.8e9),
    "a token's header": lambda text: KEYRING.verify(f"{text}.e30.x", 1.8e9),
    "a token's claims": lambda text: KEYRING.verify(f"eyJhbGciOiJIUzI1NiJ9.{text}.x", 1.8e9),
    "a token's signed text": lambda text: KEYRING.verify(f"{jws.encoded(raw(text))}.e30.x", 1.8e9),
    "a cursor": cursor.parse,
    "a user id": names.check_user_id,
    "a topic": names.check_topic,
    "a run's id": completion.check_run_id,
    "where to go after the sign-in": local_path,
    "keys in PEM": jwk._of_pem,
    "a key set": lambda text: jwk.of_set({"keys": [{"kty": "oct", "k": text, "alg": text, "kid": text}]}),
    # bodies
    "JSON": lambda text: strict_json.read(raw(text)),
    "JSON in a string": lambda text: strict_json.read(raw(f'{{"a":"{text}"}}')),
    "a message": lambda text: _message(raw(text)),
    "a message's url": message._link,
    "a message's names": message._TOKEN.fullmatch,
    "a change": lambda text: change.parse_read(raw(text)),
    "a completion": lambda text: completion.parse(raw(text)),
    "a form for an upstream": lambda text: fields_of("multipart/form-data; boundary=x", raw(text)),
    "the boundary of a form": lambda text: fields_of(f"multipart/form-data; boundary={wire(text)}", b"--x--"),
    "the fields of a form": lambda text: fields_of(
        "multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data;" + raw(text) + b"\r\n\r\na\r\n--x--"
    ),
    "a request for a response": lambda text: responses_request.translated(responses_request.read(raw(text))),
    "the input of a response": lambda text: responses_request.translated({"model": text, "input": text}),
    "a chat of the AI SDK": lambda text: ui_messages.chat_of(raw(text)),
    "the parts of such a chat": lambda text: ui_messages.chat_of(
        json.dumps({"model": "m", "id": text, "messages": [{"role": "user", "parts": [{"type": text}]}]}).encode()
    ),
    "a time of delivery": due.read,
    "the place in a listing of scheduled messages": scheduled._place,
    "another time of delivery": lambda text: scheduled._read(raw(text)),
    "Idempotency-Key": lambda text: _message(b'{"to":"a"}', key=wire(text)),
    "the lines of a batch": lambda text: list(lines(raw(text))),
    "a stream": lambda text: list(sse.Decoder().feed(raw(text))),
    "an event": sse.encode,
}
# The module-level regular expressions, by the module that has them, that the readers above go through.
LISTED = {
    "app.core.addresses", "app.core.completion.request", "app.core.identity.jwk", "app.core.log.cursor",
    "app.core.masking", "app.core.message", "app.core.wire.sse", "app.core.wire.strict_json",
    "app.server.request", "app.web.edge.paths",
}  # fmt: skip
DIRECT: dict[str, Callable[[Any, str], object]] = {
    "app.server.repeats": lambda pattern, text: list(pattern.finditer(raw(text))),
    "app.core.completion.failure": lambda pattern, text: list(pattern.finditer(text)),
    "app.core.completion.json_text": lambda pattern, text: pattern.search(text),
    "app.core.completion.tool_calls": lambda pattern, text: list(pattern.finditer(text)),
    "app.core.completion.body": lambda pattern, text: pattern.search(text),
    "app.live.runs.upstream_client": lambda pattern, text: pattern.search(text),
    "app.core.completion.usage": lambda pattern, text: pattern.fullmatch(text),
    "app.core.push.endpoint": lambda pattern, text: pattern.fullmatch(text),
    "app.server.gates.listener": lambda pattern, text: pattern.search(raw(text)),
    "app.web.pages.assets": lambda pattern, text: pattern.sub("", text),
    "app.web.edge.cors": lambda pattern, text: pattern.fullmatch(text),
    "app.web.api.presence": lambda pattern, text: pattern.fullmatch(text),
    "app.core.due": lambda pattern, text: pattern.fullmatch(text),
    "app.web.edge.request_ids": lambda pattern, text: pattern.fullmatch(text),
}


def _asking(**parameters: str) -> Request:
    return Request(EnvironBuilder(query_string=parameters).get_environ())


def _message(body: bytes, key: str = "") -> object:
    return message.parse(body, now=0.0, new_id="x", max_recipients=10, key=key)


def _below(headers: dict[str, str], path: str = "/", **settings: Any) -> object:
    """A request as the middleware for prefixes changes it."""
    environ = create_environ(headers=headers) | {"PATH_INFO": path, "REMOTE_ADDR": ""}
    return Prefix(lambda _environ, _start: [], Settings(**settings))(environ, lambda *_: lambda _body: None)


def _expressions(module: ModuleType) -> list[re.Pattern[str] | re.Pattern[bytes]]:
    kept: list[object] = []
    for value in vars(module).values():
        kept += value if isinstance(value, tuple | list) else [value]
    return [value for value in kept if isinstance(value, re.Pattern)]


def _server_modules() -> list[ModuleType]:
    found = [info.name for info in pkgutil.walk_packages(app.__path__, "app.")]
    tools = (
        "app.cli",
        "app.client",
        "app.conformance",
        "app.launch.standin",
        "app.server.configuration",
        "app.server.__main__",
    )
    return [import_module(name) for name in found if not name.startswith(tools)]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_the_cost_of_reading_grows_no_faster_than_the_input(read: Reader) -> None:
    assert growth.excess(read) == []


@pytest.mark.parametrize("name", DIRECT)
def test_the_cost_of_a_search_grows_no_faster_than_the_input(name: str) -> None:
    for pattern in _expressions(import_module(name)):
        assert growth.excess(partial(DIRECT[name], pattern)) == []


def test_every_regular_expression_of_the_server_is_listed() -> None:
    having = {module.__name__ for module in _server_modules() if _expressions(module)}
    assert having - LISTED - set(DIRECT) - NOT_A_STRANGER_S == set()


def test_a_quadratic_reader_is_found() -> None:
    """The test above can fail."""
    names = re.compile(r"[?&][^=]+=")
    assert growth.excess(names.search)
