"""Addresses of the store are understood, or refused in one line that tells no password."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from ssl import TLSVersion
from urllib.parse import urlencode

import pytest
from redis import Redis
from redis.connection import SSLConnection

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


def test_tls_options_are_handed_on_in_the_types_that_redis_py_takes(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    given = {
        "ssl_ca_certs": str(file),
        "ssl_ca_path": str(tmp_path),
        "ssl_certfile": str(file),
        "ssl_keyfile": str(file),
        "ssl_password": "p@ss",
        "ssl_cert_reqs": "None",
        "ssl_check_hostname": "False",
        "ssl_min_version": "1.3",
        "ssl_ciphers": "HIGH",
    }
    found = parse_sentinel(f"rediss+sentinel://one,two/main?db=2&{urlencode(given)}")
    assert (found.tls, found.db, len(found.sentinels)) == (True, 2, 2)
    typed = {"ssl_cert_reqs": "none", "ssl_check_hostname": False, "ssl_min_version": TLSVersion.TLSv1_3}
    assert dict(found.tls_options) == given | typed
    assert set(given) <= {*signature(SSLConnection).parameters} & {*signature(Redis).parameters}


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
        ("redis+sentinel://one/main?ssl_check_hostname=false", "'ssl_check_hostname'"),
        ("rediss+sentinel://one/main?ssl_check_hostnames=false", "'ssl_check_hostnames', expected one of db"),
        ("rediss+sentinel://one/main?ssl_check_hostname=secret", "ssl_check_hostname: expected one of true, false"),
        ("rediss+sentinel://one/main?ssl_cert_reqs=secret", "ssl_cert_reqs: expected one of required"),
        ("rediss+sentinel://one/main?ssl_min_version=1.1", "ssl_min_version: expected one of 1.2, 1.3"),
        ("rediss+sentinel://one/main?ssl_ca_certs=/no/secret.pem", "ssl_ca_certs: there is no such file"),
        ("rediss+sentinel://one/main?ssl_ca_path=/no/secret", "ssl_ca_path: there is no such folder"),
    ],
)
def test_what_can_not_be_understood_is_told(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        check(url)
    assert "secret" not in str(refusal.value)
