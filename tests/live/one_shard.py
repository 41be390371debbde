"""A store of one shard for a hub in a test: its link is made by the test, and nothing is examined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.live.delivery.link import Subscription


class _Connection:
    def follow(self) -> bool:
        return False


class LoneShard:
    """Both the shard and all shards there are, see `app.transport.shard`."""

    name = ""
    connection = _Connection()
    commands: Any = None

    def __init__(self, subscribe: Callable[[], Subscription]) -> None:
        self.subscribe = subscribe

    def current(self) -> Sequence[Any]:
        return (self,)

    def holder(self, key: str) -> Any:  # noqa: ARG002 - it holds all
        return self

    def slot_of(self, key: str) -> int:  # noqa: ARG002 - they share one
        return 0

    def refresh(self) -> None:
        """Nothing changes."""

    def follow(self, changed: Callable[[], None]) -> None:
        """Nothing changes."""

    def pipeline(self, *, lanes: int = 1, depth: int = 1) -> Any:
        raise NotImplementedError

    def ping(self) -> None:
        """It is there."""
