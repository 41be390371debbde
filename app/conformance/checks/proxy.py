"""Checks of the proxy between client and Belfry. Each failure names the configuration line that repairs it."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import urlsplit

import requests

from ..check import Group
from ..probe import NDJSON, Probe
from ..stream import Stream
from ..verdict import FailedError, SkippedError, expect_status, told

GROUP: Final = Group("proxy")
LARGE_BYTES: Final = 2_000_000  # more than nginx allows by default (one megabyte)
STREAMS: Final = 8  # that one user may have open in tabs and devices, or colleagues who share an address
EARLY: Final = 0.9  # part of `patience`; a stream that ends earlier was not ended by this program's own time limit


@GROUP.check("feed", doctor=True)
def buffering(probe: Probe) -> str:
    """The proxy passes on the head and the first event of a stream at once."""
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
        # Belfry sends the first heartbeat of a stream early, at a random time. A whole interval lies before the second.
        silent_since = _wait_for_heartbeat(stream, probe, time.monotonic(), 1)
        _wait_for_heartbeat(stream, probe, silent_since, 2)
    return f"two heartbeats after {time.monotonic() - started:.0f} s"


def _wait_for_heartbeat(stream: Stream, probe: Probe, silent_since: float, count: int) -> float:
    """Wait until `count` heartbeats came, and return when the last one did. Raises `FailedError` or `SkippedError`."""
    try:
        stream.wait_until(lambda _block: stream.count("heartbeat") >= count, "a heartbeat", probe.options.silence)
    except FailedError as failure:
        silent = time.monotonic() - silent_since
        if silent >= EARLY * probe.options.silence:
            raise SkippedError(f"no heartbeat within {probe.options.silence:g} s") from None
        raise FailedError(
            "a heartbeat on an open stream", f"the stream ended after {silent:.1f} s of silence", "read_timeout"
        ) from failure
    return time.monotonic()


@GROUP.check("feed", "publish", doctor=True)
def last_event_id(probe: Probe) -> None:
    """The header `Last-Event-ID` reaches Belfry, so that a browser resumes where it stopped."""
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
    """The header `Host` reaches Belfry unchanged, so that cookies work on the site's own pages."""
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
        raise FailedError("200 for the site's own cookie", "403 cross_site: Belfry received another Host", "host")
    expect_status(seen, 200)


@GROUP.check("feed", doctor=True)
def forwarded_proto(probe: Probe) -> None:
    """Belfry knows that the client came over https, so that cookies are Secure and browsers stay with https."""
    if not probe.deployment.url.startswith("https:"):
        raise SkippedError("the address is not https")
    answer = probe.ask("POST", "/session", "feed")
    expect_status(answer, 201)
    cookie = _cookie(answer)
    probe.ask("DELETE", "/session", headers={"Cookie": cookie})
    if "secure" not in answer.headers["Set-Cookie"].lower():
        raise FailedError(
            "a Secure cookie over https", "a cookie that is not Secure: Belfry was told http", "forwarded_proto"
        )
    # Outside the demo, every cookie is Secure, and only this header tells what Belfry knows.
    if "Strict-Transport-Security" not in answer.headers:
        raise FailedError("Strict-Transport-Security over https", "none: Belfry was told http", "forwarded_proto")


@GROUP.check("publish", doctor=True)
def body_size(probe: Probe) -> None:
    """A batch of two megabytes arrives."""
    body = b'{"padding": "' + b"x" * LARGE_BYTES + b'"}\n'  # refused: nothing is sent
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
    """The pages and their redirects stay below the path, and the pages find their scripts and styles."""
    path = urlsplit(probe.deployment.url).path.rstrip("/")
    if not path:
        return
    page = probe.ask("GET", "/", headers={"Accept": "text/html"})
    to = urlsplit(page.headers.get("Location", path)).path
    if not to.startswith(path):  # to the sign-in
        raise FailedError(f"a redirect below {path}/", f"a redirect to {to}, outside the sub-path", "sub_path")
    if 'href="/static/' in page.text:
        raise FailedError(f"links to {path}/static/", "links to /static/, outside the sub-path", "sub_path")


def _held_back(probe: Probe) -> FailedError:
    return FailedError(
        "the first event at once", f"nothing within {probe.options.patience:g} s: the proxy buffers it", "buffering"
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
