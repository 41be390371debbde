"""The time limits of an upstream's answer, for a stream, a whole answer and a run. Callers pass in the times.

Any byte shows that the upstream is alive, also a byte of a comment. If only comments come, the answer may take
`comments` seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """The limits of one upstream, in seconds."""

    connect: float
    first_token: float
    idle: float
    comments: float  # without a token, while comments come
    whole: float  # for the whole of an answer in one piece
    total: float  # for the whole of any answer
    end: float  # for what may follow the last finish reason


class AnswerDeadline:
    """The deadline of one answer that was requested at the time `now`. `whole`: whether it comes in one piece."""

    def __init__(self, limits: AnswerLimits, now: float, *, whole: bool) -> None:
        self._limits = limits
        self._longest = min(limits.whole, limits.total) if whole else limits.total
        self._began = now
        self._until = now + self._longest
        self._spoke = now
        self._heard = now
        self._pause = math.inf if whole else limits.first_token
        self._comments = math.inf if whole else limits.comments
        self._what = "first token"
        self._is_held = False

    def opened(self, now: float, *, is_stream: bool) -> None:
        """Note that the head of the answer came."""
        self._heard = self._spoke = now
        self._pause, self._comments = (
            (self._limits.first_token, self._limits.comments) if is_stream else (math.inf,) * 2
        )
        if not is_stream:
            self._what = "whole answer"
            self._longest = min(self._longest, self._limits.whole)
            self._until = min(self._until, self._began + self._longest)

    def heard(self, now: float) -> None:
        """Note that bytes came."""
        self._heard = now

    def said(self, now: float) -> None:
        """Note that a token came."""
        self._heard = self._spoke = now
        self._pause, self._comments, self._what = self._limits.idle, self._limits.comments, "token"

    def finished(self) -> None:
        """Note that each choice has its finish reason. What may follow is worth only a short wait."""
        self._pause = self._comments = min(self._limits.end, self._limits.idle)

    def hold(self) -> None:
        """Note that Belfry must wait for the client, so that a pause is not the upstream's fault."""
        self._is_held = True

    def go_on(self, now: float) -> None:
        """Note that the client has read, so that the upstream's time runs again."""
        self._is_held = False
        self._heard = self._spoke = now

    @property
    def deadline(self) -> float:
        """The time at which to give up."""
        pause = math.inf if self._is_held else min(self._heard + self._pause, self._spoke + self._comments)
        return min(self._until, pause)

    def timeout_text(self, now: float) -> str:
        """Return the text that explains why the deadline has passed at `now`."""
        if now >= self._until:
            return f"The upstream's answer was not complete after {self._longest:g} s."
        if now >= self._heard + self._pause:
            return f"The upstream sent no {self._what} in time: nothing came for {self._pause:g} s."
        return f"The upstream sent no {self._what} in time: only comments came for {self._comments:g} s."
