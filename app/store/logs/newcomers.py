"""New users: messages to topics and everyone from before a user's first visit count as read.

Without this, a new user's badge counts every broadcast that is still kept. It is a setting because it costs one key for
each user, and one more round trip when a worker first sees a user.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

from ...core.settings import Settings
from ...transport.connection import Commands
from ..keys import Keys
from .read_state import ReadState

KNOWN_USERS = 10_000  # users that a worker need not look up again
# A worker does not look a user up again for this part of the time that messages are kept.
KNOWN_PART = 4
VISIT_TIMES = 2  # a visit is remembered this many times as long as messages are kept


class Newcomers:
    """Remembers which users have visited, and marks messages from before a user's first visit as read."""

    def __init__(self, read_state: ReadState, commands: Commands, settings: Settings) -> None:
        self._read_state = read_state
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._is_wanted = settings.new_users_start_read
        self._visit_seconds = settings.history_seconds * VISIT_TIMES
        self._known_seconds = settings.history_seconds / KNOWN_PART
        self._known: OrderedDict[str, float] = OrderedDict()  # user → when to look the user up again

    def welcome(self, user: str, names: Sequence[str]) -> None:
        """Mark old broadcasts as read if this is the user's first visit. Raises `BelfryError` `store_unavailable`.

        Call this before a user reads the logs `names`. The user's own log must come first.
        """
        now = time.monotonic()
        if not self._is_wanted or self._known.get(user, 0.0) > now:
            return
        visited, marks = self._keys.visited(user), self._keys.marks(user)
        was_here, has_marks = self._commands.run([("EXPIRE", visited, self._visit_seconds), ("EXISTS", marks)])
        if not was_here:
            # A user with marks was here before the setting was turned on. The visit is written last: after a failure in
            # between, the next visit counts as the first one. If two first visits happen at once, both mark the same
            # messages.
            if not has_marks:
                self._read_state.start_read(user, names[1:])
            self._commands.run([("SET", visited, "1", "EX", self._visit_seconds)])
        self._known[user] = now + self._known_seconds
        self._known.move_to_end(user)
        if len(self._known) > KNOWN_USERS:
            self._known.popitem(last=False)
