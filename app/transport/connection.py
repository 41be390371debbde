"""The connection to Redis: explicit limits on every wait, and one kind of error.

redis-py's own defaults (timeouts, retries, pool size, protocol) changed between its versions and differ between
`Redis()` and `from_url()`. So this module sets each of them.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib import resources
from typing import Any, Protocol

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.connection import Connection as RedisConnection
from redis.retry import Retry

from .. import metrics
from ..core.errors import BelfryError
from ..core.redis_url import is_sentinel
from ..core.settings import Settings
from .log_throttle import LogThrottle
from .primary import Address, Primary, open_pool, primary_of

_PACKAGE = __name__.partition(".")[0]  # the package has another name in the wheel than in the checkout
UNLOOKED = "UNLOOKED"  # the refusal of a script begins with this, see `is_unlooked`
RETRY_AFTER_SECONDS = 2
FULL_RETRY_AFTER_SECONDS = 30  # until somebody has freed memory
_SCRIPT_PLACE = re.compile(r" script: .*$", re.DOTALL)  # the script's digest and line in an error text
_DENIED = re.compile("no permissions|ACL failure|user executing the script", re.IGNORECASE)
_UNKNOWN = re.compile("unknown (?:redis )?(?:sub)?command", re.IGNORECASE)
_UNKNOWN_NAMED = re.compile(r"unknown command '([A-Za-z]{1,40})'", re.IGNORECASE)  # a script's error names none
_NO_DATABASE = "DB index is out of range"
_NO_CLUSTER = "cluster support disabled"
# Redis's error text → text for the caller. Redis's own text may contain keys and arguments, so it goes only to the log.
_REFUSALS = (
    ("read only replica", "The message store's server is a replica, which takes no writes"),
    ("NOREPLICAS", "The message store's server has fewer replicas than its min-replicas-to-write asks for"),
    ("MISCONF", "The message store's server cannot write its data to the disk"),
    ("Link with MASTER is down", "The message store's server is a replica that lost its primary"),
    ("loading the dataset", "The message store's server is still loading its data"),
    ("BUSY", "The message store's server runs a script of somebody else"),
    (_NO_DATABASE, "The message store's server has no database of the number in BELFRY_REDIS_URL"),
    (_NO_CLUSTER, "The message store's server is no node of a cluster, as BELFRY_REDIS_URL says"),
    ("no primary holds a slot", "No primary of the cluster holds the slot, see CLUSTER INFO"),
    ("Hash slot not served", "No primary of the cluster holds the slot, see CLUSTER INFO"),
    ("The cluster is down", "The cluster of the message store is down, see CLUSTER INFO"),
    ("FULL too many pushes", "As many pushes wait as BELFRY_MAX_PUSHES allows, and the message may be in the feeds"),
    ("No matching script", "The message store's server does not keep Belfry's scripts; /health/ready says why"),
    ("max number of clients", "The message store's server has no connection left: raise its maxclients"),
    ("in protected mode", "The message store's server is in protected mode: give its users a password"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "The certificate of the message store's server is not trusted, or names another host",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "The message store's server does not speak TLS at this port: use redis:// instead of rediss://",
    ),
    ("CERTIFICATE_REQUIRED", "The message store's server asks for a certificate: add ssl_certfile and ssl_keyfile"),
    ("no Sentinel knows", "No Sentinel of BELFRY_REDIS_URL knows the primary of the service"),
    ("'SENTINEL'", "The server in BELFRY_REDIS_URL is no Sentinel"),
)

complaints = LogThrottle(logging.getLogger("belfry.store"))
_COMMAND = re.compile(r"run the '([a-z|]+)' command")
UNKNOWN_TO_SERVER = "(unknown to the server)"
DENIED_SECONDS = 20.0  # longer than the pause between two attempts to connect


class Denials:
    """The commands that Redis refused to its user, or does not know.

    An administrator may change the rights at any time. A script can try most commands, but not those that begin a
    connection, subscribe or wait. Their refusals are the only sign that a right to them is missing, or that the
    server's configuration renames them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}  # command → when it was refused last
        self.count = 0

    def note(self, refusal: str) -> None:
        """Remember the refusal of a command. Redis names the command unless a script ran it."""
        self.count += 1
        denied, unknown = _COMMAND.search(refusal), _UNKNOWN_NAMED.search(refusal)
        if denied:
            self._seen[denied[1]] = self._clock()
        if unknown:
            self._seen[f"{unknown[1].lower()} {UNKNOWN_TO_SERVER}"] = self._clock()

    def lately(self) -> list[str]:
        """Return the commands that were refused within the last `DENIED_SECONDS`.

        `UNKNOWN_TO_SERVER` follows a command that the server does not know.
        """
        since = self._clock() - DENIED_SECONDS
        self._seen = {name: seen for name, seen in self._seen.items() if seen > since}
        return list(self._seen)


denials = Denials()

# Most callers share the connections of `transport.auto_pipeline`, at most five. A few more serve all others.
POOL_CONNECTIONS = 8

Command = tuple[Any, ...]
Reply = Any


class Commands(Protocol):
    """Runs commands: a `Connection`, or an object that shares one between many callers."""

    def run(self, commands: Sequence[Command]) -> list[Reply]: ...


class Pending(Protocol):
    """Posted commands whose replies have not been read yet."""

    def get(self) -> list[Reply]: ...


class Posts(Commands, Protocol):
    """Runs commands in the order in which they are posted. The caller gets the replies later."""

    def post(self, commands: Sequence[Command]) -> Pending: ...


class UnpackableError(ValueError):
    """A command that can't be encoded, for example because it contains a lone surrogate. Nothing was sent."""


class Script:
    """One Lua script of `lua/`, which is sent by its digest.

    `channels.lua` defines the commands with which the script publishes. On a cluster, `sharded` replaces it with the
    file for sharded channels.
    """

    __slots__ = ("sha", "text", "verbs")

    def __init__(self, *verbs: str, channels: str = "channels") -> None:
        folder = resources.files(f"{_PACKAGE}.store") / "lua"
        self.verbs = verbs
        self.text = "\n".join((folder / f"{verb}.lua").read_text("utf-8") for verb in (channels, *verbs))
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @property
    def sharded(self) -> Script:
        """The same script for a cluster."""
        return Script(*self.verbs, channels="sharded_channels")

    def call(self, keys: Sequence[str], *arguments: Any) -> Command:
        """Return the command that runs the script."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


class SilentError(BelfryError):
    """`store_unavailable` because no answer came in time. The next caller would probably wait as long in vain."""


class LostError(Exception):
    """A connection ended before all its replies were read. The commands may be sent again, see `send` below."""


class DedicatedConnection:
    """One connection that its owner keeps. A pool would check the socket each time that it lends the connection.

    `send` is a whole round trip. To have several under way, use `write` and `read`: one greenlet may write while
    another one reads, and replies come in the order of the writes. If the server does not know `scripts`, this
    loads them. This happens on a new server and after `SCRIPT FLUSH`.
    """

    def __init__(self, client: redis.Redis, scripts: Sequence[Script]) -> None:
        self._pool = client.connection_pool
        self._callbacks = client.response_callbacks
        self._scripts = scripts
        self._connection: RedisConnection | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as this object knows."""
        return self._connection is not None and self._connection.is_connected

    def send(self, commands: Sequence[Command], *, again: bool = False) -> list[Reply]:
        """Send `commands` in one write and return their replies. A refused command has its error in its place.

        If `again` is set, the commands were written before and may have been executed.

        If Redis closed the connection in the meantime, this tries once more. After a timeout it does not try again, so
        that a caller waits for at most one timeout. It is safe to send an append twice, because the script remembers
        its message id. Raises `BelfryError` `store_unavailable` if Redis can't be reached, `SilentError` after a
        timeout, and `UnpackableError`.
        """
        packed = self.packed(commands)
        try:
            replies = self._round_trip(packed, commands, again=again)
        except (redis.exceptions.RedisError, OSError) as error:  # an OSError means that no file descriptor is left
            raise unavailable(error) from error
        return self.completed(commands, replies)

    @staticmethod
    def packed(commands: Sequence[Command]) -> bytes:
        """Return the bytes that `write` takes. Raises `UnpackableError`."""
        return pack(commands)

    def write(self, packed: bytes) -> None:
        """Write commands on an open connection (`is_open`). Raises `LostError`, or `SilentError` after a timeout."""
        try:
            self._kept().send_packed_command([packed])
            metrics.TRIPS[()] += 1
        except redis.exceptions.ConnectionError as error:
            raise LostError from error
        except redis.exceptions.RedisError as error:
            raise unavailable(error) from error

    def read(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the replies of `commands`, which must be the oldest commands not read yet. Raises like `write`.

        After a failure, the replies of all earlier writes are lost.
        """
        try:
            return self._replies(self._kept(), commands)
        except redis.exceptions.ConnectionError as error:
            self.close()
            raise LostError from error
        except redis.exceptions.RedisError as error:
            self.close()
            raise unavailable(error) from error
        except BaseException:
            self.close()  # the next caller would get the unread replies
            raise

    @staticmethod
    def lacks_scripts(replies: Sequence[Reply]) -> bool:
        """Return whether a command was not executed because Redis did not know its script."""
        return redis.exceptions.NoScriptError in map(type, replies)

    def completed(self, commands: Sequence[Command], replies: list[Reply]) -> list[Reply]:
        """Load scripts that Redis lacked and run their commands. Return the complete replies of `commands`.

        A script that Redis does not know did nothing. So only those commands are sent once more after loading it, with
        the `WAIT` that belongs to them. Raises like `send`.
        """
        failed = [at for at, reply in enumerate(replies) if isinstance(reply, redis.exceptions.RedisError)]
        if not failed:
            return replies
        unknown = [at for at in failed if isinstance(replies[at], redis.exceptions.NoScriptError)]
        if unknown:
            unknown += [at for at, command in enumerate(commands) if command[0] == "WAIT"]
            loads: list[Command] = [("SCRIPT", "LOAD", script.text) for script in self._scripts]
            again = [commands[at] for at in unknown]
            try:
                self._round_trip(pack(loads), loads)
                for at, reply in zip(unknown, self._round_trip(pack(again), again, again=True), strict=True):
                    replies[at] = reply
            except (redis.exceptions.RedisError, OSError) as error:
                raise unavailable(error) from error
        if any(isinstance(reply, redis.exceptions.ReadOnlyError) for reply in replies):
            self._pool.disconnect()  # the server is no longer a primary; the next connection finds the new one
        return replies

    def close(self) -> None:
        """Close the connection and forget all writes. The next round trip connects again."""
        if self._connection is not None:
            self._connection.disconnect()

    def give_back(self) -> None:
        """Return the connection to the pool."""
        if self._connection is not None:
            self._pool.release(self._connection)
            self._connection = None

    def _kept(self) -> RedisConnection:
        """Return the connection of the last write. A new connection would know nothing about that write."""
        if self._connection is None or not self._connection.is_connected:
            raise LostError
        return self._connection

    def _opened(self) -> RedisConnection:
        if self._connection is None:
            self._connection = self._pool.get_connection()
        elif not self._connection.is_connected:
            metrics.RECONNECTS.labels("commands").inc()
            self._connection.connect()
        return self._connection

    def _round_trip(self, packed: bytes, commands: Sequence[Command], *, again: bool = False) -> list[Reply]:
        # This does what redis-py's pipeline does, without its transactions, caches and statistics. Those cost a third
        # of a worker's time for a published message.
        connection = self._opened()

        def exchange() -> list[Reply]:
            connection.send_packed_command([packed])
            metrics.TRIPS[()] += 1
            return self._replies(connection, commands)

        def lost(_error: Exception) -> None:
            nonlocal again
            again = True
            metrics.RECONNECTS.labels("commands").inc()
            connection.disconnect()

        try:
            replies: list[Reply] = connection.retry.call_with_retry(exchange, lost)
        except BaseException:
            connection.disconnect()  # the next caller would get the unread replies
            raise
        return [_left_open(reply) for reply in replies] if again else replies

    def _replies(self, connection: RedisConnection, commands: Sequence[Command]) -> list[Reply]:
        replies: list[Reply] = []
        for command in commands:
            try:
                reply = connection.read_response()
            except redis.exceptions.ResponseError as error:
                replies.append(error)
            else:
                # All names of commands here are upper-case. redis-py's own look-up ignores the case and takes longer.
                callback = dict.get(self._callbacks, command[0])
                replies.append(callback(reply) if callback else reply)
        return replies


class Connection:
    """Connections to Redis, for owners that keep one (`dedicated`) and for single calls (`run`)."""

    def __init__(self, client: redis.Redis, scripts: Sequence[Script], primary: Primary | None = None) -> None:
        self._client = client
        self._scripts = scripts
        self._primary = primary
        self._address: Address | None = None

    @classmethod
    def open(cls, settings: Settings, scripts: Sequence[Script], node: Address | None = None) -> Connection:
        """Return a pool for `settings.redis_url`, or for this `node` of a cluster.

        It connects with the first command.
        """
        pool = open_pool(
            redis.BlockingConnectionPool,
            settings,
            node,
            max_connections=POOL_CONNECTIONS,
            timeout=settings.redis_timeout_seconds,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),  # see `send` above
            socket_timeout=settings.redis_timeout_seconds,
            client_name="belfry",
        )
        primary = primary_of(settings.redis_url) if is_sentinel(settings.redis_url) else None
        loaded = [script.sharded for script in scripts] if node else scripts
        return cls(redis.Redis(connection_pool=pool), loaded, primary)

    def dedicated(self) -> DedicatedConnection:
        """Return a connection for an owner that keeps it. It connects with the first command."""
        return DedicatedConnection(self._client, self._scripts)

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Send `commands` in one write and return their replies. Raises `BelfryError` `store_unavailable`."""
        return checked(self.send(commands))

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands like `DedicatedConnection.send`, on a connection of the pool."""
        line = self.dedicated()
        try:
            return line.send(commands)
        finally:
            line.give_back()

    def follow(self) -> bool:
        """Ask the Sentinels, if there are any, for the primary's address. Return whether it has changed.

        The old primary may not know yet that it was replaced. It would accept messages and lose them later. Raises
        `BelfryError` `store_unavailable` if no Sentinel knows the primary.
        """
        if self._primary is None:
            return False
        try:
            before, self._address = self._address, self._primary.find()
        except redis.exceptions.RedisError as error:
            raise unavailable(error) from error
        moved = before is not None and before != self._address
        if moved:
            self._client.connection_pool.disconnect()
        return moved

    def ping(self) -> None:
        """Check that Redis answers. Raises `BelfryError` `store_unavailable` if it does not."""
        self.run([("PING",)])


def pack(commands: Sequence[Command]) -> bytes:
    """Return the commands as bytes for the wire. Raises `UnpackableError`."""
    try:
        return b"".join([pack_command(command) for command in commands])
    except (UnicodeEncodeError, TypeError) as error:
        raise UnpackableError(str(error)) from error


def checked(replies: list[Reply]) -> list[Reply]:
    """Return the same replies if none is an error. Raises `BelfryError` `store_unavailable` or `store_full`."""
    failed = [reply for reply in replies if isinstance(reply, Exception)]
    if failed:
        raise (full() if _nothing_kept(replies) else unavailable(failed[0])) from failed[0]
    return replies


def _left_open(reply: Reply) -> Reply:
    """Replace an error for a full store, if the command was sent twice.

    It does not say whether the first try succeeded.
    """
    is_full = isinstance(reply, redis.exceptions.OutOfMemoryError)
    return redis.exceptions.ResponseError(str(reply)) if is_full else reply


def _nothing_kept(replies: list[Reply]) -> bool:
    """Return whether a full store refused everything.

    There must be no other error, and no reply of a script, which is a list.
    """
    return all(
        isinstance(reply, redis.exceptions.OutOfMemoryError)
        for reply in replies
        if isinstance(reply, (Exception, list))
    )


def full() -> BelfryError:
    """Return the error for a full store: Redis has no memory left, and nothing of this call was kept."""
    return BelfryError(
        "store_full",
        "The message store has no memory left, and nothing was kept; try again later.",
        headers={"Retry-After": str(FULL_RETRY_AFTER_SECONDS)},
    )


def has_moved(error: BelfryError) -> bool:
    """Return whether a node of a cluster refused because another node holds the keys."""
    return isinstance(error.__cause__, redis.exceptions.AskError)


def is_unknown(error: Exception) -> bool:
    """Return whether the server does not know a command.

    The server may be old, or its configuration may rename commands.
    """
    return isinstance(error, redis.exceptions.ResponseError) and _UNKNOWN.search(str(error)) is not None


def has_no_database(error: BelfryError) -> bool:
    """Return whether the server has no database with the number in BELFRY_REDIS_URL."""
    return _NO_DATABASE in str(error.__cause__)


def has_no_cluster(error: BelfryError) -> bool:
    """Return whether BELFRY_REDIS_URL names a cluster, but the server is not part of one."""
    return _NO_CLUSTER in str(error.__cause__)


def is_unlooked(error: BelfryError) -> bool:
    """Return whether a script did nothing because the worker has not looked at this server yet, see `open.lua`."""
    return isinstance(error.__cause__, redis.exceptions.ResponseError) and str(error.__cause__).startswith(UNLOOKED)


def _refused(error: Exception) -> str:
    """Return a text for the caller about an error that Redis returned, or "" if the error did not come from Redis."""
    refusal = _SCRIPT_PLACE.sub("", str(error))
    known = next((why for words, why in _REFUSALS if words in refusal), "")
    if isinstance(error, redis.exceptions.ResponseError):
        complaints.note(f"Redis refuses a command: {type(error).__name__}: {refusal}")
        if _DENIED.search(refusal):
            denials.note(refusal)
            return f"The message store refuses a command to Belfry's user ({refusal}); /health/ready names what lacks"
        if not known and is_unknown(error):
            return _unknown_command(refusal)
    return known


def _unknown_command(refusal: str) -> str:
    """Return a text for the caller about a command that the server does not know."""
    named = _UNKNOWN_NAMED.search(refusal)
    if not named:
        return "The message store's server does not know a command; /health/ready names it"
    denials.note(refusal)
    return f"The message store's server does not know the command {named[1].upper()}; its configuration may rename it"


def _unknown_user(refusal: str) -> str:
    """Log what is wrong with user or password of the URL, and return a text for the caller."""
    if "authentication required" in refusal.lower():
        complaints.note("Redis asks for a password, and BELFRY_REDIS_URL has none: write redis://:password@host")
        return "The message store asks for a password, and Belfry has none"
    complaints.note(
        "Redis refuses the user or the password of BELFRY_REDIS_URL: write a '%' in it as %25, and a password "
        "without a user as redis://:password@host"
    )
    return "The message store refuses Belfry's user or password"


def unavailable(error: Exception) -> BelfryError:
    """Return the error that a caller gets for an error of Redis. It says that the caller may retry, and when.

    Errors that Redis returned are logged here, because no other code logs them.
    """
    kind = SilentError if isinstance(error, (redis.exceptions.TimeoutError, TimeoutError)) else BelfryError
    why = f"The message store did not answer ({type(error).__name__})"
    if isinstance(error, redis.exceptions.AuthenticationError):
        why = _unknown_user(str(error))
    elif isinstance(error, redis.exceptions.AskError):  # includes MOVED
        why = "The part of the message store that is asked has just moved"
    elif str(error).startswith(UNLOOKED):
        why = "The message store's server was replaced"
    else:
        why = _refused(error) or why
    return kind(
        "store_unavailable",
        f"{why}; try again with the same message id.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
