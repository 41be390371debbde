"""What upstreams say about asking again, and the lists of models that they send."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from app.core.completion.advice import seconds_until, verdict, wait_in
from app.core.completion.models import models_in

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0),
        ({"retry-after": time.asctime(time.gmtime(NOW + 30))}, 30),  # a date without a zone is in UTC
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "7s"}, 7),
        ({"retry-after": "2027-01-15T08:00:30Z"}, 30),
        ({"retry-after": "2027-01-15T09:00:30+01:00"}, 30),
        ({"retry-after": "2027-01-15"}, 0),
        ({"retry-after": "2027-99-99"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "s"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "inf", "retry-after": "3"}, 3),
    ],
)
def test_the_wait_may_be_a_number_a_fraction_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_until(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}], "35"),
        ([{"@type": "type.googleapis.com/google.rpc.QuotaFailure"}, {"retryDelay": "2s"}], "2"),
        ([7, None, {"retryDelay": 5}, {"retryDelay": "soon"}], ""),
        ([{"retryDelay": "0s"}], ""),
        ([{"retryDelay": "86401s"}], ""),
        ({"retryDelay": "2s"}, ""),
        ("2s", ""),
        (None, ""),
    ],
)
def test_the_wait_may_stand_in_the_details_of_an_error(details: object, seconds: str) -> None:
    assert wait_in({"message": "Quota", "details": details}) == seconds


@pytest.mark.parametrize(("text", "said"), [("true", True), (" False ", False), ("", None), ("maybe", None)])
def test_the_verdict_is_true_false_or_nothing(text: str, said: bool | None) -> None:
    assert verdict({"x-should-retry": text}) is said


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"b/c"}]}', ["a", "b/c"]),
        (b'[{"id":"a"}]', ["a"]),
        (b'\xef\xbb\xbf{"data":[{"id":"a"}]}', ["a"]),
        (b'{"data":null}', []),
        (b'{"data":[]}', []),
        (b'{"data":[{"id":"a"},{"object":"model"},7,null,{"id":""}]}', ["a"]),
        (b'{"models":[{"name":"llama3"}]}', ["llama3"]),
        (b'{"data":["a","b"]}', ["a", "b"]),
        (b'{"data":{"a":{"owned_by":"x"}}}', ["a"]),
        (b'{"data":[{"id":"a","price":NaN}]}', ["a"]),
        ('{"data":[{"id":"größer"}]}'.encode("utf-16"), ["größer"]),
        ('{"data":[{"id":"größer"}]}'.encode("utf-16-be"), ["größer"]),
        ('{"data":[{"id":"größer"}]}'.encode("utf-32"), ["größer"]),
        ('{"data":[{"id":"a","description":"größer"}]}'.encode("latin-1"), ["a"]),
        (b'{"data":{"models":[{"id":"a"}]}}', ["a"]),
        (b'{"data":{"data":[{"id":"a"}],"total":1}}', ["a"]),
        (b'{"result":{"models":[]}}', []),
        (b'{"items":[{"id":"a"}]}', ["a"]),
        (b'{"results":[{"name":"a"}]}', ["a"]),
        (b'{"data":null,"models":[{"id":"a"}]}', ["a"]),
        (b'{"data":[],"result":"ok"}', []),
    ],
)
def test_a_list_of_models_is_found_in_every_shape(body: bytes, ids: list[str]) -> None:
    assert list(models_in(body)) == ids


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error":"x"}', b"7", b"\xff"])
def test_what_is_no_list_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        models_in(body)
