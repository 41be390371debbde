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
_SEEN_BYTES: Final = 4  # that show what a body is
_LOOKED_AT_BYTES: Final = 16
GZIP: Final = b"\x1f\x8b"
_KNOWN: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "x-deflate": "deflate"}
_MAGIC: Final = {GZIP: "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_TEXT: Final = frozenset({*range(0x20, 0x7F), 9, 10, 13})


class Decoding:
    """Decodes one body whose `Content-Encoding` is `coding`.

    `finds` is whether an undeclared compression is undone too. A sound or a picture must stay as it is. Raises
    `BelfryError` `upstream_malformed` for a body that can't be decoded.
    """

    def __init__(self, coding: str, *, finds: bool) -> None:
        self._names = [
            name.strip().lower() for name in coding.split(",") if name.strip().lower() not in ("", "identity")
        ]
        self._finds = finds
        self._head = b""
        self._reader: _Plain | _Inflated | None = None if finds or self._names else _Plain()

    @property
    def was_cut(self) -> bool:
        """Whether the body has ended too soon. Valid after `end`."""
        return self._reader is not None and self._reader.is_open

    def feed(self, received: bytes) -> Iterable[bytes]:
        """Return the decoded bytes, in pieces of at most about `PIECE_BYTES`."""
        if isinstance(self._reader, _Plain):  # nearly always
            return (received,)
        if self._reader is not None:
            return self._reader.feed(received)
        self._head += received
        return self._begin() if len(self._head) >= _SEEN_BYTES else ()

    def end(self) -> Iterator[bytes]:
        """Yield what is left at the end of the body."""
        if self._reader is None and self._head:
            yield from self._begin()

    def _begin(self) -> Iterator[bytes]:
        self._reader = _reader_of(self._head, self._names, self._finds, LAYERS_MAX)
        yield from self._reader.feed(self._head)


def decoded(pieces: Iterable[bytes], coding: str, *, finds: bool = True) -> Iterator[bytes]:
    """Yield a body decoded, see `Decoding`."""
    decoding = Decoding(coding, finds=finds)
    for piece in pieces:
        yield from decoding.feed(piece)
    yield from decoding.end()


def _reader_of(head: bytes, names: list[str], finds: bool, layers: int) -> _Plain | _Inflated:
    """Return the reader of a body that begins with `head`. The last of `names` was applied last."""
    *inner, outer = names or [""]
    seen = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "") if finds or outer else ""
    if not (outer or seen) or layers == 0:
        return _Plain()
    if not seen and set(head[:_LOOKED_AT_BYTES]) <= _TEXT:
        return _Plain()
    name = seen or _KNOWN.get(outer, outer)
    if name not in _KNOWN:
        told = f"The upstream's answer has the content coding {name[:40]!a}, which Belfry can't decode."
        raise BelfryError("upstream_malformed", f"{told} Belfry asked for identity.", retry=False)
    return _Inflated(name, inner, finds, layers)


class _Plain:
    is_open = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class _Inflated:
    """Undoes gzip or deflate. What it finds within is read as `names` say."""

    def __init__(self, name: str, names: list[str], finds: bool, layers: int) -> None:
        self._name = name
        self._names = names
        self._finds = finds
        self._layers = layers
        self._inflate: zlib._Decompress | None = None
        self._inner: _Plain | _Inflated | None = None

    @property
    def is_open(self) -> bool:
        return self._inflate is None or not self._inflate.eof or (self._inner is not None and self._inner.is_open)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate is None or (self._inflate.eof and self._name == "gzip" and data.startswith(GZIP)):
                self._inflate = zlib.decompressobj(window_of(data))
            if self._inflate.eof:  # bytes behind the end mean nothing
                return
            try:
                plain = self._inflate.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                told = f"The upstream's answer is not valid {self._name}, its content coding: {error}."
                raise BelfryError("upstream_malformed", told, retry=False) from None
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
            if plain:
                if self._inner is None:
                    self._inner = _reader_of(plain, self._names, self._finds, self._layers - 1)
                yield from self._inner.feed(plain)


def window_of(data: bytes) -> int:
    """Return zlib's `wbits` for compressed data. Some programs send `deflate` without zlib's header."""
    if data.startswith(GZIP):
        return zlib.MAX_WBITS | 16
    has_header = len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
