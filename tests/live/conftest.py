"""What the tests of the worker's inside ask of the machine."""

from __future__ import annotations

import pytest

from app.live.streams.poller import AVAILABLE
from tests.conftest import absent


@pytest.fixture
def epoll() -> None:
    if not AVAILABLE:
        absent("epoll")
