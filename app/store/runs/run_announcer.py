"""Notifies a user when a run ended while nobody watched it.

The notification's `url` leads to the run, or to the conversation that the run answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

from ... import metrics
from ...core import message
from ..logs.publisher import Publisher
from .runs import Ending, RunName


class RunAnnouncer:
    """Publishes notifications about runs to users' feeds."""

    def __init__(self, publisher: Publisher, clock: Callable[[], float]) -> None:
        self._publisher = publisher
        self._clock = clock

    def announce(self, name: RunName, ending: Ending, conversation: str = "") -> None:
        """Notify the user, once per run. `conversation` is the conversation that the run answers."""
        failed = ending.status == "failed"
        body = {
            "to": name.user,
            "id": f"run:{name.id}",
            "title": "Your answer could not be finished" if failed else "Your answer is ready",
            "level": "error" if failed else "success",
            "url": f"/chat/{quote(conversation or name.id, safe='')}",
            "data": {"run": name.id} | ({"conversation": conversation} if conversation else {}),
        }
        parsed = message.parse(json.dumps(body).encode(), now=self._clock(), new_id="", max_recipients=1)
        (published,) = self._publisher.publish([parsed])
        metrics.TALLY.messages += not published.duplicate  # several workers may find the same dead producer
