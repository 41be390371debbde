"""One catalogue of refusals, each a problem of RFC 9457."""

from __future__ import annotations

import re
from http import HTTPStatus

from app.core.errors import CATALOGUE, BelfryError


def test_every_code_has_a_real_error_status_and_a_title() -> None:
    for code, (status, title) in CATALOGUE.items():
        assert re.fullmatch(r"[a-z_]+", code)
        assert HTTPStatus(status) >= HTTPStatus.BAD_REQUEST
        assert title


def test_a_problem_has_the_members_that_the_contract_names() -> None:
    problem = BelfryError("id_reused", "Said before.", id="m1").problem()
    assert problem == {
        "type": "urn:belfry:error:id_reused",
        "title": "The message id was used before with other content",
        "status": 409,
        "detail": "Said before.",
        "code": "id_reused",
        "id": "m1",
    }


def test_without_a_detail_the_title_stands_in() -> None:
    assert BelfryError("not_found").problem()["detail"] == "There is nothing here"
