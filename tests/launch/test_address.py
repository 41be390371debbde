"""Where the server listens, as the operator writes it and as the machine has it."""

from __future__ import annotations

import socket

import pytest

from app.launch.address import AddressError, BindAddress


@pytest.mark.parametrize(
    ("bind", "url", "is_local"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("localhost:8000", "http://localhost:8000", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("0.0.0.0:8000", "http://127.0.0.1:8000", False),
        (":8000", "http://127.0.0.1:8000", False),
        ("[fe80::1%eth0]:8000", "http://[fe80::1%eth0]:8000", False),
        ("[fe80::1%2]:8000", "http://[fe80::1%2]:8000", False),
        ("[::]:80", "http://[::1]:80", False),
        ("push.example.com:80", "http://push.example.com:80", False),
        ("unix:/run/belfry.sock", "unix:/run/belfry.sock", True),
    ],
)
def test_a_bind_is_read_and_written_back(bind: str, url: str, is_local: bool) -> None:
    address = BindAddress.parse(bind)
    assert (address.bind, address.url, address.is_local) == (bind, url, is_local)


@pytest.mark.parametrize("bind", ["8000", "localhost", "::1:8000", "host:65536", "host:-1", "host:80 ", "a b:80", "h:"])
def test_what_is_no_address_is_refused(bind: str) -> None:
    with pytest.raises(AddressError, match="BELFRY_BIND must be"):
        BindAddress.parse(bind)


def test_port_0_becomes_a_free_port() -> None:
    address = BindAddress.parse("127.0.0.1:0").claim()
    assert address.port > 0
    assert address.claim() == address


def test_an_address_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = BindAddress("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(AddressError, match=r"\(Address already in use\): stop what listens there"):
            address.claim()


def test_a_host_that_is_not_this_machine_is_refused() -> None:
    with pytest.raises(AddressError, match=r"can't listen on 192\.0\.2\.1:80"):
        BindAddress.parse("192.0.2.1:80").claim()


def test_nobody_answers_where_nobody_listens() -> None:
    assert not BindAddress.parse("127.0.0.1:0").claim().answers()
