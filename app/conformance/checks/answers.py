"""Checks that the proxy lets requests and answers through as they are: no cache, no pages and no limits of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import time as now
from typing import Final

from ..check import Group
from ..probe import NDJSON, Probe
from ..verdict import FailedError, SkippedError, expect_from_belfry, expect_status, told

GROUP: Final = Group("proxy")
OFTEN: Final = 40  # requests in a row, as a page with several tabs and an unstable network may send them
HEAD_BYTES: Final = 7_000  # of a cookie header; Belfry takes 32 KiB, nginx 8 KiB a line unless it is told otherwise
CLOCK_SECONDS: Final = 30.0
FOREIGN: Final = "https://doctor.invalid"  # RFC 2606: a name that nobody has


@GROUP.check("feed", doctor=True)
def error_pages(probe: Probe) -> None:
    """A refusal of Belfry arrives as it is: clients read the code in its JSON."""
    answers = [probe.ask("GET", "/no/such/address", headers={"Accept": "application/json"})]
    answers.append(probe.ask("GET", "/feed", "feed", params={"limit": "none"}))
    for answer in answers:
        expect_from_belfry(answer, "a refusal of Belfry as application/problem+json", "error_pages")


@GROUP.check("feed", doctor=True)
def methods(probe: Probe) -> None:
    """The methods DELETE, HEAD and OPTIONS reach Belfry."""
    deleted = probe.ask("DELETE", f"/feed/{probe.prefix}none", "feed")
    expect_from_belfry(deleted, "Belfry's 404 for DELETE", "methods")
    for method in ("HEAD", "OPTIONS"):
        answer = probe.ask(method, "/feed", "feed")
        if answer.status_code != 200:
            raise FailedError(f"200 for {method}", str(answer.status_code), "methods")


@GROUP.check("feed", "publish", doctor=True)
def cache(probe: Probe) -> None:
    """A feed that is read twice shows what came meanwhile: nobody on the way keeps answers."""
    before = probe.feed(limit=5)
    probe.send(0)
    answer = probe.ask("GET", "/feed", "feed", params={"limit": 5})
    expect_status(answer, 200)
    if 0 not in probe.numbers_in(answer.json()) or "no-store" not in answer.headers.get("Cache-Control", ""):
        seen = "the answer of before" if answer.json() == before else answer.headers.get("Cache-Control", "none")
        raise FailedError("the new message, with Cache-Control: no-store", seen, "cache")


@GROUP.check("feed", "publish", doctor=True)
def query(probe: Probe) -> None:
    """The query of an address reaches Belfry: new streams resume by it, and tickets stand in it."""
    cursor = probe.feed()["cursor"]
    probe.send(0)
    with probe.stream(params={"last_event_id": cursor}) as stream:
        stream.ready()
        try:
            stream.wait_for_number(0)
        except FailedError:
            raise FailedError("the message after the cursor", "nothing: the query did not arrive", "query") from None


@GROUP.check("feed", doctor=True)
def often(probe: Probe) -> None:
    """Forty requests in a row are answered: the proxy has no stricter limit than Belfry."""
    for number in range(1, OFTEN + 1):
        answer = probe.ask("GET", "/feed", "feed", params={"limit": 1})
        expect_from_belfry(answer, f"{OFTEN} answers, also number {number}", "request_rate")
        expect_status(answer, 200)


@GROUP.check("feed", doctor=True)
def head_size(probe: Probe) -> None:
    """A request with 7 kB of headers arrives: tokens with many topics and a site's other cookies are long."""
    padding = "; ".join([f"padding{number}={'x' * 1_000}" for number in range(HEAD_BYTES // 1_000)])
    answer = probe.ask("GET", "/feed", "feed", headers={"Cookie": padding})
    expect_from_belfry(answer, "an answer of Belfry", "head_size")
    expect_status(answer, 200)


@GROUP.check("publish", doctor=True)
def content(probe: Probe) -> None:
    """A message with markup and SQL in it arrives: no filter on the way takes it for an attack."""
    text = "<script>alert(1)</script> ' OR 1=1; DROP TABLE users; -- ../../etc/passwd"
    line = {"to": "", "title": text}  # refused by Belfry: nobody gets it
    answer = probe.ask("POST", "/publish", "publish", json=line)
    expect_from_belfry(answer, "an answer of Belfry", "content_filter")


@GROUP.check("publish", doctor=True)
def chunked(probe: Probe) -> None:
    """A body without a length arrives, as programs send it that make it while they send."""
    lines = iter([b'{"to": ""}\n'])  # refused by Belfry: nobody gets it
    answer = probe.ask("POST", "/publish", "publish", data=lines, headers={"Content-Type": NDJSON})
    expect_from_belfry(answer, "an answer of Belfry", "chunked")


@GROUP.check(doctor=True)
def static_files(probe: Probe) -> None:
    """The element's module arrives as JavaScript that pages of any origin may load."""
    answer = probe.ask("GET", "/static/belfry.js")
    kind = answer.headers.get("Content-Type", "")
    if answer.status_code != 200 or "javascript" not in kind:
        raise FailedError("200 text/javascript for /static/belfry.js", told(answer)[:80], "static_files")
    _expect_one_origin(answer.headers, {"*"})


@GROUP.check("feed", doctor=True)
def cors(probe: Probe) -> None:
    """Belfry alone decides which pages of other origins may read answers."""
    allowed = {"", FOREIGN}  # the second one where BELFRY_CORS_ORIGINS allows everyone
    _expect_one_origin(probe.ask("GET", "/feed", "feed", headers={"Origin": FOREIGN}).headers, allowed)
    asked = {"Origin": FOREIGN, "Access-Control-Request-Method": "GET"}
    _expect_one_origin(probe.ask("OPTIONS", "/feed", headers=asked).headers, allowed)
    origin = probe.options.origin
    if origin:
        _expect_one_origin(probe.ask("GET", "/feed", "feed", headers={"Origin": origin}).headers, {origin})


@GROUP.check("feed", "publish", doctor=True)
def clock(probe: Probe) -> str:
    """The server's clock agrees with this machine's, so that tokens are valid when they should be."""
    probe.send(0)
    times = [message["time"] for message in probe.feed()["messages"] if message["id"].startswith(probe.prefix)]
    if not times:
        raise SkippedError("the message is not in the feed")
    ahead = datetime.fromisoformat(times[0]).timestamp() - now()
    if abs(ahead) > CLOCK_SECONDS:
        raise FailedError(f"a difference of at most {CLOCK_SECONDS:g} s", f"the server's is {ahead:+.0f} s", "clock")
    return f"{ahead:+.1f} s"


def _expect_one_origin(headers: Mapping[str, str], allowed: set[str]) -> None:
    """Raises `FailedError` unless the origin that may read an answer is one of `allowed`; empty stands for none."""
    got = headers.get("Access-Control-Allow-Origin", "")
    if got not in allowed:
        expected = " or ".join(sorted(each or "none" for each in allowed))
        raise FailedError(f"Access-Control-Allow-Origin: {expected}", got or "none", "cors")
