"""What an upstream's refusal says, in whatever shape."""

from __future__ import annotations

from functools import partial

import pytest

from app.core.completion.failure import LOOKED_AT_CHARS, is_final, short, told_in
from tests.hostile import growth

# Each begins something that never ends.
TAGS = ("<", "<a ", "<title", "<title>", "<h1 ", "<script", "<script>", "<style a>", "</script", "<title></h1>", "<>")


@pytest.mark.parametrize(
    ("html", "told"),
    [
        ("<html><head><title>502 Bad\n Gateway</title></head><body>nginx</body></html>", "502 Bad Gateway"),
        ('<h1 class="x">Not <b>found</b></h1><p>more', "Not found"),
        ("<style>p {}</style><script>let a = 1 < 2;</script><p>Sorry.</p>", "Sorry."),
        ("<title>never ends <p>Sorry", "never ends Sorry"),
        ("1 < 2", "1 < 2"),
    ],
)
def test_of_html_the_title_is_told_or_the_text(html: str, told: str) -> None:
    assert short(html) == told
    assert told_in(html.encode())["message"] == told


@pytest.mark.parametrize("tag", TAGS)
def test_reading_takes_time_in_proportion_to_the_length(tag: str) -> None:
    texts = [tag * (size // len(tag)) for size in (LOOKED_AT_CHARS // 4, LOOKED_AT_CHARS)]
    few, many = [growth.seconds(partial(short, text)) for text in texts]
    assert many < growth.CHEAP_SECONDS or many < growth.GROWTH_MAX * few


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    text = "<" * 16_000_000
    assert growth.seconds(partial(short, text)) < growth.CHEAP_SECONDS


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"errors":{"messages":["is bad","too long"]}}', "too long"),
        (b'{"err":"No such model"}', "No such model"),
        (b'{"ModelErrorException":{"message":"Boom"}}', "Boom"),
        (b'{"error":{"code":"model_not_found"}}', "model_not_found"),
        ('{"error":{"message":"zu groß"}}'.encode("utf-16"), "zu groß"),
        ('{"error":{"message":"zu groß"}}'.encode("utf-16-le"), "zu groß"),
        ('{"detail":"zu groß"}'.encode("utf-16-be"), "zu groß"),
        ('{"error":"zu groß"}'.encode("utf-32"), "zu groß"),
        (b'\xef\xbb\xbf{"message":"too long"}', "too long"),
    ],
)
def test_a_reason_in_an_unforeseen_form_is_told_as_it_came(body: bytes, told: str) -> None:
    assert told in told_in(body)["message"]


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"true", b"[]"])
def test_a_body_that_says_nothing_has_no_reason(body: bytes) -> None:
    assert told_in(body).get("message", "") == ""


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "insufficient_user_quota",
        "INSUFFICIENT_BALANCE",
        "billing_not_active",
        "Arrearage",
        "payment_required",
    ],
)
def test_an_account_that_cannot_pay_is_not_asked_again(code: str) -> None:
    assert is_final({"code": code})
    assert is_final({"type": code, "code": None})


@pytest.mark.parametrize("code", [429, None, "rate_limit_exceeded", "tokens", "RESOURCE_EXHAUSTED", "quota_per_minute"])
def test_a_limit_that_passes_is_not_final(code: object) -> None:
    assert not is_final({"code": code, "type": "requests"})
