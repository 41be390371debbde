"""Refusals that lie ready as bytes, for where there is no request for Flask yet, or no time for one.

They carry what the application puts on every answer (`cors`, `headers`), so that pages of other origins can read them.
All are made when the application is: a worker without a descriptor could not even import what that takes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from flask import Flask, Response, request

from app.core.errors import BelfryError

SCHEMES: Final = ("http", "https")
_NOBODY: Final = ""  # no origin, or one that is not on the list


class Ready:
    """The answer to `error`, for pages of each of `origins` and for everybody else."""

    def __init__(self, app: Flask, error: BelfryError, origins: Sequence[str]) -> None:
        self._answers = {
            (origin, scheme): _made(app, error, origin, scheme) for origin in (_NOBODY, *origins) for scheme in SCHEMES
        }

    def answer(self, origin: str = _NOBODY, scheme: str = "http") -> bytes:
        """What to write to whom, by the request's `Origin`."""
        return self._answers.get((origin, scheme)) or self._answers[_NOBODY, scheme]


class Refusals(NamedTuple):
    """Those that the worker gives by itself."""

    overloaded: Ready
    no_room: Ready
    no_place: Ready


def _made(app: Flask, error: BelfryError, origin: str, scheme: str) -> bytes:
    sent = {"Origin": origin} if origin else {}
    with app.test_request_context(base_url=f"{scheme}://localhost", headers=sent):
        body = json.dumps(error.problem())
        answer = Response(body, error.status, error.headers, content_type="application/problem+json")
        fields = app.process_response(answer).get_wsgi_headers(request.environ)
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    return f"HTTP/1.1 {answer.status}\r\n{lines}\r\n{body}".encode("latin-1")
