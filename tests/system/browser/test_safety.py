"""What a message says never becomes more than text, and the module runs where a page forbids nearly everything."""

from __future__ import annotations

from playwright.sync_api import ConsoleMessage, Dialog, Route, expect

from tests.browsing import FeedTab, Visitor
from tests.scripted_server import Answer, scripted_server
from tests.servers import Belfry
from tests.waiting import wait_until

MARKUP = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg onload=alert(1)>",
    '"><iframe srcdoc="<script>parent.alert(1)</script>">',
    "<belfry-feed url=//evil.example></belfry-feed>",
    "</style><style>*{display:none}</style>",
    "{{constructor.constructor('alert(1)')()}}",
    "javascript:alert(1)",
    "&lt;b&gt;&#60;img src=x onerror=alert(1)&#62;",
    "\u202e\u2066txt.exe\u2069",
    '<a href="javascript:alert(1)">click</a>',
    "%3Cscript%3Ealert(1)%3C/script%3E",
]
BAD_URLS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "blob:http://127.0.0.1/x",
    "file:///etc/passwd",
    "\x01javascript:alert(1)",
]
STRICT_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"
STRICT_PAGE = (
    '<!doctype html><script type="module" src="/static/belfry.js"></script><belfry-feed id="feed"></belfry-feed>'
)


def test_markup_is_shown_as_it_was_written(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    alerts: list[Dialog] = []
    tab.page.on("dialog", lambda dialog: alerts.append(dialog))  # noqa: PLW0108 - it looks at the signature
    tab.page.set_viewport_size({"width": 1280, "height": 4_000})  # where all rows are in the page
    for text in MARKUP:
        belfry.publish(
            {"to": alice, "title": text, "body": text, "tags": [text[:64]], "actions": [{"label": text, "id": "a"}]}
        )
    tab.expect_titles(*reversed(MARKUP))
    expect(tab.articles.locator(".body")).to_have_text(list(reversed(MARKUP)))
    made = "img, script, iframe, style, belfry-feed, a, [onload], [onerror]"
    assert tab.articles.locator(made).count() == 0
    for text in MARKUP:
        tab.feed.get_by_role("button", name=text, exact=True).click()
    tab.expect_unread(0)
    assert tab.articles.locator(made).count() == 0
    assert not alerts


def test_a_url_that_the_server_let_through_is_no_link(visitor: Visitor) -> None:
    """The server refuses these; a page must not depend on it."""
    messages = [
        {
            "id": f"m{number}",
            "time": "2026-01-01T00:00:00Z",
            "title": str(number),
            "url": url,
            "actions": [{"label": "A", "url": url}],
        }
        for number, url in enumerate([*BAD_URLS, "/good"])
    ]
    page = visitor.context.new_page()
    body = {"messages": messages, "next": None, "unread": len(messages), "revision": 0, "cursor": ""}
    page.route("**/feed?*", lambda route: route.fulfill(json=body))
    page.goto("/")
    tab = FeedTab(page)
    tab.expect_titles(*[str(number) for number in range(len(messages))])
    links = tab.articles.locator("a").evaluate_all("all => all.map((each) => each.getAttribute('href'))")
    assert links, "the last message has a link and an action"
    assert all(link.endswith("/good") for link in links), links


def test_a_link_tells_the_other_side_nothing(tab: FeedTab, belfry: Belfry, alice: str) -> None:
    belfry.publish({"to": alice, "title": "T", "url": "https://example.com/"})
    link = tab.articles.first.get_by_role("link")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(link).to_have_attribute("target", "_blank")


def test_it_runs_under_a_policy_that_forbids_inline_styles_and_unsafe_sinks(
    visitor: Visitor, belfry: Belfry, alice: str
) -> None:
    told: list[ConsoleMessage] = []

    def serve(route: Route) -> None:
        route.fulfill(body=STRICT_PAGE, headers={"Content-Type": "text/html", "Content-Security-Policy": STRICT_POLICY})

    page = visitor.context.new_page()
    page.on("console", lambda line: told.append(line))  # noqa: PLW0108 - it looks at the signature
    page.route("**/strict", serve)
    page.goto("/strict")
    tab = FeedTab(page)
    tab.wait_connected()
    tab.feed.locator(".bell").click()
    belfry.publish({"to": alice, "title": "T", "level": "info", "url": "/", "actions": [{"label": "A", "id": "a"}]})
    tab.expect_titles("T")
    width = "panel => panel.getBoundingClientRect().width"
    wait_until(lambda: tab.feed.locator(".panel").evaluate(width) > 300, what="the styles")
    assert not [line.text for line in told if "Content Security Policy" in line.text]


def test_pages_of_other_origins_may_load_the_module(visitor: Visitor, belfry: Belfry) -> None:
    host_page = Answer(200, b"<!doctype html><link rel=icon href=data:,>", {"Content-Type": "text/html"})
    with scripted_server(host_page) as host:
        page = visitor.context.new_page()
        page.goto(host.url)
        load = "url => import(url).then((module) => Object.keys(module))"
        assert {"BelfryClient", "BelfryFeed"} <= set(page.evaluate(load, f"{belfry.url}/static/belfry.js"))
