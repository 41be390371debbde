"""Sentinels, and the primary that they name, are reached by TLS, as the address says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from redis.sentinel import MasterNotFoundError

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.transport.auto_pipeline import AutoPipeline
from app.transport.primary import primary_of
from app.transport.subscription import PushKind, Subscription
from tests.conftest import absent
from tests.encryption import Authority, Encrypted, engine
from tests.transport.test_primary import connect, port_of

ELSEWHERE = "127.0.0.2"


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    if engine() is None:
        absent("a Redis or Valkey with TLS")
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def store(stack: ExitStack) -> Encrypted:
    return Encrypted(stack)


@pytest.fixture(scope="module")
def store_elsewhere(stack: ExitStack) -> Encrypted:
    """Its certificates are for another address than that at which it is reached."""
    return Encrypted(stack, ELSEWHERE)


def refused(url: str) -> bool:
    with pytest.raises(BelfryError) as refusal:
        connect(url).ping()
    return refusal.value.code == "store_unavailable"


def test_commands_and_the_link_go_by_tls_to_where_the_sentinels_point(store: Encrypted) -> None:
    connection = connect(store.url)
    assert not connection.follow()
    assert port_of(connection) == 0, "it listens for nobody who comes in clear"
    link = Subscription.open(Settings(redis_url=store.url))
    link.subscribe(["one"])
    assert link.receive().kind is PushKind.SUBSCRIBED
    assert "one" in store.primary.open_channels()
    link.close()


def test_a_lane_writes_ahead_by_tls_while_replies_come(store: Encrypted) -> None:
    pipeline = AutoPipeline(connect(store.url).dedicated, 5.0, 10_000, lanes=1, depth=2)
    posted = [pipeline.post([("RPUSH", "noted", number), ("ECHO", "x" * 200_000)]) for number in range(200)]
    assert [pending.get()[0] for pending in posted] == list(range(1, 201))
    assert pipeline.run([("LRANGE", "noted", 0, -1)]) == [[b"%d" % number for number in range(200)]]
    pipeline.stop()


@pytest.mark.parametrize("options", [{"ssl_min_version": "1.3"}, {"ssl_cert_reqs": "none"}, {"ssl_ciphers": "HIGH"}])
def test_options_reach_sentinels_and_server(store: Encrypted, options: Mapping[str, str]) -> None:
    connect(store.url_with(**options)).ping()


def test_who_is_signed_by_somebody_else_is_not_talked_to(store: Encrypted, stack: ExitStack) -> None:
    url = store.url_with(ssl_ca_certs=Authority(stack).path)
    assert refused(url)
    with pytest.raises(MasterNotFoundError, match="CERTIFICATE_VERIFY_FAILED"):
        primary_of(url).find()
    connect(f"{url}&ssl_cert_reqs=none").ping()


def test_without_a_certificate_of_ours_nobody_talks_to_us(store: Encrypted) -> None:
    url = store.url
    assert refused(url[: url.index("&ssl_certfile")])
    connect(url).ping()


def test_names_are_checked_unless_the_address_says_false(store_elsewhere: Encrypted) -> None:
    assert refused(store_elsewhere.url)
    connection = connect(store_elsewhere.url_with(ssl_check_hostname="false"))
    connection.ping()
    assert not connection.follow()
