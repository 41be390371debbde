"""Which addresses of push services Belfry takes and connects to: strangers choose them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from app.core.addresses import parse_network
from app.core.push.endpoint import check_pattern, is_reachable, parse

HOSTS = ("fcm.googleapis.com", "*.push.apple.com", "push.example.com:8443", "[2606:4700::1111]")
LOOPBACK = (parse_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://fcm.googleapis.com/fcm/send/abc:def-_?x=1", "https://fcm.googleapis.com", "/fcm/send/abc:def-_?x=1"),
        ("HTTPS://FCM.GoogleApis.com:443/x", "https://fcm.googleapis.com", "/x"),
        ("https://fcm.googleapis.com./x", "https://fcm.googleapis.com", "/x"),
        ("https://web.push.apple.com/Q", "https://web.push.apple.com", "/Q"),
        ("https://push.example.com:8443", "https://push.example.com:8443", "/"),
        ("https://push.example.com:8443?a", "https://push.example.com:8443", "/?a"),
        ("https://[2606:4700::1111]/x", "https://[2606:4700::1111]", "/x"),
    ],
)
def test_the_addresses_of_browsers_are_taken(url: str, origin: str, target: str) -> None:
    found = parse(url, HOSTS, ())
    assert (found.origin, found.target) == (origin, target)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://fcm.googleapis.com/x", "https"),
        ("ftp://fcm.googleapis.com/x", "https"),
        ("fcm.googleapis.com/x", "https"),
        ("", "https"),
        ("https://", "host"),
        ("https://evil.example/x", "BELFRY_PUSH_HOSTS"),
        ("https://fcm.googleapis.com.evil.example/x", "BELFRY_PUSH_HOSTS"),
        ("https://evilpush.apple.com/x", "BELFRY_PUSH_HOSTS"),
        ("https://push.apple.com/x", "BELFRY_PUSH_HOSTS"),
        ("https://fcm.googleapis.com:22/x", "BELFRY_PUSH_HOSTS"),
        ("https://push.example.com/x", "BELFRY_PUSH_HOSTS"),
        ("https://user:pass@fcm.googleapis.com/x", "user"),
        ("https://evil.example\\@fcm.googleapis.com/x", "expected"),
        ("https://fcm.googleapis.com/a b", "space"),
        ("https://fcm.googleapis.com/a\r\nHost: b", "line break"),
        ("https://fcm.googleapis.com/x#y", "#"),
        ("https://fcm.googleapis.com:99999/x", "port"),
        ("https://fcm.google\u0430pis.com/x", "ASCII"),
        ("https://fcm.googleapis.com/" + "x" * 2_048, "2048"),
        ("https://127.0.0.1/x", "public"),
        ("https://169.254.169.254/latest/meta-data", "public"),
        ("https://[::1]/x", "public"),
        ("https://[::ffff:10.0.0.1]/x", "public"),
    ],
)
def test_other_addresses_are_refused_clearly(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(url, HOSTS, ())


def test_every_host_is_taken_if_the_setting_says_so_but_no_private_address_and_no_other_port() -> None:
    assert parse("https://ntfy.example/x", ("*",), ()).host == "ntfy.example"
    for url in ("https://10.0.0.1/x", "https://ntfy.example:6379/x", "http://ntfy.example/x", "https://0.0.0.0/x"):
        with pytest.raises(ValueError, match=r"expected|BELFRY_PUSH_HOSTS"):
            parse(url, ("*",), ())
    assert parse("https://ntfy.example:6379/x", ("*:6379",), ()).port == 6_379


def test_a_network_of_ones_own_may_be_private_and_without_tls() -> None:
    assert parse("http://127.0.0.1:8080/x", (), LOOPBACK).origin == "http://127.0.0.1:8080"
    assert parse("https://127.0.0.9/x", (), LOOPBACK).origin == "https://127.0.0.9"
    for url in ("http://10.0.0.1/x", "http://localhost/x", "https://10.0.0.1/x"):
        with pytest.raises(ValueError, match="expected"):
            parse(url, ("localhost",), LOOPBACK)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"),
        *("168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "198.18.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"),
        *("2002:7f00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1", "100::1", "64:ff9b:1::1"),
    ],
)
def test_private_addresses_are_not_reached_in_any_spelling(address: str) -> None:
    assert not is_reachable(ip_address(address), ())


@pytest.mark.parametrize("address", ["142.250.1.1", "2a00:1450:4001::1", "64:ff9b::8efa:101", "::ffff:142.250.1.1"])
def test_public_addresses_are_reached(address: str) -> None:
    assert is_reachable(ip_address(address), ())


def test_a_network_of_ones_own_is_reached_and_no_other() -> None:
    assert is_reachable(ip_address("127.0.0.1"), LOOPBACK)
    assert not is_reachable(ip_address("10.0.0.1"), LOOPBACK)


@pytest.mark.parametrize(
    "pattern", ["https://a.example", "a.example/x", "a*.example", "*.*.example", "a b", "a.example:"]
)
def test_what_names_no_hosts_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"fcm\.googleapis\.com"):
        check_pattern(pattern)
