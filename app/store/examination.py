"""Reads the configuration of the store's server and checks that it can keep Belfry's promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import redis

from .. import metrics
from ..core import redis_url
from ..core.settings import Settings
from ..core.store_faults import Fault, judge, lacking_rights, silent
from ..transport.connection import Command, Reply, Script, unavailable
from .keys import Keys

RIGHTS = Script("rights")
SCRIPTS = (RIGHTS,)


class Sends(Protocol):
    """What sends commands and answers errors in the places of their replies: a `Connection`."""

    def send(self, commands: Sequence[Command]) -> list[Reply]: ...


class Examination:
    """One server's. The commands are tried once, and again while some of them are refused."""

    def __init__(self, connection: Sends, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._has_rights = False
        self._told: tuple[str, ...] = ()

    def begin(self) -> None:
        """Another server is there: whatever it grants is unknown."""
        self._has_rights = False

    def look(self, channel: str) -> tuple[Fault, ...]:
        """The faults of the server; `channel` is one of this worker's own. Raises `BelfryError` `store_unavailable`."""
        commands: list[Command] = [("INFO",)]
        if not self._has_rights:
            commands.append(RIGHTS.call((self._keys.probe(channel),), channel))
        info, *rights = self._connection.send(commands)
        faults = self._judged(info)
        if rights and not any(fault.refuses for fault in faults):  # an old server knows commands by halves
            denied = _denied(rights[0], f"~{self._keys.prefix}:*")
            self._has_rights = not denied
            faults += (lacking_rights(denied),) if denied else ()
        return faults

    def _judged(self, info: Any) -> tuple[Fault, ...]:
        strict = self._settings.strict_store
        if isinstance(info, redis.exceptions.NoPermissionError):
            return (silent(strict),)
        if isinstance(info, Exception):
            raise unavailable(info) from info
        self._tell(info)
        is_cluster = redis_url.is_cluster(self._settings.redis_url)
        return judge(info, self._settings.publish_wait_replicas, strict, is_cluster=is_cluster)

    def _tell(self, info: Mapping[str, Any]) -> None:
        """Have the metrics say what the server is. A managed service may leave a field out."""
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
    if isinstance(reply, redis.exceptions.NoScriptError):  # it could not be loaded
        return ["+script|load"]
    if isinstance(reply, redis.exceptions.NoPermissionError):
        return ["+evalsha"] if "evalsha" in str(reply) else [keys]
    if isinstance(reply, Exception):
        raise unavailable(reply) from reply
    return [each.decode() for each in reply]
