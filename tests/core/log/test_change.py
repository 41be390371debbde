"""A change says what, of which messages, and nothing else; its announcement says the same."""

from __future__ import annotations

import json

import pytest

from app.core.errors import BelfryError
from app.core.log.change import IDS_MAX, Change, parse_archive, parse_read
from app.core.log.marks import Mark


def test_ids_are_marked_unless_the_body_says_otherwise() -> None:
    assert parse_read(b'{"ids":["a","b","a"]}') == Change(Mark.READ, True, ("a", "b"))
    assert parse_read(b'{"ids":["a"],"read":false}') == Change(Mark.READ, False, ("a",))
    assert parse_archive(b'{"all":true,"archived":false}') == Change(Mark.ARCHIVED, False, None)


@pytest.mark.parametrize(
    ("change", "record"),
    [
        (Change(Mark.READ, True, ("a",)), 'read {"ids":["a"],"read":true}'),
        (Change(Mark.READ, False, None), 'read {"all":true,"read":false}'),
        (Change(Mark.ARCHIVED, True, ("a", "b")), 'updated {"ids":["a","b"],"archived":true}'),
        (Change(Mark.REMOVED, True, ("a",)), 'removed {"ids":["a"]}'),
    ],
)
def test_it_is_announced_by_its_event(change: Change, record: str) -> None:
    assert change.record() == record


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{}", "invalid_change"),
        (b'{"ids":["a\\nb"]}', "invalid_change"),
        (json.dumps({"ids": ["a"] * (IDS_MAX + 1)}).encode(), "invalid_change"),
        (b'{"all":true,"archived":true}', "unknown_field"),
    ],
)
def test_anything_else_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(BelfryError) as refused:
        parse_read(body)
    assert refused.value.code == code
