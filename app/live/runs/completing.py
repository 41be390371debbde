"""A chat completion: reads the upstream's body piece by piece and checks each piece."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests

from ...core.completion import Answer, Body, CompletionRequest, Piece
from ...core.completion.coding import Decoding
from .body_bytes import reader_of
from .call import BROKEN, Call, UpstreamTimeoutError, drain
from .upstream_client import UpstreamClient


class Completing(Call):
    """Asks and reads. `is_streamed`: the upstream is asked for a stream."""

    is_streamed = True

    def __init__(self, client: UpstreamClient, request: CompletionRequest) -> None:
        self._request = request
        self.answer = self._new_answer()
        super().__init__(client, request.headers, whole=not self.is_streamed)

    # For those who derive from this

    def _put(self, piece: Piece) -> None:
        """One piece as the upstream sent it."""
        raise NotImplementedError

    def _finish(self, noise: str, *, was_cut: bool) -> None:
        """The body has ended. Raises `BelfryError` unless the answer is whole."""
        raise NotImplementedError

    def _new_answer(self) -> Answer:
        request = self._request
        return Answer(choices=request.choices, wants_usage=request.wants_usage, prompt_tokens=request.prompt_tokens)

    @property
    def tokens(self) -> int:
        return self.answer.tokens if self._opened_once or self.answer.started else 0

    # The greenlet

    def _ask(self) -> requests.Response:
        return self._client.complete(self._request, stream=self.is_streamed)

    def _is_stream(self, content_type: str) -> bool:
        return super()._is_stream(content_type) or (self.is_streamed and "json" not in content_type)

    def _read_body(self, reply: requests.Response) -> None:
        body = Body(reply.headers.get("Content-Type", ""), self._client.settings.max_answer_bytes)
        was_cut = False
        try:
            was_cut = self._take_all(reply, body)
        except BROKEN:
            was_cut = True
        except UpstreamTimeoutError:
            if not self.answer.may_end:
                raise
        self._finish(body.noise, was_cut=was_cut)
        self._end()
        if self.answer.ended and not was_cut:
            drain(reply)

    def _take_all(self, reply: requests.Response, body: Body) -> bool:
        """Read to the end, which the upstream may tell before its connection does. Return whether a part is missing."""
        decoding = Decoding(reply.headers.get("Content-Encoding", ""), finds=True)
        read = reader_of(reply)
        while received := read():
            now = time.monotonic()
            self._patience.heard(now)
            for plain in decoding.feed(received):
                self._take_some(body.feed(plain), now)
                if self.answer.ended:
                    return False
        for plain in decoding.end():
            self._take_some(body.feed(plain), time.monotonic())
        if not decoding.was_cut:
            self._take_some(body.end(), time.monotonic())
        return decoding.was_cut

    def _take_some(self, pieces: Iterator[Piece], now: float) -> None:
        for piece in pieces:
            self._take(piece, now)
            if self.answer.ended:
                return

    def _take(self, piece: Piece, now: float) -> None:
        is_first = not self.answer.started
        self._put(piece)
        if self.answer.may_end:
            self._patience.finished()
            self._hasten()
        elif piece.is_chunk:
            self._patience.said(now)
            if is_first:  # from here on it may pause for less long
                self._hasten()
