"""Whether a refusal of an upstream may mean the `stream_options` that Belfry asked for."""

from __future__ import annotations

import pytest

from app.core.errors import BelfryError
from app.live.runs.upstream_client import _may_mean_options

SENT = "{'model': 'm', 'messages': [{'content': 'unknown extra'}], 'stream_options': {'include_usage': True}}"


def refusal(status: int, detail: str) -> BelfryError:
    error = BelfryError("upstream_failed", detail, upstream={"message": detail})
    error.status = status
    return error


@pytest.mark.parametrize(
    "detail",
    [
        f"create() got an unexpected keyword argument 'stream_options', called with {SENT}",
        f"Extra inputs are not permitted: {SENT}",
        f"body.stream_options: Extra inputs are not permitted in {SENT}",
        f'json: unknown field "stream_options" in {SENT}',
        f"Unrecognized request argument supplied: stream_options. The request was {SENT}",
        "stream_options\n  Extra inputs are not permitted [type=extra_forbidden, input_value={'include_usage': True}]",
        "The stream_options are not supported.",
    ],
)
def test_an_error_that_rejects_the_options_means_them(detail: str) -> None:
    assert _may_mean_options(refusal(500, detail), None)
    assert _may_mean_options(refusal(400, detail), takes_options=True)


@pytest.mark.parametrize("detail", [f"Boom in {SENT}", f"Unexpected error in {SENT}", f"Unknown server error: {SENT}"])
def test_an_error_that_only_repeats_the_request_does_not_mean_them(detail: str) -> None:
    assert not _may_mean_options(refusal(500, detail), None)
