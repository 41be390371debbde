"""Addresses of the store are understood, or refused in one line that tells no password."""

from __future__ import annotations

import re

import pytest

from app.core.redis_url import SENTINEL_PORT, SentinelUrl, check, is_sentinel, parse_sentinel


@pytest.mark.parametrize("url", ["", "redis://:secret@redis:6379/0", "rediss://redis", "unix:///run/redis.sock?db=2"])
def test_addresses_of_a_server_are_left_to_redis_py(url: str) -> None:
    assert check(url) == url
    assert not is_sentinel(url)


def test_a_service_is_named_with_its_sentinels() -> None:
    url = "redis+sentinel://one:26380,two,[::1]:26381/main"
    assert is_sentinel(check(url))
    assert parse_sentinel(url) == SentinelUrl((("one", 26_380), ("two", SENTINEL_PORT), ("::1", 26_381)), "main")


def test_passwords_are_for_the_primary_and_for_the_sentinels() -> None:
    url = "redis+sentinel://app:p%40ss@one/main?db=3&sentinel_username=s&sentinel_password=q"
    assert parse_sentinel(url) == SentinelUrl((("one", SENTINEL_PORT),), "main", 3, "app", "p@ss", "s", "q")
    assert parse_sentinel("redis+sentinel://:p@one/main").password == "p"


def test_tls_and_its_options_are_handed_on() -> None:
    found = parse_sentinel("rediss+sentinel://one/main?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false")
    assert found.tls
    assert found.tls_options == (("ssl_ca_certs", "/etc/ca.pem"), ("ssl_check_hostname", "false"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://redis", "expected one of redis"),
        ("redis+sentinel://secret@one", "/service"),
        ("redis+sentinel://one/a/b", "/service"),
        ("redis+sentinel://secret@/main", "host:port"),
        ("redis+sentinel://one,/main", "host:port"),
        ("redis+sentinel://one:secret/main", "host:port"),
        ("redis+sentinel://one/main?timeout=3", "'timeout'"),
        ("redis+sentinel://one/main?db=x", "db"),
        ("redis+sentinel://one/main?db", "query"),
    ],
)
def test_what_can_not_be_understood_is_told(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        check(url)
    assert "secret" not in str(refusal.value)
