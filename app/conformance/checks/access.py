"""Tickets and cookies, and which pages of other origins may use them."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Final

import requests

from ..check import Group
from ..probe import Probe
from ..verdict import SkippedError, expect, expect_problem, expect_status, json_object

GROUP: Final = Group("access")
FOREIGN: Final = "https://conformance.invalid"  # RFC 2606: a name that nobody has
TICKET_SECONDS: Final = 60


@GROUP.check("feed")
def ticket(probe: Probe) -> None:
    """A ticket opens a stream without any other credential."""
    with probe.events("/stream", "", params={"ticket": _ticket(probe)}) as stream:
        expect(stream.ready()["user"] == probe.user, f"the stream of {probe.user!r}", stream.ready())


@GROUP.check("feed")
def ticket_once(probe: Probe) -> None:
    """A ticket is good for one use."""
    ticket = _ticket(probe)
    with probe.events("/stream", "", params={"ticket": ticket}) as stream:
        stream.ready()
    expect_problem(probe.ask("GET", "/stream", params={"ticket": ticket}), 401, "ticket_invalid")


@GROUP.check("feed")
def session(probe: Probe) -> None:
    """A token is exchanged for a cookie that scripts can't read, which is worth nothing after its end."""
    cookie = _start_session(probe)
    try:
        expect_status(probe.ask("GET", "/feed", headers={"Cookie": cookie}), 200)
    finally:
        expect_status(probe.ask("DELETE", "/session", headers={"Cookie": cookie}), 204)
    probe.expect_withdrawn(headers={"Cookie": cookie})


@GROUP.check("feed")
def cross_site(probe: Probe) -> None:
    """The cookie doesn't count for the pages of other sites."""
    cookie = _start_session(probe)
    headers = {"Cookie": cookie, "Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}
    try:
        expect_problem(probe.ask("GET", "/stream", headers=headers), 403, "cross_site")
    finally:
        probe.ask("DELETE", "/session", headers={"Cookie": cookie})


@GROUP.check("feed")
def cors_closed(probe: Probe) -> None:
    """Another origin's pages read nothing unless the settings allow them."""
    answer = probe.ask("GET", "/feed", "feed", headers={"Origin": FOREIGN})
    preflight = _preflight(probe, FOREIGN)
    for each in (answer, preflight):
        allowed = each.headers.get("Access-Control-Allow-Origin")
        expect(allowed is None, "no Access-Control-Allow-Origin", allowed)


@GROUP.check("feed")
def cors_open(probe: Probe) -> None:
    """Pages of an allowed origin may send a token and a cursor."""
    origin = probe.options.origin
    if not origin:
        raise SkippedError("needs --origin, one that the deployment allows")
    _expect_allowed(probe.ask("GET", "/feed", "feed", headers={"Origin": origin}), origin)
    preflight = _preflight(probe, origin)
    _expect_allowed(preflight, origin)
    allowed = {name.strip().lower() for name in preflight.headers.get("Access-Control-Allow-Headers", "").split(",")}
    expect(allowed >= {"authorization", "last-event-id"}, "both headers allowed", sorted(allowed))


def _ticket(probe: Probe) -> str:
    answer = probe.ask("POST", "/tickets", "feed")
    expect_status(answer, 201)
    sold = json_object(answer)
    expect(0 < sold["expires_in"] <= TICKET_SECONDS, f"a ticket for at most {TICKET_SECONDS} s", sold["expires_in"])
    return str(sold["ticket"])


def _start_session(probe: Probe) -> str:
    """The cookie as a browser would send it back."""
    answer = probe.ask("POST", "/session", "feed")
    expect_status(answer, 201)
    cookies = SimpleCookie(answer.headers.get("Set-Cookie", ""))
    expect(len(cookies) == 1, "one cookie", list(cookies))
    (cookie,) = cookies.values()
    expect(cookie["httponly"] and cookie["samesite"].lower() in {"lax", "strict"}, "HttpOnly and SameSite", cookie)
    expect(cookie["secure"] or not probe.deployment.url.startswith("https:"), "a Secure cookie over https", cookie)
    return f"{cookie.key}={cookie.value}"


def _preflight(probe: Probe, origin: str) -> requests.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,last-event-id",
    }
    return probe.ask("OPTIONS", "/stream", headers=headers)


def _expect_allowed(answer: requests.Response, origin: str) -> None:
    got = {name: answer.headers.get(f"Access-Control-Allow-{name}") for name in ("Origin", "Credentials")}
    expect(got == {"Origin": origin, "Credentials": "true"}, f"{origin} allowed, with credentials", got)
    expect("origin" in answer.headers.get("Vary", "").lower(), "Vary: Origin", answer.headers.get("Vary", "none"))
