"""One address is understood in all the forms that sockets and proxies write."""

from __future__ import annotations

import pytest

from app.core.addresses import parse_address, parse_network, plain_peer

FORMS = [
    ("203.0.113.9", "203.0.113.9"),
    ("203.0.113.9:51234", "203.0.113.9"),
    (" \t203.0.113.9 ", "203.0.113.9"),
    ('"203.0.113.9:80"', "203.0.113.9"),
    ("[203.0.113.9]:80", "203.0.113.9"),
    ("2001:db8::7", "2001:db8::7"),
    ("2001:0DB8:0:0::7", "2001:db8::7"),
    ("[2001:db8::7]", "2001:db8::7"),
    ("[2001:db8::7]:443", "2001:db8::7"),
    ('"[2001:db8::7]:443"', "2001:db8::7"),
    ("fe80::1%eth0", "fe80::1"),
    ("[fe80::1%25eth0]:443", "fe80::1"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("::ffff:cb00:7109", "203.0.113.9"),
    ("[::ffff:203.0.113.9]:51234", "203.0.113.9"),
]
OTHERS = [
    "", "unknown", "_hidden", "203.0.113", "203.0.113.9:", "203.0.113.9:port", "[203.0.113.9", "2001:db8::7]:443", "[]",
    "203.0.113.9, 198.51.100.1", "proxy.example:80", "203.0.113.9:1:2", "fe80::1%" + "z" * 8_000, "[" * 8_000,
]  # fmt: skip


@pytest.mark.parametrize(("text", "address"), FORMS)
def test_an_address_is_found_in_every_form(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("fd00::/8", "fd00::/8"),
        ("::/0", "::/0"),
        ("[::1]", "::1/128"),
        ("[2001:db8::]/32", "2001:db8::/32"),
        ("[2001:db8::/32]", "2001:db8::/32"),
        ("fe80::1%eth0", "fe80::1/128"),
        ("[fe80::%eth0]/64", "fe80::/64"),
    ],
)
def test_a_network_of_mapped_addresses_is_the_ipv4_network(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("proxy.example", "this is none"),
        ("*", "this is none"),
        ("[::1", "this is none"),
        ("[::1]:443", "this is none"),
        ("10.0.0.0/8/8", "this is none"),
        ("2001:db8::1/32", "its host bits are set"),
    ],
)
def test_what_is_no_network_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^expected an address or a network such as 10.0.0.0/8 .*; {reason}$"):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "plain"), [("127.0.0.1", "127.0.0.1"), ("::ffff:127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("", "")]
)
def test_a_socket_s_peer_is_written_as_everywhere(text: str, plain: str) -> None:
    assert plain_peer(text) == plain
