from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.server.sockets import OWN_DESCRIPTORS, REQUEST_DESCRIPTORS, reserve_table, spent, spent_for_streams

LIMIT = 512


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_last_descriptors_are_belfrys_own() -> None:
    assert not spent(LIMIT - OWN_DESCRIPTORS - 1)
    assert spent(LIMIT - OWN_DESCRIPTORS)


def test_streams_leave_some_to_requests() -> None:
    assert not spent_for_streams(LIMIT - OWN_DESCRIPTORS - REQUEST_DESCRIPTORS - 1)
    assert spent_for_streams(LIMIT - OWN_DESCRIPTORS - REQUEST_DESCRIPTORS)
    assert not spent(LIMIT - OWN_DESCRIPTORS - REQUEST_DESCRIPTORS)


def test_a_limit_that_was_lifted_counts_at_once() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT + 100, hard))
    assert not spent_for_streams(LIMIT)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_table_of_descriptors_has_its_full_size_before_the_worker_serves() -> None:
    before = set(Path("/proc/self/fd").iterdir())
    reserve_table()
    size = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("FDSize:"))
    assert int(size.split()[1]) >= LIMIT
    assert set(Path("/proc/self/fd").iterdir()) == before
