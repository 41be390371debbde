"""The two ways in which a check does not pass (failed, skipped), and the comparisons that make it fail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import requests

LIMITS = frozenset({429, 502, 503, 504})  # what a proxy answers that has too much to do, or reaches no server
SHOWN = 160  # characters of an answer that a report shows
NUMBERS_SHOWN = 5
_TITLE = re.compile(r"<title>([^<]{1,100})</title>", re.IGNORECASE)
_PAGES = {413: "body_size", 429: "connections", 502: "upstream", 503: "connections", 504: "upstream"}


class FailedError(Exception):
    """The deployment breaks a promise. `fault` is a key of `remedies.REMEDIES` if the cause is known."""

    def __init__(self, expected: str, got: object, fault: str = "") -> None:
        self.fault = fault
        self.expected = expected
        self.got = got if isinstance(got, str) else repr(got)
        super().__init__(f"expected {self.expected}, got {self.got}")


class SkippedError(Exception):
    """The check is not possible here. The text says what it needs."""


def expect(holds: object, expected: str, got: object) -> None:
    """Raises `FailedError` unless `holds`."""
    if not holds:
        raise FailedError(expected, got)


def expect_equal(expected: object, got: object, what: str) -> None:
    """Raises `FailedError` unless both are equal."""
    expect(expected == got, f"{what} {expected!r}", got)


def expect_status(answer: requests.Response, *statuses: int) -> None:
    """Raises `FailedError` unless the answer has one of `statuses`."""
    if answer.status_code not in statuses:  # a body is read only here, since it may be an endless stream
        raise FailedError(" or ".join(map(str, statuses)), told(answer), _fault_of_page(answer))


def expect_from_belfry(answer: requests.Response, expected: str, fault: str) -> None:
    """Raises `FailedError` unless the answer is JSON, as all of Belfry's own are.

    The fault is `fault`, unless the status says that the proxy has a limit or reaches no server.
    """
    if "json" not in answer.headers.get("Content-Type", ""):
        limited = answer.status_code in LIMITS and fault != "request_rate"
        raise FailedError(expected, told(answer), _PAGES[answer.status_code] if limited else fault)


def expect_problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The members of a refusal. Raises `FailedError` unless it has this status and code, in the form of RFC 9457."""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0]
    expected = f"{status} {code} as application/problem+json"
    if (answer.status_code, media_type) != (status, "application/problem+json"):
        raise FailedError(expected, told(answer))
    problem = json_object(answer)
    expect(problem.get("code") == code, expected, told(answer))
    missing = {"type", "title", "status", "detail"} - problem.keys()
    expect(not missing, "the members type, title, status, detail and code", f"{sorted(missing)} missing")
    expect_equal(status, problem["status"], "a member status of")
    return problem


def json_object(answer: requests.Response) -> dict[str, Any]:
    """The body as a JSON object. Raises `FailedError`."""
    try:
        found = answer.json()
    except ValueError:
        raise FailedError("JSON", told(answer)) from None
    expect(isinstance(found, dict), "a JSON object", told(answer))
    members: dict[str, Any] = found
    return members


def expect_header(headers: Mapping[str, str], name: str, *words: str) -> None:
    """Raises `FailedError` unless the header holds each of `words`, in any order and case."""
    got = headers.get(name, "")
    parts = {part.strip().lower() for part in got.replace(";", ",").split(",")}
    expect(parts >= set(words), f"{name}: {', '.join(words)}", got or "none")


def expect_sequence(expected: Sequence[int], got: Sequence[int]) -> None:
    """Raises `FailedError` unless both are equal. Its text says which messages are lost, doubled or out of order."""
    if list(expected) != list(got):
        lost = [number for number in expected if number not in got]
        doubled = sorted({number for number in got if got.count(number) > 1})
        foreign = [number for number in got if number not in expected]
        told = {"lost": lost, "twice": doubled, "out of place": foreign}
        faults = [f"{_few(numbers)} {fault}" for fault, numbers in told.items() if numbers]
        raise FailedError(f"{len(expected)} messages once and in order", "; ".join(faults) or f"order {_few(got)}")


def told(answer: requests.Response) -> str:
    """A short description of an answer, for a report."""
    media_type = answer.headers.get("Content-Type", "no content type")
    if media_type.startswith("text/html"):
        title = _TITLE.search(answer.text)
        return f"{answer.status_code}, an HTML page from a proxy: {title[1].strip() if title else 'without a title'}"
    text = "" if media_type.startswith("text/event-stream") else f": {answer.text[:SHOWN]}"
    return f"{answer.status_code} {media_type}{text}"


def _fault_of_page(answer: requests.Response) -> str:
    """The likely cause of an HTML error page, which comes from a proxy: Belfry itself refuses with JSON."""
    is_page = answer.headers.get("Content-Type", "").startswith("text/html")
    return _PAGES.get(answer.status_code, "") if is_page else ""


def _few(numbers: Sequence[int]) -> str:
    more = " …" if len(numbers) > NUMBERS_SHOWN else ""
    return f"{', '.join(map(str, numbers[:NUMBERS_SHOWN]))}{more}"
