"""The administrator's form and search, as people use them: on a phone, twice in a row, with typing errors."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def admin(visit: Visit, alice: str) -> Page:
    page = visit(alice, viewport=PHONE).context.new_page()
    page.goto("/admin/")
    expect(page.locator("#send")).to_be_enabled()
    return page


def titles(belfry: Belfry, user: str) -> list[str]:
    return [message["title"] for message in belfry.reader(user).feed()["messages"]]


def test_on_a_phone_the_result_is_seen_beside_the_button_and_the_form_is_empty_again(admin: Page, bob: str) -> None:
    admin.fill("#target", bob)
    admin.fill("#title", "Hello")
    admin.fill("#body", "Text")
    admin.locator("#send").evaluate("button => button.scrollIntoView({ block: 'end' })")
    admin.click("#send")
    expect(admin.locator("#outcome")).to_have_text(f"Sent. {bob}: offline, finds it later.")
    expect(admin.locator("#outcome")).to_be_in_viewport()
    for field in ("#target", "#title", "#body"):
        expect(admin.locator(f"form {field}")).to_have_value("")


def test_a_second_tap_sends_nothing(admin: Page, belfry: Belfry, bob: str) -> None:
    admin.fill("#target", bob)
    admin.fill("#title", "Hello")
    admin.locator("#send").dblclick()
    expect(admin.locator("#results > li")).to_have_count(1)
    expect(admin.locator("#send")).to_be_enabled()
    assert titles(belfry, bob) == ["Hello"]


@pytest.mark.parametrize("blank", ["", "  ", "\N{NO-BREAK SPACE}"])
def test_an_empty_message_is_not_sent(admin: Page, belfry: Belfry, bob: str, blank: str) -> None:
    admin.fill("#target", bob)
    admin.fill("#title", blank)
    admin.fill("#body", blank)
    admin.click("#send")
    expect(admin.locator("#outcome")).to_have_text("A message needs a title or a text.")
    assert titles(belfry, bob) == []


def test_users_whom_nobody_has_seen_are_remarked_upon(admin: Page, belfry: Belfry, alice: str) -> None:
    root = belfry.api(belfry.token("root", "admin"))
    wait_until(lambda: root.get("/users", params={"prefix": alice}).json()["users"], what="alice to be known")
    remark = admin.locator("#target-remark")
    admin.fill("#target", alice[:-1])  # a part of a known id is another id
    admin.locator("#target").blur()
    expect(remark).to_contain_text(f"Nobody has seen {alice[:-1]} yet.")
    admin.fill("#target", alice)
    admin.locator("#target").blur()
    expect(remark).to_be_empty()
    admin.get_by_label("Several users", exact=True).check()
    admin.fill("#target", f"{alice}, {alice}-x, {alice}-y")
    admin.locator("#target").blur()
    expect(remark).to_contain_text(f"Nobody has seen {alice}-x, {alice}-y yet.")
    belfry.publish({"to": f"{alice}-y", "title": "to a misspelt id"})
    wait_until(lambda: root.get("/users", params={"prefix": f"{alice}-y"}).json()["users"], what="the recipient")
    admin.fill("#target", f"{alice}-y, {alice}")
    admin.locator("#target").blur()
    expect(remark).to_contain_text(f"Nobody has seen {alice}-y yet.")


def test_a_topic_is_not_called_offline(admin: Page, bob: str) -> None:
    admin.get_by_label("A topic", exact=True).check()
    admin.fill("#target", f"news-{bob}")
    admin.fill("#title", "Hello")
    admin.click("#send")
    expect(admin.locator("#results")).to_contain_text(
        f"topic news-{bob}: sent to those who are connected, kept for the others"
    )
    expect(admin.get_by_label("A topic", exact=True)).to_be_checked()


def test_the_audit_log_shows_at_once_what_was_just_done(admin: Page, bob: str) -> None:
    newest = admin.locator("#audit-entries tr").first
    admin.fill("#target", bob)
    admin.fill("#title", "Hello")
    admin.click("#send")
    expect(newest).to_contain_text("publish")
    expect(newest).to_contain_text(bob)
    admin.locator("#results").get_by_role("button", name="Retract").click()
    expect(newest).to_contain_text("retract")


def test_unknown_and_absent_users_are_told_apart_and_mistakes_stay_in_their_card(
    visit: Visit, alice: str, belfry: Belfry, bob: str
) -> None:
    people = visit(alice).context.new_page()
    visit(bob).tab().page.close()
    people.goto("/admin/people/")
    people.fill("#name", f"{bob}-x")
    people.get_by_role("button", name="Show").click()
    expect(people.locator("#user")).to_contain_text("Nobody has seen this user: check the spelling.")
    belfry.publish({"to": bob, "title": "Hello"})
    people.fill("#name", bob)
    people.get_by_role("button", name="Show").click()
    expect(people.locator("#user")).to_contain_text("The feed holds 1 message, number 1; it is unread.")
    people.fill("#message", "unknown")
    with people.expect_response("**/presence"):  # the other card is refreshed every five seconds
        people.get_by_role("button", name="Show").click()
        expect(people.locator("#problem + #user")).to_be_visible()
    expect(people.locator("#problem")).to_contain_text("No message 'unknown' is known")
