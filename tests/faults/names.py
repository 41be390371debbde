"""A name server that has one address for each node, as a headless service of Kubernetes or a service of Compose has."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tests.servers import HOST

LOOK_SECONDS = 0.2  # between two looks at the nodes
_HEAD = struct.Struct("!6H")  # RFC 1035 section 4.1.1
_TYPE_A, _CLASS_IN, _TTL_SECONDS = 1, 1, 1
_ANSWERED = 0x8180  # a response, without an error, from one who resolves
_TO_QUESTION = 0xC00C  # "the name that stands at byte 12"


class Names:
    """Answers every question for an IPv4 address by what `addresses` said last. At `address`, by UDP."""

    def __init__(self, addresses: Callable[[], Sequence[str]]) -> None:
        self._ask = addresses
        self._known: Sequence[str] = ()
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._look, self._serve)]
        self.address = f"{HOST}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._socket.sendto(b"", self._socket.getsockname())
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self._known = self._ask()

    def _serve(self) -> None:
        while True:
            question, peer = self._socket.recvfrom(4_096)
            if self._ended.is_set():
                return
            self._socket.sendto(answer(question, self._known), peer)


def answer(question: bytes, addresses: Sequence[str]) -> bytes:
    """What a name server says: all addresses to a question for addresses, and nothing to any other one."""
    end = question.index(b"\0", _HEAD.size) + 5  # the name, its type and its class
    kind, _ = struct.unpack("!2H", question[end - 4 : end])
    found = addresses if kind == _TYPE_A else ()
    number = _HEAD.unpack_from(question)[0]
    rows = [
        struct.pack("!3HIH", _TO_QUESTION, _TYPE_A, _CLASS_IN, _TTL_SECONDS, 4) + socket.inet_aton(each)
        for each in found
    ]
    return _HEAD.pack(number, _ANSWERED, 1, len(rows), 0, 0) + question[_HEAD.size : end] + b"".join(rows)
