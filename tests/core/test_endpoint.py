"""Hosts and ports are taken out of addresses, or refused without a word of what may be a password."""

from __future__ import annotations

import re

import pytest

from app.core.endpoint import HTTP_PORTS, check_http, endpoint


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("redis", "redis", 1),
        ("redis.example.:65535", "redis.example.", 65_535),
        ("my_redis-1:6379", "my_redis-1", 6_379),
        ("10.0.0.7:1", "10.0.0.7", 1),
        ("[::1]", "::1", 1),
        ("[fe80::1%25eth0]:7", "fe80::1%eth0", 7),
        ("bücher.example", "bücher.example", 1),
    ],
)
def test_a_host_has_a_port_or_gets_the_usual_one(text: str, host: str, port: int) -> None:
    assert endpoint(text, 1) == (host, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no host"),
        (":6379", "no host"),
        ("secret:0", "port from 1 to 65535"),
        ("secret:65536", "port from 1 to 65535"),
        ("secret:", "port from 1 to 65535"),
        ("host:secret", "port from 1 to 65535"),
        ("host:６３７９", "port from 1 to 65535"),  # noqa: RUF001 - digits that are none
        ("::1", "[::1]:6379"),
        ("[::1", "[address]:port"),
        ("[::1]secret", "[address]:port"),
        ("[secret]:1", "IPv6 address between the brackets"),
        ("256.0.0.1", "IPv4"),
        ("1.2.3", "IPv4"),
        ("a..secret", "1 to 63 characters"),
        ("s" * 64, "1 to 63 characters"),
        (".".join(["secret"] * 40), "1 to 63 characters"),
        ("sec%72et", "character"),
        ("sec,ret[", "character"),
    ],
)
def test_what_is_none_is_told_without_it(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        endpoint(text, 1)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://issuer.example/jwks?v=1", "issuer.example", 443),
        ("HTTP://user:p%40ss@[::1]:8080", "::1", 8_080),
        ("http://user:p@ss@models:8000/v1", "models", 8_000),
    ],
)
def test_an_http_address_leads_somewhere(url: str, host: str, port: int) -> None:
    assert check_http(url) == (host, port)
    assert set(HTTP_PORTS) == {"http", "https"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://secret", "expected an http:// or https:// address"),
        ("secret", "expected an http:// or https:// address"),
        ("https://", "no host"),
        ("https://host:99999/secret", "port"),
        ("https://user:sec/ret@host", "%2F"),
        ("https://user:sec?ret@host", "%3F"),
        ("https://user:secret#1@host", "%23"),
        ("https://host\\secret", "%5C"),
        ("https://host/ secret", "%20"),
        ("https://host/secret\n", "line break"),
        ("https://host/\udcffsecret", "UTF-8"),
    ],
)
def test_an_http_address_that_can_not_be_asked_is_told_without_it(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        check_http(url)
    assert "secret" not in str(refusal.value)
