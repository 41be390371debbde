"""Notes whom messages were sent to, so that administrators find them: each user once in a while, after the fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...store.insight.directory import Directory, Known
from .recorder import Recorder

AGAIN_SECONDS = 600.0  # a user who is sent something all the time is noted so often
NOTED_MAX = 20_000  # users remembered as noted
WAITING_MAX = 20_000  # users to be written in one second
USER = "user:"


class Acquaintance:
    """What one worker has noted lately."""

    def __init__(self, directory: Directory, clock: Callable[[], float]) -> None:
        self._recorder: Recorder[Known] = Recorder(directory.write, WAITING_MAX)
        self._clock = clock
        self._noted: set[str] = set()
        self._since = 0.0

    def note(self, logs: Iterable[str]) -> None:
        """Note the users whose logs are among `logs`."""
        now = self._clock()
        if now - self._since > AGAIN_SECONDS or len(self._noted) > NOTED_MAX:
            self._noted, self._since = set(), now
        for name in logs:
            if name not in self._noted and name.startswith(USER):
                self._noted.add(name)
                self._recorder.note(Known(name.removeprefix(USER), now))
