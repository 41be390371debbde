"""The admin page: what is sent, what becomes of it, and what can be undone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browsing import LASTING, FeedTab, Visitor
from tests.servers import Belfry
from tests.system.browser.conftest import Visit
from tests.waiting import wait_until


@pytest.fixture
def admin(visitor: Visitor) -> Page:
    page = visitor.context.new_page()
    page.goto("/admin/")
    return page


def send(admin: Page, target: str = "", kind: str = "A user", **fields: str) -> None:
    admin.get_by_label(kind, exact=True).check()
    if target:
        admin.fill("#target", target)
    for name, value in fields.items():
        admin.fill(f"#{name}", value)
    admin.click("#send")


def test_a_message_to_one_user_is_told_as_delivered_or_kept(admin: Page, visit: Visit, alice: str, bob: str) -> None:
    feed = visit(bob).tab()
    send(admin, bob, title="Hello")
    expect(admin.locator("#results")).to_contain_text(f"{bob}: online now")
    feed.expect_titles("Hello")
    send(admin, f"{alice}-who-is-away", title="Later")
    expect(admin.locator("#results")).to_contain_text(f"{alice}-who-is-away: offline, finds it later")


def test_a_list_gets_a_result_each(admin: Page, alice: str, bob: str) -> None:
    FeedTab(admin, "#bell").wait_connected()
    send(admin, f"{alice}, {bob}", "Several users", title="Hello")
    expect(admin.locator("#results li li")).to_have_text([f"{alice}: online now", f"{bob}: offline, finds it later"])


def test_everyone_is_asked_about_first(admin: Page, visitor: Visitor) -> None:
    feed = visitor.tab()
    send(admin, kind="Everyone", title="Maintenance")
    admin.get_by_role("button", name="Cancel").click()
    expect(admin.locator("#send")).to_be_enabled()
    assert feed.titles.count() == 0
    admin.click("#send")
    expect(admin.get_by_role("dialog", name=re.compile(r"every user \(\d+ known, \d+ connected now\)"))).to_be_visible()
    admin.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(feed.titles.first).to_have_text("Maintenance")


def test_a_sent_message_can_be_retracted(admin: Page, visitor: Visitor, alice: str) -> None:
    feed = visitor.tab()
    send(admin, alice, title="by mistake")
    expect(feed.titles.first).to_have_text("by mistake")
    admin.locator("#results").get_by_role("button", name="Retract").click()
    expect(admin.locator("#results")).to_contain_text("Retracted")
    expect(feed.titles.get_by_text("by mistake")).to_have_count(0)


def test_a_sent_message_can_be_sent_again(admin: Page, belfry: Belfry, bob: str) -> None:
    send(admin, bob, title="Hello")
    admin.locator("#results").get_by_role("button", name="Send again").click()
    expect(admin.locator("#results > li")).to_have_count(2)
    assert hellos(belfry, bob) == 2


def lost(route: Route) -> None:
    """It is sent, and the answer does not arrive."""
    route.fetch()
    route.abort()


def unsure(route: Route) -> None:
    """It is sent, and the answer is that nobody knows."""
    route.fetch()
    route.fulfill(status=503, json={"title": "Not replicated", "detail": "Too few nodes", "code": "not_replicated"})


unknown = pytest.mark.parametrize(
    ("answer", "told"), [(lost, "No answer from the server"), (unsure, "Not replicated. Too few nodes")]
)


@unknown
def test_a_second_click_after_a_lost_answer_sends_nothing_twice(
    admin: Page, belfry: Belfry, bob: str, answer: Callable[[Route], None], told: str
) -> None:
    admin.route("**/publish", answer)
    send(admin, bob, title="Hello")
    expect(admin.locator("#results")).to_contain_text(told)
    admin.unroute("**/publish")
    admin.click("#send")
    expect(admin.locator("#results")).to_contain_text(f"{bob}: had it already")
    assert hellos(belfry, bob) == 1


@unknown
def test_sending_again_keeps_its_id_until_the_answer_is_known(
    admin: Page, belfry: Belfry, bob: str, answer: Callable[[Route], None], told: str
) -> None:
    send(admin, bob, title="Hello")
    again = admin.locator("#results > li").last.get_by_role("button", name="Send again")
    expect(again).to_be_visible()
    admin.route("**/publish", answer)
    again.click()
    expect(admin.locator("#results")).to_contain_text(told)
    admin.unroute("**/publish")
    again.click()
    expect(admin.locator("#results")).to_contain_text(f"{bob}: had it already")
    again.click()
    expect(admin.locator("#results > li")).to_have_count(4)
    assert hellos(belfry, bob) == 3


def test_a_refused_message_goes_out_under_a_new_id(admin: Page, belfry: Belfry, bob: str) -> None:
    ids: list[str] = []

    def refuse(route: Route) -> None:
        ids.append(json.loads(route.request.post_data or "")["id"])
        route.fulfill(status=429, json={"title": "Slowly", "detail": "Too many"})

    admin.route("**/publish", refuse)
    send(admin, bob, title="Hello")
    expect(admin.locator("#results")).to_contain_text("Slowly. Too many")
    admin.unroute("**/publish")
    admin.click("#send")
    expect(admin.locator("#results")).to_contain_text(f"{bob}: offline, finds it later")
    (sent,) = [each["id"] for each in belfry.reader(bob).feed()["messages"] if each["title"] == "Hello"]
    assert [sent] != ids


def test_a_refused_message_is_explained(admin: Page, alice: str) -> None:
    send(admin, alice, url="javascript:alert(1)")
    expect(admin.locator("#results")).to_contain_text("The url is not valid")


def test_the_preview_is_what_the_feed_will_show(admin: Page, visitor: Visitor, alice: str) -> None:
    feed = visitor.tab()
    admin.select_option("#level", "warning")
    admin.get_by_text("More", exact=True).click()
    fields = {"title": "Disk", "body": "nearly full", "tags": "db-3, disk", "action-label": "View", "action-url": "/x"}
    for name, value in fields.items():
        admin.fill(f"#{name}", value)
    parts = ".sign path, h3, .body, .tags, .action"
    look = f"root => [...root.querySelectorAll({parts!r})].map(part => part.getAttribute('d') ?? part.textContent)"
    expect(admin.locator("#preview h3")).to_have_text("Disk")
    expect(admin.locator("#preview .action")).to_have_text("View")
    preview = admin.locator("#preview article").evaluate(look)
    send(admin, alice)
    expect(feed.titles.first).to_have_text("Disk")
    wait_until(lambda: feed.articles.first.evaluate(look) == preview, what=lambda: f"a message like {preview}")


def offered(admin: Page, typed: str) -> list[str]:
    """What the field offers when the server has answered. The page may show the answer a moment later: ask again."""
    with admin.expect_response(lambda answer: "/users?" in answer.url):
        admin.fill("#target", typed)
    texts = admin.locator("#known option").evaluate_all("all => all.map(({ value, label }) => label || value)")
    return [str(text) for text in texts]


def test_users_are_found_as_one_types(admin: Page, belfry: Belfry, visit: Visit, alice: str, bob: str) -> None:
    visit(bob).tab()
    belfry.publish({"to": f"{alice}-away", "title": "Hello"})
    wait_until(lambda: offered(admin, bob[:-2]) == [f"{bob} (online)"], 20)
    wait_until(lambda: offered(admin, f"{alice}-") == [f"{alice}-away"], 20)
    wait_until(lambda: offered(admin, f"{alice}-away-too") == [], 20)
    wait_until(lambda: f"{bob} (online)" in offered(admin, bob[:-4]), 20)


def test_the_last_of_several_users_is_looked_for(admin: Page, belfry: Belfry, bob: str) -> None:
    belfry.publish({"to": bob, "title": "Hello"})
    admin.get_by_label("Several users", exact=True).check()
    wait_until(lambda: offered(admin, f"someone, {bob[:-1]}") == [f"someone, {bob}"], 20)


def test_a_topic_is_no_user(admin: Page, belfry: Belfry, bob: str) -> None:
    belfry.publish({"to": bob, "title": "Hello"})
    wait_until(lambda: offered(admin, bob) == [bob], 20)
    admin.get_by_label("A topic", exact=True).check()
    admin.fill("#target", bob[:-1])
    expect(admin.locator("#known option")).to_have_count(0)


def recent(admin: Page, title: str, audience: str = "") -> Locator:
    """The entry of a message among the recent ones, once it is there: the message itself and none of its copies."""
    titled = admin.locator("#recent > li").filter(has=admin.get_by_role("heading", name=title, exact=True))
    entry = titled.filter(has_text=audience).last  # a copy is newer

    def is_there() -> bool:
        admin.click("#recent-refresh")
        expect(admin.locator("#recent")).to_have_attribute("aria-busy", "false")
        return bool(entry.count())

    wait_until(is_there, 20)
    return entry


def test_recent_messages_tell_how_many_they_reached_and_who_read_them(
    admin: Page, belfry: Belfry, visit: Visit, alice: str, bob: str
) -> None:
    visit(bob).tab()
    title = f"To {alice}"
    sent = belfry.publish({"to": [bob, f"{alice}-1", f"{alice}-2"], "title": title})["id"]
    entry = recent(admin, title)
    expect(entry).to_contain_text(f"by publisher, to {bob}, {alice}-1, {alice}-2")
    expect(entry).to_contain_text("3 recipients: 1 connected then, 3 stored · kept by 3, read by 0")
    belfry.reader(bob).post("/feed/read", json={"ids": [sent]})
    expect(recent(admin, title)).to_contain_text("kept by 3, read by 1")


def test_readers_of_a_message_to_everyone_are_counted_when_asked(admin: Page, belfry: Belfry, alice: str) -> None:
    title = f"All and {alice}"
    sent = belfry.publish({"everyone": True, "title": title})["id"]
    entry = recent(admin, title)
    belfry.publish({"to": [f"{alice}-1", f"{alice}-2"], "title": "makes them known"})
    for user in (f"{alice}-1", f"{alice}-2"):
        belfry.reader(user).post("/feed/read", json={"ids": [sent]})

    def counted() -> bool:
        with admin.expect_response(lambda answer: "readers=true" in answer.url):
            entry.get_by_role("button", name="Count readers").click()
        return "read by 2 of" in entry.inner_text()

    wait_until(counted, 20)


def test_a_recent_message_can_be_retracted(admin: Page, belfry: Belfry, visit: Visit, alice: str, bob: str) -> None:
    feed = visit(bob).tab()
    belfry.publish({"to": bob, "title": f"Oops {alice}"})
    expect(feed.titles.first).to_have_text(f"Oops {alice}")
    entry = recent(admin, f"Oops {alice}")
    entry.get_by_role("button", name="Retract").click()
    expect(entry).to_contain_text("· retracted")
    expect(feed.titles.get_by_text(f"Oops {alice}")).to_have_count(0)
    expect(recent(admin, f"Oops {alice}")).to_contain_text("retracted, or too old")
    admin.click("#audit-refresh")
    expect(admin.locator("#audit-entries tr").first).to_contain_text("retract")
    expect(admin.locator("#audit-entries td").first).to_have_text(
        re.compile(r"\d{1,2}:\d\d:\d\d")
    )  # as people write it
    expect(admin.locator("#audit-entries td").first).not_to_contain_text("Z")


def test_a_recent_message_is_sent_again_as_it_was(admin: Page, belfry: Belfry, alice: str, bob: str) -> None:
    title = f"Again {alice}"
    message = {
        "to": [bob, f"{bob}-2"],
        "title": title,
        "body": "b" * 300,
        "url": "/x",
        "level": "warning",
        "tags": ["t"],
        "actions": [{"label": "Go", "url": "/y"}],
        "data": {"deep": [1, None]},
        "ttl": 600,
    }
    belfry.publish(message)
    recent(admin, title).get_by_role("button", name="Send again").click()
    expect(admin.locator("#results")).to_contain_text(f"{bob}-2: offline, finds it later")
    for user in (bob, f"{bob}-2"):
        mine = [each for each in belfry.reader(user).feed()["messages"] if each["title"] == title]
        contents = [{name: each[name] for name in message if name not in {"to", "ttl"}} for each in mine]
        assert len(mine) == 2
        assert contents[0] == contents[1]
        assert mine[0]["id"] != mine[1]["id"]
        assert all(each["expires_at"] for each in mine)


@unknown
def test_a_copy_of_a_recent_message_keeps_its_id_until_the_answer_is_known(
    admin: Page, belfry: Belfry, bob: str, answer: Callable[[Route], None], told: str
) -> None:
    belfry.publish({"to": bob, "id": f"copied-{bob}", "title": "Hello", "event": "order.paid"})
    admin.route("**/publish", answer)
    recent(admin, "Hello", f"to {bob}").get_by_role("button", name="Send again").click()
    expect(admin.locator("#results")).to_contain_text(told)
    admin.unroute("**/publish")
    recent(admin, "Hello", f"to {bob}").get_by_role("button", name="Send again").click()
    expect(admin.locator("#results")).to_contain_text(f"{bob}: had it already")
    assert hellos(belfry, bob) == 2
    root, copy = belfry.api(belfry.token("root", "admin")), belfry.reader(bob).feed()["messages"][0]["id"]
    assert root.get(f"/messages/{copy}/content").json()["event"] == "order.paid"


def test_sending_to_everyone_again_is_asked_about(admin: Page, belfry: Belfry, alice: str) -> None:
    belfry.publish({"everyone": True, "title": f"Once {alice}"})
    recent(admin, f"Once {alice}").get_by_role("button", name="Send again").click()
    admin.get_by_role("dialog", name=re.compile("every user")).get_by_role("button", name="Cancel").click()
    told = [each["title"] for each in belfry.reader(alice).feed()["messages"]]
    assert told.count(f"Once {alice}") == 1


def test_a_recent_message_leads_to_what_happened_to_it(admin: Page, belfry: Belfry, bob: str) -> None:
    belfry.publish({"to": bob, "title": f"Where {bob}"})
    recent(admin, f"Where {bob}").get_by_role("link", name="Did it arrive?").click()
    expect(admin.locator("#trace")).to_contain_text(f"Did {bob} get ")


def test_of_many_recipients_the_first_are_listed_and_all_are_counted(admin: Page, alice: str) -> None:
    names = ", ".join(f"{alice}-{number}" for number in range(40))
    send(admin, names, "Several users", title="Hello")
    admin.get_by_role("dialog", name="Send this to 40 users").get_by_role("button", name="Send").click()
    expect(admin.locator("#results")).to_contain_text("40 recipients: 0 online now, 40 offline, 0 had it already.")
    expect(admin.locator("#results li li")).to_have_count(20)


def test_a_bell_rings_on_the_admin_page_too(visitor: Visitor, belfry: Belfry, alice: str) -> None:
    page = visitor.context.new_page()
    page.add_init_script(LASTING)
    page.goto("/admin/")
    bell = FeedTab(page, "#bell")
    bell.wait_connected()
    belfry.publish({"to": alice, "title": "Look"})
    expect(bell.toasts).to_have_count(1)
    unread = belfry.reader(alice).feed()["unread"]  # everyone's messages are among them
    expect(bell.bell).to_have_accessible_name(f"Notifications, {unread} unread")


def hellos(belfry: Belfry, user: str) -> int:
    """How many messages of that title the user has; everyone's are in the feed as well."""
    return sum(message["title"] == "Hello" for message in belfry.reader(user).feed()["messages"])
