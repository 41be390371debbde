"""Reads the configuration of the store's server and checks that it can keep Belfry's promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import redis

from .. import metrics
from ..core import redis_url
from ..core.errors import BelfryError
from ..core.settings import Settings
from ..core.store_faults import FORMAT, Fault, judge, lacking_rights, newer_format, no_database, silent
from ..transport.connection import (
    UNKNOWN_TO_SERVER,
    Command,
    Reply,
    Script,
    denials,
    has_moved,
    has_no_database,
    is_unknown,
    unavailable,
)
from .keys import Keys

RIGHTS = Script("rights")
FORMAT_LOOK = Script("format")
SCRIPTS = (RIGHTS, FORMAT_LOOK)
# Commands that no script can run. `rights.lua` tries the others.
UNTRIED = frozenset({
    "ping", "select", "role", "wait", "asking", "client|setname", "script|load", "cluster|slots", "cluster|info",
    "subscribe", "unsubscribe", "ssubscribe", "sunsubscribe",
})  # fmt: skip


class Sends(Protocol):
    """Sends commands and returns errors in the places of their replies. A `Connection` does this."""

    def send(self, commands: Sequence[Command]) -> list[Reply]: ...


class Examination:
    """The examination of one server. Each look tries the commands, because an administrator may change the rights.

    `holds` returns whether the server holds a key. On a cluster, only one server holds the number of the data format.
    """

    def __init__(
        self, connection: Sends, settings: Settings, holds: Callable[[str], bool] = lambda _key: False
    ) -> None:
        self._holds = holds
        self._connection = connection
        self._settings = settings
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._denials = denials.count
        self._told: tuple[str, ...] = ()

    def is_due(self) -> bool:
        """Return whether the server refused a command since the last look."""
        return self._denials != denials.count

    def look(self, channel: str) -> tuple[Fault, ...]:
        """Return the faults of the server. Raises `BelfryError` `store_unavailable`.

        `channel` is one of this worker's own channels.
        """
        self._denials = denials.count
        reads_format = self._holds(self._keys.format)
        commands: list[Command] = [("INFO",)]
        if reads_format:
            commands.append(FORMAT_LOOK.call((self._keys.format,), FORMAT))
        commands.append(RIGHTS.call((self._keys.probe(channel),), channel))
        try:
            info, *replies = self._connection.send(commands)
        except BelfryError as error:
            if has_no_database(error):
                return (no_database(self._settings.redis_db),)
            raise
        faults = self._judged(info)
        # An old server supports only parts of some commands, so its refusals would be misleading.
        if any(fault.refuses for fault in faults):
            return faults
        # A server that refuses the script is reported as lacking a right.
        if reads_format and isinstance(replies[0], bytes):
            faults += tuple(filter(None, [newer_format(replies[0].decode(errors="replace"))]))
        denied = self._denied(replies[-1])
        lately = [name for name in denials.lately() if name.partition(" ")[0] in UNTRIED]
        denied += [f"+{name}" for name in lately if f"+{name}" not in denied]
        return (*faults, lacking_rights(denied)) if denied else faults

    def _denied(self, reply: Reply) -> list[str]:
        try:
            return _denied(reply, f"~{self._keys.prefix}:*")
        except BelfryError as error:
            if has_moved(error):  # the slot of the channel is leaving this server; the next look uses another channel
                return []
            raise

    def _judged(self, info: Any) -> tuple[Fault, ...]:
        strict = self._settings.strict_store
        if isinstance(info, redis.exceptions.NoPermissionError) or (isinstance(info, Exception) and is_unknown(info)):
            return (silent(strict),)
        if isinstance(info, Exception):
            raise unavailable(info) from info
        self._tell(info)
        is_cluster = redis_url.is_cluster(self._settings.redis_url)
        return judge(info, self._settings.publish_wait_replicas, strict, is_cluster=is_cluster)

    def _tell(self, info: Mapping[str, Any]) -> None:
        """Set the metrics that describe the server. A managed service may leave a field out."""
        engine = "valkey" if "valkey_version" in info else "redis"
        version = info.get(f"{engine}_version", "")
        told = (
            engine,
            version,
            info.get("maxmemory_policy", ""),
            {0: "no", 1: "yes"}.get(info.get("aof_enabled", -1), ""),
        )
        if told != self._told:
            if self._told:
                metrics.STORE_INFO.labels(*self._told).set(0)
            self._told = told
            metrics.STORE_INFO.labels(*told).set(1)


def _denied(reply: Reply, keys: str) -> list[str]:
    if isinstance(reply, redis.exceptions.NoScriptError):  # the script could not be loaded
        return ["+script|load"]
    if isinstance(reply, redis.exceptions.NoPermissionError):
        return ["+evalsha"] if "evalsha" in str(reply) else [keys]
    if isinstance(reply, Exception) and is_unknown(reply):
        return [f"+evalsha {UNKNOWN_TO_SERVER}"]
    if isinstance(reply, Exception):
        raise unavailable(reply) from reply
    return [each.decode() for each in reply]
