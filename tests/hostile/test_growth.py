"""Every reader of what a stranger may send takes time in proportion to its length, whatever was sent."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from app.core import masking
from tests.hostile import growth

Reader = Callable[[str], object]

READERS: dict[str, Reader] = {
    "core.masking.mask": masking.mask,
    "core.masking.log_line": masking.log_line,
    "core.masking.log_block": masking.log_block,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_the_cost_of_reading_grows_no_faster_than_the_input(read: Reader) -> None:
    assert growth.excess(read) == []


def test_a_quadratic_reader_is_found() -> None:
    """The test above can fail."""

    names = re.compile(r"[?&][^=]+=")
    assert growth.excess(names.search)
