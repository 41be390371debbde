"""What a proxy on the way does to requests and answers. Each failure names the line that mends it."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import urlsplit

import requests

from ..check import Group
from ..probe import NDJSON, Probe
from ..verdict import FailedError, SkippedError, expect_status, told

GROUP: Final = Group("proxy")
LARGE_BYTES: Final = 2_000_000  # more than the limit that nginx has by default, a megabyte
STREAMS: Final = 8  # of one user at a time: tabs, devices, colleagues behind one address
EARLY: Final = 0.9  # of the patience: what ends before is no time-out of this program


@GROUP.check("feed", doctor=True)
def buffering(probe: Probe) -> str:
    """The head and the first event of a stream are passed on at once."""
    started = time.monotonic()
    try:
        with probe.stream() as stream:
            stream.ready()
    except requests.ReadTimeout:
        raise _held_back(probe) from None
    except FailedError as failure:
        if time.monotonic() - started < EARLY * probe.options.patience:
            raise
        raise _held_back(probe) from failure
    return f"{(time.monotonic() - started) * 1_000:.0f} ms"


@GROUP.check("feed", doctor=True)
def read_timeout(probe: Probe) -> str:
    """A silent stream stays open until its heartbeat."""
    started = time.monotonic()
    with probe.stream(seconds=probe.options.silence) as stream:
        stream.ready()
        opened = time.monotonic()
        try:
            stream.wait_until(lambda block: block.type == "heartbeat", "a heartbeat", probe.options.silence)
        except FailedError as failure:
            silent = time.monotonic() - opened
            if silent >= EARLY * probe.options.silence:
                raise SkippedError(f"no heartbeat within {probe.options.silence:g} s") from None
            raise FailedError(
                "a heartbeat on an open stream", f"the end after {silent:.1f} s of silence", "read_timeout"
            ) from failure
    return f"heartbeat after {time.monotonic() - started:.0f} s"


@GROUP.check("feed", "publish", doctor=True)
def last_event_id(probe: Probe) -> None:
    """The header `Last-Event-ID` arrives, so that a browser resumes where it was."""
    cursor = probe.feed()["cursor"]
    probe.send(0)
    with probe.stream(cursor) as stream:
        stream.ready()
        try:
            stream.wait_for_number(0)
        except FailedError:
            raise FailedError(
                "the message after the cursor", "nothing: the header did not arrive", "last_event_id"
            ) from None


@GROUP.check("feed", doctor=True)
def host(probe: Probe) -> None:
    """The header `Host` arrives as it is, so that cookies count for the site's own pages."""
    answer = probe.ask("POST", "/session", "feed")
    expect_status(answer, 201)
    cookie = _cookie(answer)
    address = urlsplit(probe.deployment.url)
    headers = {"Cookie": cookie, "Origin": f"{address.scheme}://{address.netloc.rpartition('@')[2]}"}
    try:
        seen = probe.ask("GET", "/feed", headers=headers)
    finally:
        probe.ask("DELETE", "/session", headers={"Cookie": cookie})
    if seen.status_code == 403 and "cross_site" in seen.text:
        raise FailedError("200 for the site's own cookie", "403 cross_site: another Host arrived", "host")
    expect_status(seen, 200)


@GROUP.check("feed", doctor=True)
def forwarded_proto(probe: Probe) -> None:
    """Belfry knows that the client came over https, so that cookies are Secure."""
    if not probe.deployment.url.startswith("https:"):
        raise SkippedError("the address is not https")
    answer = probe.ask("POST", "/session", "feed")
    expect_status(answer, 201)
    cookie = _cookie(answer)
    probe.ask("DELETE", "/session", headers={"Cookie": cookie})
    if "secure" not in answer.headers["Set-Cookie"].lower():
        raise FailedError("a Secure cookie over https", "one without: Belfry believes in http", "forwarded_proto")


@GROUP.check("publish", doctor=True)
def body_size(probe: Probe) -> None:
    """A batch of two megabytes arrives."""
    body = b'{"padding": "' + b"x" * LARGE_BYTES + b'"}\n'  # one line, which Belfry refuses by itself: nothing is sent
    answer = probe.ask("POST", "/publish", "publish", data=body, headers={"Content-Type": NDJSON})
    if answer.status_code == 413 and "json" not in answer.headers.get("Content-Type", ""):
        raise FailedError("an answer of Belfry", f"{_status(answer)} from the proxy", "body_size")
    expect_status(answer, 200, 413)


@GROUP.check("feed", doctor=True)
def connections(probe: Probe) -> None:
    """Eight streams of one user are open at the same time."""
    for number in range(1, STREAMS + 1):
        answer = probe.ask("GET", "/stream", "feed", stream=True)
        probe.close_later(answer)
        kind = answer.headers.get("Content-Type", "")
        if answer.status_code != 200 and "json" not in kind:
            raise FailedError(
                f"{STREAMS} open streams", f"{_status(answer)} from the proxy for number {number}", "connections"
            )
        expect_status(answer, 200)


@GROUP.check(doctor=True)
def sub_path(probe: Probe) -> None:
    """The pages find their scripts and styles."""
    path = urlsplit(probe.deployment.url).path.rstrip("/")
    if not path:
        return
    page = probe.ask("GET", "/", headers={"Accept": "text/html"})
    if 'href="/static/' in page.text:
        raise FailedError("pages whose files are found", f"files at /static/ instead of {path}/static/", "sub_path")


def _held_back(probe: Probe) -> FailedError:
    return FailedError(
        "the first event at once", f"nothing within {probe.options.patience:g} s: it is held back", "buffering"
    )


def _cookie(answer: requests.Response) -> str:
    """The cookie as a browser sends it back. Raises `FailedError`."""
    cookies = SimpleCookie(answer.headers.get("Set-Cookie", ""))
    if len(cookies) != 1:
        raise FailedError("one cookie", told(answer))
    (cookie,) = cookies.values()
    return f"{cookie.key}={cookie.value}"


def _status(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.reason}"
