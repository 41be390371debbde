"""A credential that is withdrawn while a stream is being opened with it: later nobody would look again."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.socket
import jwt
import pytest
from gevent import Greenlet
from prometheus_client import REGISTRY
from werkzeug.test import TestResponse

from app.core.errors import BelfryError
from app.core.identity import jwk
from app.core.identity.revocation import RevocationKind
from app.core.identity.tokens import Keyring
from app.core.rate import Buckets, Taken
from app.core.settings import Settings
from app.live.delivery.hub import Hub
from app.live.identity.revocation_watch import RevocationWatch
from app.live.streams.poller import AVAILABLE
from app.server.sockets import PARKS
from app.store.identity.revocations import Revocations
from app.transport.connection import Connection
from tests.live.delivery.test_link import settle
from tests.live.identity.test_key_source import KEYS, jwk_set
from tests.servers import RedisServer
from tests.web.edge.test_endpoint import JSON, SECRET, Site, site_of

RUN = b'{"id":"run","model":"m","messages":[{"role":"user","content":"hi"}]}'
UNREACHABLE = "http://127.0.0.1:1/v1"


@dataclass
class Door:
    """A site whose store acknowledges no log before it is told to, and what its authenticator believes in."""

    site: Site
    keyring: Keyring
    watch: RevocationWatch
    revocations: Revocations
    sockets: list[gevent.socket.socket] = field(default_factory=list)

    @property
    def hub(self) -> Hub:
        hub: Hub = self.site.app.extensions["belfry.hub"]
        return hub

    def headers(self) -> dict[str, str]:
        claims = {"sub": "alice", "scope": "feed complete", "iat": int(time.time()), "exp": time.time() + 600}
        return {"Authorization": f"Bearer {jwt.encode(claims, KEYS['k1'], 'EdDSA', headers={'kid': 'k1'})}"}

    def open(self, path: str, environ: dict[str, Any]) -> Greenlet[..., TestResponse]:
        """Begin to open a stream; it waits for the store when this returns."""
        headers = self.headers()
        asked = gevent.spawn(
            lambda: self.site.ask("GET", path, headers=headers, environ_overrides=environ, buffered=False)
        )
        settle(lambda: len(self.hub))
        return asked

    def run(self) -> None:
        """Begin a run, which soon ends, for its upstream can't be reached."""
        assert self.site.ask(path="/completions", headers=self.headers() | JSON, data=RUN).status_code == 201
        settle(lambda: not len(self.hub))

    def acknowledge(self) -> None:
        for open_log in self.hub.open_logs():
            self.hub.acknowledged(open_log)

    def parking(self) -> dict[str, Any]:
        """What a worker says of a request whose socket may be taken."""
        self.sockets += gevent.socket.socketpair()
        return {PARKS: True, "gunicorn.socket": self.sockets[-1]}


@pytest.fixture
def door(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    prefix = f"door-{secrets.token_hex(4)}"  # nobody was withdrawn there yet
    settings = Settings(redis_url=redis_server.url, redis_prefix=prefix, secret=SECRET)
    keyring = Keyring(settings)
    keyring.replace_published(jwk.of_set(json.loads(jwk_set("k1").body)))
    revocations = Revocations(Connection.open(settings, ()), settings)
    watch = RevocationWatch(revocations, time.time)
    monkeypatch.setattr("app.factory.Keyring", lambda _: keyring)
    monkeypatch.setattr("app.factory.RevocationWatch", lambda *_: watch)
    monkeypatch.setattr("app.transport.shard.Subscription.open", _none)
    door = Door(
        site_of(redis_server, redis_prefix=prefix, upstream_url=UNREACHABLE, upstream_retries=0),
        keyring,
        watch,
        revocations,
    )
    yield door
    watch.stop()
    door.site.app.extensions["belfry.streams"].stop()
    door.site.app.extensions["belfry.relay"].stop()
    door.hub.stop()
    for each in door.sockets:
        each.close()


def _none(*_: object) -> None:
    raise BelfryError("store_unavailable")


def revoke(door: Door) -> None:
    door.revocations.revoke(RevocationKind.USER, "alice", time.time())
    door.watch.read()


def rotate(door: Door) -> None:
    door.keyring.replace_published(jwk.of_set(json.loads(jwk_set("k2").body)))


@pytest.mark.parametrize("way", ["parked", "iterated", "a run"])
@pytest.mark.parametrize("withdraw", [revoke, rotate])
def test_who_is_withdrawn_while_the_store_is_asked_gets_no_stream(
    door: Door, withdraw: Callable[[Door], None], way: str
) -> None:
    if way == "parked" and not AVAILABLE:
        pytest.skip("no epoll on this system")
    if way == "a run":
        door.run()
    path = "/completions/run/stream" if way == "a run" else "/stream"
    asked = door.open(path, door.parking() if way == "parked" else {})
    withdraw(door)
    door.acknowledge()
    answer = asked.get(timeout=60)
    assert (answer.status_code, (answer.json or {}).get("code")) == (401, "token_revoked")
    assert len(door.hub) == 0, "its logs are held"


@pytest.mark.skipif(not AVAILABLE, reason="no epoll on this system")
@pytest.mark.parametrize("sent", [{}, {"HTTP_ORIGIN": "https://elsewhere.example"}], ids=["the short way", "Flask's"])
@pytest.mark.parametrize("path", ["/stream", "/completions/run/stream"])
def test_where_the_kernel_watches_no_more_sockets_the_client_hears_503_and_it_is_counted(
    door: Door, sent: dict[str, str], path: str
) -> None:
    if path != "/stream":
        door.run()
    before = refusals()
    environ = door.parking()
    asked = door.open(path, environ | sent)
    poller = door.site.app.extensions["belfry.streams"].poller
    poller._epoll.register(environ["gunicorn.socket"].fileno())  # which it then refuses to do again
    door.acknowledge()
    answer = asked.get(timeout=60)
    assert (answer.status_code, (answer.json or {}).get("code")) == (503, "too_many_connections")
    assert answer.headers["Retry-After"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert refusals() == before + 1
    assert len(door.hub) == 0, "its logs are held"
    environ["gunicorn.socket"].sendall(b"still the server's")


def test_without_epoll_a_stream_is_opened_and_charged_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.live.streams.streams.POLLER_AVAILABLE", False)
    charged: list[str] = []
    take = Buckets.take

    def noted(self: Buckets, key: str, cost: int, now: float) -> Taken:
        charged.append(key)
        return take(self, key, cost, now)

    monkeypatch.setattr(Buckets, "take", noted)
    asked = door.open("/stream", door.parking())
    door.acknowledge()
    answer = asked.get(timeout=60)
    assert b"event: ready" in next(iter(answer.response))
    answer.close()
    assert charged == ["alice"]


def refusals() -> float:
    return REGISTRY.get_sample_value("belfry_refusals_total", {"code": "too_many_connections"}) or 0.0


def test_who_is_not_gets_one(door: Door) -> None:
    asked = door.open("/stream", {})
    door.acknowledge()
    answer = asked.get(timeout=60)
    assert b"event: ready" in next(iter(answer.response))
    answer.close()
