"""The pages: who gets to see them, and what they load."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.web.identity_app import open_site

PAGES = ["/", "/chat", "/chat/run-1", "/admin/", "/admin/people/"]


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_led_to_the_demo_sign_in_and_back(path: str) -> None:
    answer = open_site(demo=True).client.get(path)
    assert (answer.status_code, answer.location) == (302, f"/login?next={path}")


@pytest.mark.parametrize("path", PAGES)
def test_outside_the_demo_a_stranger_is_told_how_to_sign_in(path: str) -> None:
    answer = open_site().client.get(path)
    assert (answer.status_code, answer.mimetype) == (401, "text/html")
    assert "/session" in answer.text
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="belfry"'


def test_a_user_sees_the_feed_page() -> None:
    site = open_site()
    site.start_session("feed")
    answer = site.client.get("/")
    assert answer.status_code == 200
    assert 'title="Signed in as alice"' in answer.text


def test_the_feed_page_is_for_those_who_have_a_feed() -> None:
    site = open_site()
    site.start_session("publish")
    assert site.client.get("/").get_json(force=True)["code"] == "scope_missing"


def test_a_link_on_another_site_may_lead_to_a_page() -> None:
    site = open_site()
    site.start_session("feed")
    assert site.client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_the_chat_is_for_those_who_may_complete() -> None:
    site = open_site()
    site.start_session("feed publish admin")
    assert site.client.get("/chat").get_json(force=True)["code"] == "scope_missing"
    site.start_session("complete")
    answer = site.client.get("/chat/run-1")
    assert answer.status_code == 200
    assert "belfry-feed" not in answer.text, "who has no feed has no bell"


def test_what_can_name_no_run_has_no_page() -> None:
    site = open_site()
    site.start_session("complete")
    assert site.client.get("/chat/no%20run").get_json(force=True)["code"] == "bad_run_id"


@pytest.mark.parametrize("scopes", ["feed", "admin", "publish"])
def test_the_admin_page_is_for_those_who_publish_and_administrate(scopes: str) -> None:
    site = open_site()
    site.start_session(scopes)
    answer = site.client.get("/admin/")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (403, "scope_missing")


def test_an_administrator_sees_the_admin_page() -> None:
    site = open_site()
    site.start_session("publish admin")
    assert site.client.get("/admin/").status_code == 200


def test_an_expired_session_is_a_stranger_again() -> None:
    site = open_site(demo=True)
    site.start_session(seconds=60)
    site.now += 60
    assert site.client.get("/").status_code == 302


@pytest.mark.parametrize("path", [*PAGES, "/login"])
def test_a_page_loads_only_files_that_exist_and_runs_nothing_inline(path: str) -> None:
    site = open_site(demo=True)
    site.start_session("feed publish complete admin")
    page = re.sub(r"<pre.*?</pre>", "", site.client.get(path).text, flags=re.DOTALL)  # code to be copied
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(loaded) >= 3
    for address in loaded:
        with site.client.get(address) as answer:
            assert answer.status_code == 200, address
    assert not re.search(
        r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|https?://(?!…)", page.replace("https://…", "")
    )


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/login", 404), ("/admin/", 403), ("/users", 403)])
def test_a_person_at_a_browser_gets_a_page_where_a_program_gets_json(path: str, status: int) -> None:
    site = open_site()
    site.start_session("feed")
    answer = site.client.get(path, headers=BROWSER)
    if path == "/users":  # the site of these tests has no such view
        status = 404
    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    assert "<h1>" in answer.text
    assert "Content-Security-Policy" in answer.headers
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.9", ""):
        answer = site.client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_an_error_page_says_nothing_twice() -> None:
    page = open_site(demo=True).client.get("/admin/audit", headers=BROWSER).text
    assert page.count("No credential was sent") == 2, "in the title of the page and in its heading"


@pytest.mark.parametrize(
    ("typed", "page"),
    [
        ("/chat/", "/chat"),
        ("/chat//", "/chat"),
        ("/%2Fchat/", "/chat"),
        ("/chat/run-1/", "/chat/run-1"),
        ("/login/?next=/chat", "/login?next=/chat"),
        ("/chat/?q=%C3%A9&a=1", "/chat?q=%C3%A9&a=1"),
    ],
)
def test_a_slash_too_many_leads_to_the_page(typed: str, page: str) -> None:
    answer = open_site(demo=True).client.get(typed, headers=BROWSER)
    assert (answer.status_code, answer.location) == (308, page)
    assert open_site(demo=True).client.get("/nowhere/", headers=BROWSER).status_code == 404
    assert open_site(demo=True).client.get(typed).status_code == 404, "a program is told of its mistake"


def test_what_an_error_page_repeats_is_text() -> None:
    answer = open_site().client.get("/users/<script>alert(1)</script>", headers=BROWSER)
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    ("scopes", "shown"),
    [
        ("feed", {"Feed"}),
        ("feed complete", {"Feed", "Chat"}),
        ("feed admin", {"Feed", "People", "Dashboard"}),
        ("feed publish complete admin", {"Feed", "Chat", "Send", "People", "Dashboard"}),
    ],
)
def test_a_page_links_only_to_what_its_user_may_open(scopes: str, shown: set[str]) -> None:
    site = open_site()
    site.start_session(scopes)
    links = re.findall(r"<a href=[^>]*>(\w+)</a>", site.client.get("/").text.partition("</nav>")[0])
    assert set(links) == shown


@pytest.mark.parametrize(
    ("scopes", "page"),
    [("complete", "/chat"), ("admin complete", "/admin/people/"), ("publish admin", "/admin/"), ("publish", None)],
)
def test_the_start_page_leads_somebody_without_a_feed_to_a_page_of_theirs(scopes: str, page: str | None) -> None:
    site = open_site()
    site.start_session(scopes)
    answer = site.client.get("/", headers=BROWSER)
    assert (answer.status_code, answer.headers.get("Location")) == ((302, page) if page else (403, None))


def test_a_page_is_compressed_for_a_browser_that_takes_that() -> None:
    answer = open_site(demo=True).client.get("/login", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Sign in" in gzip.decompress(answer.data).decode()
    assert "Accept-Encoding" in answer.headers["Vary"]
