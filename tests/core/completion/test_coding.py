"""What becomes of a body that is compressed, is not, or is in spite of what its head says."""

from __future__ import annotations

import gzip
import zlib

import pytest

from app.core.completion.coding import Decoding, decoded
from app.core.errors import BelfryError

ZSTD = b"\x28\xb5\x2f\xfdab"
TEXT = b'data: {"choices":[]}\n\n' * 50


def gzipped(text: bytes) -> bytes:
    """Compress without the time, so that each process of pytest gives a test the same name."""
    return gzip.compress(text, mtime=0)


def deflated(text: bytes) -> bytes:
    """Deflate without zlib's header, as some servers send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush()


@pytest.mark.parametrize("size", [1, 3, 1_000_000])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", TEXT), ("identity", TEXT), ("gzip", TEXT), ("br", TEXT), ("utf-8", TEXT), ("", b"x"), ("gzip", b""),
        ("gzip", gzipped(TEXT)), ("X-GZIP", gzipped(TEXT)), ("", gzipped(TEXT)),
        ("deflate", zlib.compress(TEXT)), ("deflate", deflated(TEXT)), ("deflate", gzipped(TEXT)),
        ("gzip", gzipped(TEXT[:9]) + gzipped(TEXT[9:])), ("gzip", gzipped(TEXT) + b"\0\0"),
        ("deflate, gzip", gzipped(zlib.compress(TEXT))), ("gzip, gzip", gzipped(gzipped(TEXT))),
    ],
)  # fmt: skip
def test_what_can_be_decoded_is_decoded(coding: str, body: bytes, size: int) -> None:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(decoded(pieces, coding)) == (TEXT if len(body) > 1 else body)


@pytest.mark.parametrize(
    ("coding", "body"), [("br", b"\x0b\x02\x80ab"), ("zstd", b"\x28\xb5\x2f\xfdab"), ("", b"\x28\xb5\x2f\xfdab")]
)
def test_what_can_not_is_named(coding: str, body: bytes) -> None:
    with pytest.raises(BelfryError) as caught:
        list(decoded([body], coding))
    assert f"content coding '{coding or 'zstd'}'" in caught.value.detail


def test_a_broken_body_is_told_apart_from_a_cut_one() -> None:
    with pytest.raises(BelfryError, match="upstream_malformed"):
        list(decoded([gzipped(TEXT)[:10] + b"\xff" * 20], "gzip"))
    decoding = Decoding("gzip", finds=True)
    list(decoding.feed(gzipped(TEXT)[:-12]))
    list(decoding.end())
    assert decoding.was_cut


def test_bytes_behind_the_end_are_not_kept() -> None:
    decoding = Decoding("gzip", finds=True)
    assert b"".join(decoding.feed(gzipped(TEXT))) == TEXT
    for _ in range(100):
        assert not list(decoding.feed(b"x" * 1_000))
    assert decoding._inflated is not None
    assert len(decoding._inflated._behind) == 1


def test_a_file_in_gzip_stays_as_it_is() -> None:
    file = gzipped(TEXT)
    assert b"".join(decoded([file], "", finds=False)) == file


def test_a_small_body_does_not_fill_the_memory() -> None:
    bomb = gzipped(b" " * 20_000_000)
    sizes = [len(piece) for piece in decoded([bomb], "gzip")]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 262_144
