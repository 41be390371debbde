"""What is measured of a run of the tests: its main thread and its servers, see tests/conftest.py."""

from __future__ import annotations

import threading


def test_no_thread_of_the_run_itself_is_traced() -> None:
    assert threading.gettrace() is None
