"""A completion as a stream of chunks, which a client or a run takes."""

from __future__ import annotations

from collections.abc import Callable

from ...core.completion import CompletionRequest, Piece
from .buffered import Buffered
from .completing import Completing
from .upstream_client import UpstreamClient


class CompletionStream(Completing, Buffered[str]):
    """One request and its streamed answer. `notify` as `Buffered` has it."""

    def __init__(
        self, client: UpstreamClient, request: CompletionRequest, notify: Callable[[], None] | None = None
    ) -> None:
        self._notify = notify
        super().__init__(client, request)

    def _put(self, piece: Piece) -> None:
        for chunk in self.answer.take(piece):
            self._append(chunk.text)

    def _finish(self, noise: str, *, was_cut: bool) -> None:
        for chunk in self.answer.finish(noise, was_cut=was_cut):
            self._append(chunk.text)
