"""The administrator in a real browser: signs in with a password, sends, and sees it in the audit log."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from playwright.sync_api import Browser, expect

from app.core.identity.passwords import hash_password
from tests.servers import Belfry

PASSWORD = "correct horse battery staple"
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    # Chromium takes Secure cookies from a loopback address; `localhost` and 127.0.0.1 count as trustworthy.
    return {"BELFRY_ADMIN_PASSWORD_HASH": hash_password(PASSWORD), "BELFRY_DEMO": "1"}


def test_what_the_administrator_does_by_hand_stands_in_the_audit_log(
    browser: Browser, belfry: Belfry, alice: str
) -> None:
    context = browser.new_context(base_url=belfry.url)
    page = context.new_page()
    page.goto("/admin/")
    page.fill("#name", "admin")
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("/admin/")
    page.fill("#target", alice)
    page.fill("#title", "Hello")
    page.click("#send")
    expect(page.locator("#results")).to_contain_text("finds it later", timeout=WAIT_MS)
    page.click("#audit-refresh")
    expect(page.locator("#audit-entries tr").first).to_contain_text(f"user:{alice}", timeout=WAIT_MS)
    expect(page.locator("#audit-entries tr").first).to_contain_text("publish", timeout=WAIT_MS)
    expect(page.locator("#audit-entries tr").last).to_contain_text("sign_in", timeout=WAIT_MS)
    context.close()


def test_a_message_of_a_token_is_not_by_hand(belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "by a program"})
    entries = belfry.api(belfry.token("root", "admin")).get("/admin/audit").json()["entries"]
    assert f"user:{alice}" not in {entry["target"] for entry in entries}
