"""A completion in one piece, for a caller that waits for it."""

from __future__ import annotations

from gevent.event import Event

from ...core.completion import Answer, CompletionRequest, Gathered, Piece
from ...core.completion.forms import is_whole
from ...core.errors import BelfryError
from .completing import Completing
from .upstream_client import UpstreamClient


class WholeAnswer(Completing):
    """One request and its whole answer, whichever form the upstream sends it in."""

    is_streamed = False

    def __init__(self, client: UpstreamClient, request: CompletionRequest) -> None:
        self._gathered = Gathered()
        self._over = Event()
        self._limit = client.settings.max_answer_bytes
        super().__init__(client, request)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is over within `seconds`."""
        return bool(self._over.wait(seconds))

    def text(self) -> bytes:
        """The answer, when it is over. Raises `BelfryError`."""
        if self._failure is not None:
            raise self._failure
        return self._gathered.text(self.answer.usage).encode()

    def _new_answer(self) -> Answer:
        request = self._request
        return Answer(choices=request.choices, wants_usage=False, prompt_tokens=request.prompt_tokens)

    def _put(self, piece: Piece) -> None:
        if is_whole(piece) and not self.answer.started:
            self._gathered.whole(piece)
        for chunk in self.answer.take(piece):
            self._gathered.add(chunk)
        if self._gathered.size > self._limit:
            raise BelfryError("answer_too_large")

    def _finish(self, noise: str, *, was_cut: bool) -> None:
        for _ in self.answer.finish(noise, was_cut=was_cut):
            pass

    def _ended(self) -> None:
        self._over.set()
