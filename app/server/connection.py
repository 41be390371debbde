"""A client's connection, as gunicorn reads and answers it in a gevent worker.

Imported in gunicorn's master, before anything is patched.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from wsgiref.handlers import format_date_time

from gunicorn import SERVER

from ..core.errors import BelfryError

# What gunicorn refuses with a status of its own before there is a request.
_CODE_BY_STATUS = {414: "uri_too_long", 431: "head_too_large"}
DETAIL_MAX = 200  # characters of gunicorn's reason, which may repeat what was sent


class ProblemSocket:
    """A connection that replaces gunicorn's own HTML refusals by a problem (RFC 9457) with the same status."""

    def __init__(self, client: Any, cause: Exception) -> None:
        self._client = client
        self._cause = cause

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, page: bytes) -> None:
        from .. import metrics  # noqa: PLC0415 - the master imports this module, too, before there are metrics

        error = self._error(int(page.split(maxsplit=2)[1]))
        metrics.refused(error.code)
        body = json.dumps(error.problem()).encode()
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._client.sendall(head.encode() + body)

    def _error(self, status: int) -> BelfryError:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return BelfryError("internal_error")
        return BelfryError(_CODE_BY_STATUS.get(status, "bad_request"), str(self._cause)[:DETAIL_MAX])


def head(status: str, lines: str, last: bool = False) -> bytes:
    """The head of an answer, as gunicorn writes it. `lines` are the application's header fields."""
    date = _date(int(time.time()))
    connection = "close" if last else "keep-alive"
    own = f"HTTP/1.1 {status}\r\nServer: {SERVER}\r\nDate: {date}\r\nConnection: {connection}\r\n"
    return f"{own}{lines}\r\n".encode("latin-1")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return format_date_time(second)


def send(client: Any, data: bytes) -> None:
    sent = client.send(data)  # mostly all of it, without the loop and the questions of `sendall`
    if sent < len(data):
        client.sendall(data[sent:])


def end_when_silent(client: Any) -> None:
    """Shut a connection down for reading. The next read returns the bytes that have arrived, then the end.

    So a request that just came in is answered, and an idle connection is closed. On a copy of the descriptor, since
    gevent's sockets fail a read that is under way.
    """
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(client.fileno())) as copy:
        copy.shutdown(socket.SHUT_RD)
