"""A network of its own beside the machine's, joined to it by one virtual cable that can be cut: a peer that vanishes.

Over the loopback nobody vanishes: the kernel tells of every end. Here a cut cable swallows each packet without a word,
as a phone's tunnel does. Needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN, and `ip`.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_CLONE_NEWNET = 0x40000000  # sched.h
_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """`near` is this machine's address on the cable, `far` that of who uses a `socket()` of this network."""

    def __init__(self) -> None:
        token = secrets.token_bytes(2)
        self._name = f"belfry-{token.hex()}"
        self._ends = (f"bn{token.hex()}", f"bf{token.hex()}")
        # One of the 16,384 networks of four addresses within a range that nobody here routes.
        subnet = int.from_bytes(token) & 0x3FFF
        base = f"10.203.{subnet >> 6}.{(subnet & 0x3F) << 2}".rpartition(".")
        self.near = f"{base[0]}.{int(base[2]) + 1}"
        self.far = f"{base[0]}.{int(base[2]) + 2}"

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
        near, far = self._ends
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", near, "type", "veth", "peer", "name", far)
            _ip("link", "set", far, "netns", self._name)
            _ip("addr", "add", f"{self.near}/30", "dev", near)
            _ip("link", "set", near, "up")
            _ip("-n", self._name, "addr", "add", f"{self.far}/30", "dev", far)
            self.mend()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def socket(self) -> socket.socket:
        """A TCP socket within this network; it stays there whoever uses it."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(Path("/run/netns") / self._name, os.O_RDONLY)
        try:
            _enter(there)
            try:
                return socket.socket()
            finally:
                _enter(here)
        finally:
            os.close(here)
            os.close(there)

    def cut(self) -> None:
        """Swallow every packet from now on."""
        _ip("-n", self._name, "link", "set", self._ends[1], "down")

    def mend(self) -> None:
        """Let packets through."""
        _ip("-n", self._name, "link", "set", self._ends[1], "up")

    def _remove(self) -> None:
        _ip("netns", "del", self._name)  # the cable goes with its end


def _enter(namespace: int) -> None:
    """Of this thread alone, setns(2)."""
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
