"""A network of its own beside the machine's, joined to it by one virtual cable that can be cut: a peer that vanishes.

Over the loopback nobody vanishes: the kernel tells of every end. Here a cut cable swallows each packet without a word,
as a phone's tunnel does. Needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN, and `ip`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_CLONE_NEWNET = 0x40000000  # sched.h
_libc = ctypes.CDLL(None, use_errno=True)
_given: set[str] = set()  # the cables of this process


class Cable:
    """`near` is this machine's address on the cable, `far` the address of those in the network at its other end."""

    def __init__(self, namespace: str) -> None:
        token = _unused()
        self._namespace = namespace
        self._ends = (f"bn{token.hex()}", f"bf{token.hex()}")
        base = _base(token).rpartition(".")
        self._subnet = f"{_base(token)}/30"
        self.near = f"{base[0]}.{int(base[2]) + 1}"
        self.far = f"{base[0]}.{int(base[2]) + 2}"

    def lay(self) -> None:
        """Join the network to this machine. The cable goes with its network."""
        near, far = self._ends
        _ip("link", "add", near, "type", "veth", "peer", "name", far)
        _ip("link", "set", far, "netns", self._namespace)
        _ip("addr", "add", f"{self.near}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", self._namespace, "addr", "add", f"{self.far}/30", "dev", far)
        self.mend()

    def cut(self) -> None:
        """Swallow every packet from now on. Those in the network learn that there is no way to here."""
        _ip("-n", self._namespace, "link", "set", self._ends[1], "down")

    def mend(self) -> None:
        """Let packets through."""
        _ip("-n", self._namespace, "link", "set", self._ends[1], "up")

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Swallow every packet, without a word to those in the network either."""
        _ip("link", "set", self._ends[0], "down")
        _ip("route", "add", "blackhole", self._subnet)  # for answers, which go nowhere else
        try:
            yield
        finally:
            _ip("route", "del", "blackhole", self._subnet)
            _ip("link", "set", self._ends[0], "up")


class Network:
    """`near` is this machine's address on the network's first cable, `far` that of who uses a `socket()` of it."""

    def __init__(self) -> None:
        self._name = f"belfry-{secrets.token_hex(4)}"
        self._cable = Cable(self._name)
        self._path = Path("/run/netns") / self._name
        self.near, self.far = self._cable.near, self._cable.far

    @staticmethod
    def obstacle() -> str:
        """What this machine lacks for it, empty if nothing."""
        if not shutil.which("ip"):
            return "iproute2's `ip`"
        name = f"belfry-probe-{secrets.token_hex(4)}"
        if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
            return "the right to make network namespaces"
        _ip("netns", "del", name)
        return ""

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            _ip("-n", self._name, "link", "set", "lo", "up")
            self._cable.lay()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def socket(self) -> socket.socket:
        """A TCP socket within this network; it stays there whoever uses it."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self._path, os.O_RDONLY)
        try:
            _enter(there)
            try:
                return socket.socket()
            finally:
                _enter(here)
        finally:
            os.close(here)
            os.close(there)

    def command(self) -> Sequence[str]:
        """What to put before a command that shall run within it."""
        return ["nsenter", f"--net={self._path}"]

    def add_cable(self) -> Cable:
        """A second way to this machine."""
        cable = Cable(self._name)
        cable.lay()
        return cable

    def cut(self) -> None:
        """See `Cable.cut`."""
        self._cable.cut()

    def mend(self) -> None:
        """See `Cable.mend`."""
        self._cable.mend()

    def _remove(self) -> None:
        _ip("netns", "del", self._name)  # the cables go with their ends


def _unused() -> bytes:
    """What names a cable whose addresses no other one has, of this test run or of another one."""
    while True:
        token = secrets.token_bytes(2)
        if _base(token) not in _given and not _ip("-o", "addr", "show", "to", f"{_base(token)}/30"):
            _given.add(_base(token))
            return token


def _base(token: bytes) -> str:
    """The first address of one of the 16,384 networks of four addresses within a range that nobody here routes."""
    number = int.from_bytes(token) & 0x3FFF
    return f"10.203.{number >> 6}.{(number & 0x3F) << 2}"


def _enter(namespace: int) -> None:
    """Of this thread alone, setns(2)."""
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
