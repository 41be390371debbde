"""A compressed body is read in time that its own size bounds."""

from __future__ import annotations

import gzip

import pytest

from app.core.errors import BelfryError
from app.web.edge.reading import MEMBERS_MAX, _decompressed


def test_a_body_of_several_members_is_joined() -> None:
    assert _decompressed(gzip.compress(b"a") * MEMBERS_MAX, "gzip", 1_000) == b"a" * MEMBERS_MAX


def test_a_body_of_too_many_members_is_refused_with_the_number() -> None:
    with pytest.raises(BelfryError, match="body_broken") as refusal:
        _decompressed(gzip.compress(b"") * 10_000, "gzip", 1_000)
    assert f"at most {MEMBERS_MAX} members of gzip" in refusal.value.detail
