"""A request other than chat: the upstream's status, content type and bytes go to the client unchanged."""

from __future__ import annotations

import time
from typing import Final

import requests

from ...core.completion import Forwarded, Meter
from ...core.completion.coding import Decoding
from ...core.errors import BelfryError
from ...core.upstreams import is_passable
from .body_bytes import reader_of
from .buffered import Buffered
from .call import BROKEN
from .upstream_client import UpstreamClient

_PASSED: Final = ("Content-Type", "Content-Disposition")


class PassThrough(Buffered[bytes]):
    """One request and its answer. The answer is not bounded, since only the buffer holds any of it."""

    def __init__(self, client: UpstreamClient, request: Forwarded) -> None:
        self._request: Forwarded | None = request
        self._prompt_tokens = request.prompt_tokens
        self._meter = Meter("", request.prompt_tokens)
        self.status = 200
        super().__init__(client, request.headers, whole=True)

    @property
    def tokens(self) -> int:
        return self._meter.tokens if self._opened_once else 0

    @property
    def is_stream(self) -> bool:
        """Whether the upstream answers with an event stream."""
        return self._meter.is_stream

    def _ask(self) -> requests.Response:
        assert self._request is not None, "asked again after an answer"  # noqa: S101 - for the type checker
        return self._client.forward(self._request)

    def _read_body(self, reply: requests.Response) -> None:
        decoding = Decoding(reply.headers.get("Content-Encoding", ""), finds=False)
        try:
            read = reader_of(reply)
            while received := read():
                self._patience.heard(time.monotonic())
                for plain in decoding.feed(received):
                    self._say(plain)
            for plain in decoding.end():
                self._say(plain)
        except BROKEN:
            raise _broken() from None
        if decoding.was_cut:
            raise _broken()

    def _say(self, plain: bytes) -> None:
        self._heard(said=self._meter.feed(plain))
        self._append(plain)

    def _heard(self, *, said: bool) -> None:
        now = time.monotonic()
        if said and not self._meter.is_json:  # JSON may begin with blanks that only keep the connection open
            self._patience.said(now)
            self._hasten()
        else:
            self._patience.heard(now)

    def _read(self, reply: requests.Response) -> None:
        self._request = None  # its body may be large, and nobody asks again
        self.status = reply.status_code
        self._meter = Meter(reply.headers.get("Content-Type", ""), self._prompt_tokens)
        super()._read(reply)

    def _passed_back(self, reply: requests.Response) -> dict[str, str]:
        headers = {name: reply.headers[name] for name in _PASSED if is_passable(reply.headers.get(name, "\n"))}
        if "Content-Length" in reply.headers and "Content-Encoding" not in reply.headers:
            headers["Content-Length"] = reply.headers["Content-Length"]
        return {**super()._passed_back(reply), **headers}


def _broken() -> BelfryError:
    return BelfryError("upstream_truncated", "The connection to the upstream broke in mid-answer.", retry=False)
