"""Whose address a request has: only proxies that are trusted have a say."""

from __future__ import annotations

import pytest
from flask import Request

from app.core.settings import Settings, SettingsError, load
from app.web.edge.client_address import HOPS_MAX, client_address, throttled_address

PROXIES = Settings(trusted_proxies="10.0.0.0/8, 192.168.1.1, fd00::/8").proxies


def request(remote: str, forwarded: str | None = None) -> Request:
    environ = {"REMOTE_ADDR": remote, "wsgi.url_scheme": "http", "REQUEST_METHOD": "GET"}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    return Request(environ)


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 192.168.1.1", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "127.0.0.1' OR 1=1, 10.0.0.2", "10.0.0.2"),
        ("", "198.51.100.1", "198.51.100.1"),
        ("", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("", "nonsense", ""),
        ("", None, ""),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1:51234", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::7]:51234", "2001:db8::7"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1:51234, 10.0.0.2:80, ::ffff:192.168.1.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, , ", "198.51.100.1"),
        ("10.0.0.1", "  198.51.100.1\t,,10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "unknown, 10.0.0.2", "10.0.0.2"),
        ("fd00::1%eth0", "2001:db8::7%9", "2001:db8::7"),
        ("", ", ".join(["10.0.0.1"] * 100), "10.0.0.1"),
        ("", ", ".join(["198.51.100.1"] + ["10.0.0.1"] * (HOPS_MAX - 1)), "198.51.100.1"),
        ("", ", ".join(["198.51.100.1"] + ["10.0.0.1"] * HOPS_MAX), "10.0.0.1"),  # what is further away is not read
    ],
)
def test_the_address_is_the_nearest_that_no_trusted_proxy_has(
    remote: str, forwarded: str | None, expected: str
) -> None:
    assert client_address(request(remote, forwarded), PROXIES) == expected


def test_without_trusted_proxies_the_header_means_nothing() -> None:
    assert client_address(request("127.0.0.1", "198.51.100.1"), ()) == "127.0.0.1"
    assert client_address(request("::ffff:127.0.0.1", "198.51.100.1"), ()) == "127.0.0.1"


def test_the_peer_of_a_unix_socket_is_a_trusted_proxy() -> None:
    assert client_address(request("", "1.1.1.1, 198.51.100.1"), ()) == "198.51.100.1"


def test_networks_of_mapped_addresses_are_the_ipv4_networks() -> None:
    proxies = Settings(trusted_proxies="::ffff:10.0.0.0/104").proxies
    for remote in ("10.0.0.1", "::ffff:10.0.0.1"):
        assert client_address(request(remote, "198.51.100.1"), proxies) == "198.51.100.1"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("198.51.100.1:51234", "198.51.100.1"),
        ("", ""),
    ],
)
def test_all_addresses_that_one_ipv6_subscriber_has_count_as_one(address: str, counted: str) -> None:
    assert throttled_address(address) == counted


def test_a_proxy_that_is_no_network_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"^BELFRY_TRUSTED_PROXIES"):
        load({"BELFRY_TRUSTED_PROXIES": "proxy.example"})
