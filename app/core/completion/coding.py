"""Decodes the content coding of an upstream's body (RFC 9110, 8.4).

Belfry asks for `identity`. Some upstreams compress anyway, some send `Content-Encoding` with a text that is not
compressed, and some compress without saying so. The first bytes show what a body really is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from ..errors import BelfryError

PIECE_BYTES: Final = 262_144  # decompressed at a time, so that a small body can't fill the memory
LAYERS_MAX: Final = 3  # of codings around each other
MAGIC_BYTES: Final = 4  # that show that a body is compressed
TEXT_BYTES: Final = 16  # that show that a body is a text
GZIP: Final = b"\x1f\x8b"
_KNOWN: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "x-deflate": "deflate"}
_MAGIC: Final = {GZIP: "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_TEXT: Final = frozenset({*range(0x20, 0x7F), 9, 10, 13})


class Decoding:
    """Decodes one body whose `Content-Encoding` is `coding`.

    `finds` is whether an undeclared compression is undone too. A sound or a picture must stay as it is. Raises
    `BelfryError` `upstream_malformed` for a body that can't be decoded.
    """

    def __init__(self, coding: str, *, finds: bool, layers: int = LAYERS_MAX) -> None:
        names = [name.strip().lower() for name in coding.split(",")]
        self._names = [name for name in names if name not in ("", "identity")]
        self._finds = finds
        self._layers = layers
        self._head = b""
        self._seen_bytes = TEXT_BYTES if self._names else MAGIC_BYTES
        self._inflated: _Inflated | None = None
        self._is_plain = layers == 0 or not (finds or self._names)

    @property
    def was_cut(self) -> bool:
        """Whether the body has ended too soon. Valid after `end`."""
        return self._inflated is not None and self._inflated.is_open

    def feed(self, received: bytes) -> Iterable[bytes]:
        """Return the decoded bytes, in pieces of at most about `PIECE_BYTES`."""
        if self._is_plain:  # nearly always
            return (received,)
        if self._inflated is not None:
            return self._inflated.feed(received)
        self._head += received
        return self._begin() if len(self._head) >= self._seen_bytes else ()

    def end(self) -> Iterator[bytes]:
        """Yield what is left at the end of the body."""
        if self._inflated is None and not self._is_plain and self._head:
            yield from self._begin()
        if self._inflated is not None:
            yield from self._inflated.inner.end()

    def _begin(self) -> Iterable[bytes]:
        """Decide by the first bytes how to read the body. The last of the names was applied last."""
        *inner, outer = self._names or [""]
        seen = next((name for magic, name in _MAGIC.items() if self._head.startswith(magic)), "")
        name = seen or _KNOWN.get(outer, outer)
        if not name or (not seen and set(self._head[:TEXT_BYTES]) <= _TEXT):
            self._is_plain = True
            return (self._head,)
        if name not in _KNOWN:
            told = f"The upstream's answer has the content coding {name[:40]!a}, which Belfry can't decode."
            raise BelfryError("upstream_malformed", f"{told} Belfry asked for identity.", retry=False)
        self._inflated = _Inflated(name, Decoding(",".join(inner), finds=self._finds, layers=self._layers - 1))
        return self._inflated.feed(self._head)


def decoded(pieces: Iterable[bytes], coding: str, *, finds: bool = True) -> Iterator[bytes]:
    """Yield a body decoded, see `Decoding`."""
    decoding = Decoding(coding, finds=finds)
    for piece in pieces:
        yield from decoding.feed(piece)
    yield from decoding.end()


class _Inflated:
    """Undoes gzip or deflate. `inner` decodes what is within."""

    def __init__(self, name: str, inner: Decoding) -> None:
        self.inner = inner
        self._name = name
        self._inflate: zlib._Decompress | None = None
        self._behind = b""  # the first bytes behind the end, which may begin another member of gzip

    @property
    def is_open(self) -> bool:
        return self._inflate is None or not self._inflate.eof or self.inner.was_cut

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(window_of(data))
            elif self._inflate.eof:
                data = self._behind + data
                if not data.startswith(GZIP):  # other bytes behind the end mean nothing, and are not kept
                    self._behind = data if GZIP.startswith(data) else data[:1]
                    return
                self._inflate, self._behind = zlib.decompressobj(window_of(data)), b""
            plain, data = self._step(self._inflate, data)
            yield from self.inner.feed(plain) if plain else ()

    def _step(self, inflate: zlib._Decompress, data: bytes) -> tuple[bytes, bytes]:
        """Return the next decoded bytes, and the bytes that are left."""
        try:
            plain = inflate.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            told = f"The upstream's answer is not valid {self._name}, its content coding: {error}."
            raise BelfryError("upstream_malformed", told, retry=False) from None
        return plain, inflate.unused_data or inflate.unconsumed_tail


def window_of(data: bytes) -> int:
    """Return zlib's `wbits` for compressed data. Some programs send `deflate` without zlib's header."""
    if data.startswith(GZIP):
        return zlib.MAX_WBITS | 16
    has_header = len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
