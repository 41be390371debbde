"""The OpenAPI document as a source of requests, sensible and senseless: none of them is answered with a 5xx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app import __version__
from app.core.identity.tokens import SCOPES
from app.web.api.openapi import document
from app.web.api.operations import OPERATIONS
from tests.servers import Belfry
from tests.upstream import Conversation, Upstream, running_upstream, saying

EXAMPLES = 15  # per operation
NEVER_ENDING = {"/stream"}  # see test_injection.py and test_stream.py
PATHS = sorted({operation.path for operation in OPERATIONS} - NEVER_ENDING)


def answer_shortly(conversation: Conversation) -> None:
    """What the request asks for: a stream or one object."""
    if conversation.body.get("stream"):
        saying("Hello")(conversation)
    else:
        conversation.refuse(200, {"object": "chat.completion", "choices": []})


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        upstream.play = answer_shortly
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream) -> Mapping[str, str]:
    return {
        "BELFRY_DEMO": "1",
        "BELFRY_MAX_WAIT_SECONDS": "0",
        "BELFRY_SIGN_INS_PER_MINUTE": "10000",
        "BELFRY_UPSTREAM_URL": upstream.url,
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", PATHS)
def test_no_request_that_the_document_allows_or_forbids_breaks_the_server(belfry: Belfry, path: str) -> None:
    schema: Any = schemathesis.openapi.from_dict(document(__version__))
    token = belfry.token("alice", *SCOPES, topics=["*"])
    operations = [found.ok() for found in schema.get_all_operations()]
    modes = list(schemathesis.GenerationMode)
    cases = [
        operation.as_strategy(generation_mode=mode)
        for operation in operations
        if operation.path == path
        for mode in modes
    ]
    sent = 0

    @given(case=st.one_of(*cases))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        nonlocal sent
        sent += 1
        answer = case.call(
            base_url=belfry.url, headers={"Authorization": f"Bearer {token}"}, allow_redirects=False, timeout=60
        )
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)

    send()
    assert sent


def test_the_document_is_served_as_it_is_tested(belfry: Belfry) -> None:
    assert requests.get(f"{belfry.url}/openapi.json", timeout=60).json() == document(__version__)


def test_the_page_names_every_operation(belfry: Belfry) -> None:
    page = requests.get(f"{belfry.url}/docs", timeout=60)
    assert page.headers["Content-Type"].startswith("text/html")
    assert all(f"{operation.method} {operation.path}" in page.text for operation in OPERATIONS)
