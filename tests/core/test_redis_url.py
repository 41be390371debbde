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

from app.core.redis_url import (
    PORT,
    SENTINEL_PORT,
    ClusterUrl,
    SentinelUrl,
    ServerUrl,
    check,
    is_cluster,
    is_sentinel,
    parse,
    parse_cluster,
    parse_sentinel,
    without_credentials,
)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://:secret@redis:6380/0", ServerUrl("redis", 6_380, password="secret")),
        ("rediss://redis", ServerUrl("redis", PORT, tls=True)),
        ("redis://redis/", ServerUrl("redis", PORT)),
        ("redis://[::1]/7", ServerUrl("::1", PORT, db=7)),
        ("redis://redis?db=7", ServerUrl("redis", PORT, db=7)),
        ("redis://redis/7?db=7", ServerUrl("redis", PORT, db=7)),
        ("REDIS://app:p%2Fs%3Fs%23%25@redis", ServerUrl("redis", PORT, username="app", password="p/s?s#%")),
        ("redis://app:p@ss%@redis", ServerUrl("redis", PORT, username="app", password="p@ss%")),
        ("redis://redis?username=app&password=p%26s", ServerUrl("redis", PORT, username="app", password="p&s")),
        ("redis://:[x]:y@redis", ServerUrl("redis", PORT, password="[x]:y")),
        ("unix:///run/redis.sock?db=2", ServerUrl(path="/run/redis.sock", db=2)),
        ("unix://app:p@/run/a%20b@c", ServerUrl(path="/run/a b@c", username="app", password="p")),
    ],
)
def test_a_server_is_found_in_its_address(url: str, found: ServerUrl) -> None:
    assert parse(check(url)) == found
    assert not is_sentinel(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://h", "redis://h"),
        ("redis://u:p@h:1/2", "redis://h:1/2"),
        ("redis://:p@rt@h", "redis://h"),
        ("rediss://u:p%40%2F@h:1?db=2&password=part", "rediss://h:1"),
        ("unix://u:p@rt@/run/x.sock?password=part", "unix:///run/x.sock"),
        ("redis+sentinel://:p@rt@a:1,b:2/main?sentinel_password=part", "redis+sentinel://a:1,b:2/main"),
        ("redis+cluster://u:p@rt@a:1,[::1]:2", "redis+cluster://a:1,[::1]:2"),
    ],
)
def test_what_is_told_of_an_address_holds_no_part_of_a_password(url: str, told: str) -> None:
    assert without_credentials(url) == told


def test_no_address_is_none() -> None:
    assert check("") == ""


def test_a_server_takes_the_same_tls_options_as_a_service() -> None:
    found = parse("rediss://redis/1?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert (found.tls, found.db) == (True, 1)
    assert found.tls_options == (("ssl_cert_reqs", "none"), ("ssl_check_hostname", False))


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
        ("redis:secret@redis", "expected one of redis"),
        ("'redis://:secret@redis'", "expected one of redis"),
        ("redis://:sec/secret@redis:6379/0", "%2F"),
        ("redis://:s@c/secret@redis:6379/0", "%2F"),
        ("redis://:sec?secret@redis:6379/0", "%3F"),
        ("redis://:s@c?secret@redis:6379/0", "name=value"),
        ("redis://:s@c?secret=1@redis", "unknown option, expected"),
        ("redis://:sec#secret@redis:6379/0", "%23"),
        ("redis://:secret%ff@redis", "%25"),
        ("redis://:sec secret@redis", "%20"),
        ("redis://:secret@redis\n", "line break"),
        ("redis://:secret\udcff@redis", "UTF-8"),
        ("redis://:secret@", "no host"),
        ("redis://", "no host"),
        ("redis:///0", "no host"),
        ("redis://:secret@:6379", "no host"),
        ("redis://:secret@redis:0", "port from 1 to 65535"),
        ("redis://:secret@redis:65536", "port from 1 to 65535"),
        ("redis://redis:secret", "port from 1 to 65535"),
        ("redis://::1:6379", "[::1]:6379"),
        ("redis://[secret]:6379", "IPv6"),
        ("redis://secret..example", "1 to 63 characters"),
        ("redis://one,two", "redis+sentinel"),
        ("redis://app:secret@one,app:secret@two", "%2C"),
        ("redis+sentinel://app:secret@one,app:secret@two/main", "one user and password"),
        ("redis+cluster://app:secret@one,app:secret@two", "one user and password"),
        ("redis://$SECRET_HOST:6379", "character"),
        ("redis://secret&db=1", "character"),
        ("redis://redis/secret", "db: expected a number"),
        ("redis://redis/-1", "db: expected a number"),
        ("redis://redis/2147483648", "db: expected a number"),
        ("redis://redis/0/", "db: expected a number"),
        ("redis://redis/1?db=2", "once"),
        ("redis://redis?db=secret", "db: expected a number"),
        ("redis://redis?db=1&db=1", "'db' once"),
        ("redis://redis?socket_timeout=secret", "unknown option 'socket_timeout', expected one of db"),
        ("redis://redis?Xsecret=1", "unknown option, expected"),
        ("rediss://redis?ssl=true", "unknown option 'ssl', expected one of db, username, password, ssl_ca_certs"),
        ("redis://redis?ssl_cert_reqs=none", "rediss:// asks for TLS"),
        ("rediss://redis?ssl_cert_reqs=secret", "ssl_cert_reqs: expected one of required"),
        ("unix://run/secret.sock", "unix:///path"),
        ("unix://:sec/secret@/run/redis.sock", "unix:///path"),
        ("unix://", "path of a socket"),
        ("unix:///" + "secret" * 20, "at most 107 bytes"),
        ("redis+sentinel://secret@one", "/service"),
        ("redis+sentinel://one/a/b", "/service"),
        ("redis+sentinel://:s@c/secret@one/main", "%2F"),
        ("redis+sentinel://secret@/main", "host:port"),
        ("redis+sentinel://one,/main", "host:port"),
        ("redis+sentinel://one:secret/main", "host:port"),
        ("redis+sentinel://one/main?timeout=3", "'timeout'"),
        ("redis+sentinel://one/main?db=x", "db"),
        ("redis+sentinel://one/main?db", "query"),
        ("redis+sentinel://one/main?ssl_check_hostname=false", "'ssl_check_hostname'"),
        ("rediss+sentinel://one/main?ssl_check_hostnames=false", "'ssl_check_hostnames', expected one of db"),
        ("rediss+sentinel://one/main?ssl_check_hostname=secret", "ssl_check_hostname: expected one of true, false"),
        ("rediss+sentinel://one/main?ssl_min_version=1.1", "ssl_min_version: expected one of 1.2, 1.3"),
        ("rediss+sentinel://one/main?ssl_ca_certs=/no/secret.pem", "ssl_ca_certs: there is no such file"),
        ("rediss+sentinel://one/main?ssl_ca_path=/no/secret", "ssl_ca_path: there is no such folder"),
    ],
)
def test_what_can_not_be_understood_is_told(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        check(url)
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis+cluster://one:7000,two", ClusterUrl((("one", 7_000), ("two", PORT)))),
        ("redis+cluster://one/", ClusterUrl((("one", PORT),))),
        ("redis+cluster://one/0", ClusterUrl((("one", PORT),))),
        ("REDIS+CLUSTER://app:p%40s%2F@[::1]:7000", ClusterUrl((("::1", 7_000),), "app", "p@s/")),
        ("rediss+cluster://:p@one,two", ClusterUrl((("one", PORT), ("two", PORT)), password="p", tls=True)),
    ],
)
def test_a_cluster_is_named_with_some_of_its_nodes(url: str, found: ClusterUrl) -> None:
    assert parse_cluster(check(url)) == found
    assert is_cluster(url)
    assert not is_sentinel(url)


def test_a_cluster_takes_tls_options_with_tls() -> None:
    found = parse_cluster("rediss+cluster://one?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert found.tls_options == (("ssl_cert_reqs", "none"), ("ssl_check_hostname", False))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+cluster://:hunter2@one/3", "database 0 only"),
        ("redis+cluster://:hunter2@one/service", "database 0 only"),
        ("redis+cluster://:hunter2@one?db=3", "expected no option"),
        ("redis+cluster://:hunter2@one?ssl_cert_reqs=none", "rediss:// asks for TLS"),
        ("redis+cluster://:hunter2@one,", "each node as host:port"),
        ("redis+cluster://:hunter2@one:0", "each node as host:port"),
        ("redis+cluster://", "each node as host:port"),
        ("redis+cluster://:hunter/2@one", "%2F"),
        ("redis://:hunter2@one,two", "redis+cluster:// several nodes"),
        ("rediscluster://:hunter2@one", "redis+cluster"),
    ],
)
def test_an_address_of_a_cluster_that_can_t_be_used_is_refused_in_a_line_that_tells_no_password(
    url: str, says: str
) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        check(url)
    assert says in str(refusal.value)
    assert "hunter" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://app:secret@redis:6380/3", "redis://redis:6380/3"),
        ("REDIS://:s@cret@redis/0", "redis://redis/0"),
        ("redis://redis?password=secret&db=2", "redis://redis"),
        ("rediss://:secret@[::1]:7?ssl_password=secret", "rediss://[::1]:7"),
        ("unix://app:s%2Fcret@/run/a@b.sock?password=secret", "unix:///run/a@b.sock"),
        ("redis+sentinel://:s@cret@one:1,two/main?sentinel_password=secret", "redis+sentinel://one:1,two/main"),
        ("redis+cluster://app:s@cret@one,two:7000", "redis+cluster://one,two:7000"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, text: str) -> None:
    assert without_credentials(check(url)) == text
