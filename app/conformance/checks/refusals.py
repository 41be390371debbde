"""Every refusal is `application/problem+json`, for every client and every route."""

from __future__ import annotations

from typing import Final

from ..check import Group
from ..probe import Probe
from ..verdict import expect, expect_problem

GROUP: Final = Group("refusals")


@GROUP.check()
def not_found(probe: Probe) -> None:
    """An unknown address is 404."""
    expect_problem(probe.ask("GET", "/no/such/address"), 404, "not_found")


@GROUP.check()
def method(probe: Probe) -> None:
    """A wrong method is 405 and names the right ones."""
    answer = probe.ask("PUT", "/publish")
    expect_problem(answer, 405, "method_not_allowed")
    expect("POST" in answer.headers.get("Allow", ""), "Allow: POST", answer.headers.get("Allow", "none"))


@GROUP.check(doctor=True)
def no_credential(probe: Probe) -> None:
    """Without a credential a stream is 401 with a challenge, never a redirect to a sign-in."""
    answer = probe.ask("GET", "/stream", headers={"Accept": "text/event-stream"})
    expect_problem(answer, 401, "token_missing")
    challenge = answer.headers.get("WWW-Authenticate", "")
    expect(challenge.startswith("Bearer"), "WWW-Authenticate: Bearer", challenge or "none")


@GROUP.check()
def bad_token(probe: Probe) -> None:
    """A token that nobody signed is 401."""
    expect_problem(probe.deployment.ask("GET", "/feed", "not.a.token"), 401, "token_invalid")


@GROUP.check()
def expired_token(probe: Probe) -> None:
    """A token whose time is over is 401, by a code of its own."""
    token = probe.credentials.sign(probe.user, "feed", seconds=-60)
    expect_problem(probe.deployment.ask("GET", "/feed", token), 401, "token_expired")


@GROUP.check()
def scope(probe: Probe) -> None:
    """A token without the scope is 403."""
    token = probe.credentials.sign(probe.user, "feed")
    answer = probe.deployment.ask("POST", "/publish", token, json=probe.message(0))
    expect_problem(answer, 403, "scope_missing")


@GROUP.check()
def recipient(probe: Probe) -> None:
    """A publisher addresses only those whom its token names."""
    token = probe.credentials.sign(probe.user, "publish", to=["user:somebody-else"])
    answer = probe.deployment.ask("POST", "/publish", token, json=probe.message(0))
    expect_problem(answer, 403, "target_forbidden")
