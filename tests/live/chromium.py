"""A real Chromium for the tests that need one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.conftest import absent


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's own browser; without one the test is skipped, or fails in CI."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        absent("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
