"""Presence: which users are connected now.

Redis knows whether a user is connected. A worker subscribes to the user's channel with the first connection and
unsubscribes after the last one. If a worker dies, its subscriptions end. The workers report the details of each
connection under a lease. If a worker dies, its report expires with the lease.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.settings import Settings
from ...core.wire.frames import TABS, WHEREABOUTS, compact, compact_bytes
from ...transport.connection import Command, Commands
from ..keys import Keys, user_log
from .directory import Directory

USERS_PER_COMMAND = 500

# A connection as JSON: id, since (RFC 3339), address, agent, tabs (the number of browser tabs that share it, null if
# nobody reported it), topics, and places (log name → epoch.offset at the time of the report).
Connection = dict[str, Any]


class PresenceStore:
    """Reads and writes what all workers report about their connections."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._lease_seconds = settings.lease_seconds
        self._directory = Directory(commands, settings)

    def renew(self, worker: str, changed: Mapping[str, Sequence[Connection]], now: float) -> bool:
        """Renew the worker's lease, and write the connections of the users whose connections changed.

        Users with connections become known users. Returns False if the store had nothing of this worker any more. The
        worker must then report everything again.
        """
        key = self._keys.presence_of(worker)
        present = [(user, compact_bytes(connections)) for user, connections in changed.items() if connections]
        absent = [user for user, connections in changed.items() if not connections]
        commands: list[Command] = [("EXISTS", key)]
        for at in range(0, len(present), USERS_PER_COMMAND):
            pairs = present[at : at + USERS_PER_COMMAND]
            commands.append(("HSET", key, *[text for pair in pairs for text in pair]))
        commands += [
            ("HDEL", key, *absent[at : at + USERS_PER_COMMAND]) for at in range(0, len(absent), USERS_PER_COMMAND)
        ]
        commands += [
            ("EXPIRE", key, self._lease_seconds),
            ("ZADD", self._keys.workers, now + self._lease_seconds, worker),
            ("ZREMRANGEBYSCORE", self._keys.workers, "-inf", now),
            *self._directory.remember([user for user, _ in present], now, visited=True),
        ]
        return bool(self._commands.run(commands)[0])

    def end(self, worker: str) -> None:
        """Forget a worker that stops."""
        self._commands.run([("DEL", self._keys.presence_of(worker)), ("ZREM", self._keys.workers, worker)])

    def online(self, users: Sequence[str]) -> list[bool]:
        """Return for each of `users` whether the user is connected at this moment."""
        (reply,) = self._commands.run([("PUBSUB", "NUMSUB", *[self._keys.live(user_log(user)) for user in users])])
        return [count > 0 for count in reply[1::2]]

    def connections(self, users: Sequence[str]) -> list[list[Connection]]:
        """Return the connections of each of `users`, as the workers last reported them."""
        replies = self._commands.run([("HMGET", key, *users) for key in self._leased()] or [("PING",)])
        if not isinstance(replies[0], list):
            return [[] for _ in users]
        return [
            [each for told in by_worker if told for each in json.loads(told)]
            for by_worker in zip(*replies, strict=True)
        ]

    def everyone(self, limit: int) -> dict[str, list[Connection]]:
        """Return the connections of about `limit` users, as the workers last reported them.

        There may be a few more users.
        """
        found: defaultdict[str, list[Connection]] = defaultdict(list)
        for key in self._leased():
            cursor = 0
            while len(found) < limit:
                ((cursor, told),) = self._commands.run([("HSCAN", key, cursor, "COUNT", USERS_PER_COMMAND)])
                for user, connections in told.items():
                    found[user.decode()] += json.loads(connections)
                if not cursor:
                    break
        return dict(found)

    def inquire(self, user: str) -> None:
        """Ask every worker to report the current positions of the user's connections. They do so within a second."""
        self._commands.run([("PUBLISH", self._keys.live(user_log(user)), f"0.0 {WHEREABOUTS.decode()} {{}}")])

    def disconnect(self, user: str, connection: str = "", reason: str = "disconnected") -> None:
        """Tell every worker to end the user's connections, or only the one with the id `connection`, for `reason`."""
        wish = compact({"connection": connection, "reason": reason})
        self._commands.run([("PUBLISH", self._keys.live(user_log(user)), f"0.0 goodbye {wish}")])

    def share(self, user: str, connection: str, tabs: int) -> None:
        """Tell every worker how many tabs share the user's connection with the id `connection`."""
        told = compact({"connection": connection, "tabs": tabs})
        self._commands.run([("PUBLISH", self._keys.live(user_log(user)), f"0.0 {TABS.decode()} {told}")])

    def _leased(self) -> list[str]:
        # The key of a worker expires with its lease. A name in this list that is out of date finds nothing.
        (workers,) = self._commands.run([("ZRANGE", self._keys.workers, 0, -1)])
        return [self._keys.presence_of(worker.decode()) for worker in workers]
