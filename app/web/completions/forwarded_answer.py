"""An answer that goes from the upstream to the client unchanged, whatever its content type."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from flask import Response

from ...core.completion import DONE
from ...core.completion.failure import in_stream
from ...core.completion.json_text import written
from ...core.errors import BelfryError
from ...live.runs.pass_through import PassThrough

LOOK_SECONDS = 0.4  # between two checks whether the client is still connected
LEFT = 499  # nginx's status for a client that closed its request; no client receives it
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
# Proxies must not buffer an event stream.
STREAM_HEADERS = {**HEADERS, "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class ForwardedAnswer:
    """One such answer. `gone` returns whether the client has left.

    `close` is called at the end, even after an error.
    """

    def __init__(self, call: PassThrough, gone: Callable[[], bool], close: Callable[[], None]) -> None:
        self._call = call
        self._gone = gone
        self._close = close
        self._last = b"\n\n"  # the last bytes that were sent

    def response(self) -> Response:
        """Return the answer. Raises `BelfryError` if the upstream refuses."""
        try:
            while not self._call.wait_opened(LOOK_SECONDS):
                if self._gone():
                    self._close()
                    return Response(status=LEFT)
            first = self._call.take(0)
        except BaseException:
            self._close()
            raise
        headers = {**self._call.headers, **(STREAM_HEADERS if self._call.is_stream else HEADERS)}
        answer = Response(self._blocks(first), self._call.status, headers)
        if "Content-Type" not in self._call.headers:
            del answer.headers["Content-Type"]
        answer.call_on_close(self._close)
        return answer

    def _blocks(self, chunks: list[bytes]) -> Iterator[bytes]:
        try:
            while True:
                if chunks:
                    yield self._noted(b"".join(chunks))
                elif self._call.over or self._gone():
                    return
                chunks = self._call.take(LOOK_SECONDS)
        except BelfryError as error:
            if not (self._call.is_stream and self._last.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))):
                # The status was already sent, and the answer's format has no place for Belfry's own text. HTTP clients
                # treat a connection that breaks early as a failure.
                raise ConnectionResetError(errno.ECONNRESET, error.detail) from None
            yield f"data: {written(in_stream(error))}\n\ndata: {DONE}\n\n".encode()

    def _noted(self, block: bytes) -> bytes:
        self._last = (self._last + block)[-4:]
        return block
