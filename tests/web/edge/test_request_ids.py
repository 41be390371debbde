"""Ids of requests come back as they are, if they are well-formed; anything else is ignored."""

from __future__ import annotations

from typing import Any

import pytest

from app.web.edge import request_ids

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_well_formed_ids_are_given_back() -> None:
    environ: dict[str, Any] = {"HTTP_X_REQUEST_ID": "6b1f-7:a/b", "HTTP_TRACEPARENT": TRACE}
    assert request_ids.fields(environ) == [("X-Request-Id", "6b1f-7:a/b"), ("traceparent", TRACE)]
    assert request_ids.told(environ) == f" X-Request-Id=6b1f-7:a/b traceparent={TRACE}"


@pytest.mark.parametrize("sent", ["", "a b", "a\r\nSet-Cookie: x=y", "<script>", "x" * 129, "ä", "a\x00"])
def test_a_request_id_that_is_too_long_or_has_other_characters_is_ignored(sent: str) -> None:
    assert request_ids.fields({"HTTP_X_REQUEST_ID": sent}) == []


@pytest.mark.parametrize(
    "sent",
    [
        TRACE.upper(),
        TRACE[:-1],
        f"{TRACE}-00",
        f"ff{TRACE[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        f"{TRACE}\n",
    ],
)
def test_a_traceparent_that_trace_context_calls_invalid_is_ignored(sent: str) -> None:
    assert request_ids.fields({"HTTP_TRACEPARENT": sent}) == []
