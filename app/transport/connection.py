"""The connection to Redis: explicit limits on every wait, and one kind of error.

redis-py's own defaults (timeouts, retries, pool size, protocol) changed between its versions and differ between
`Redis()` and `from_url()`, so each is set here.
"""

from __future__ import annotations

import logging
import re
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

_PACKAGE = __name__.partition(".")[0]  # the wheel gives it another name than the checkout
UNLOOKED = "UNLOOKED"  # how the refusal of a script begins, see `is_unlooked`
RETRY_AFTER_SECONDS = 2
FULL_RETRY_AFTER_SECONDS = 30  # until somebody has made room
_SCRIPT_PLACE = re.compile(r" script: .*$", re.DOTALL)  # where in which script, by its digest
_DENIED = re.compile("no permissions|ACL failure|user executing the script", re.IGNORECASE)

complaints = LogThrottle(logging.getLogger("belfry.store"))

POOL_CONNECTIONS = 8  # callers share the lines of `transport.auto_pipeline`, at most five; a few serve all others

Command = tuple[Any, ...]
Reply = Any


class Commands(Protocol):
    """What runs commands: a `Connection`, or something that shares one between many callers."""

    def run(self, commands: Sequence[Command]) -> list[Reply]: ...


class Pending(Protocol):
    """Commands that are on their way."""

    def get(self) -> list[Reply]: ...


class Posts(Commands, Protocol):
    """What has commands done in the order in which they are posted, and is asked for their replies later."""

    def post(self, commands: Sequence[Command]) -> Pending: ...


class UnpackableError(ValueError):
    """A command that can't be written down, for one a lone surrogate in it. Nothing was sent."""


class Script:
    """One Lua script out of `lua/`, sent by its digest.

    It publishes by the names that `channels.lua` gives to the commands for channels. On a cluster `sharded` takes its
    place, in which they are those for sharded channels.
    """

    __slots__ = ("sha", "text", "verbs")

    def __init__(self, *verbs: str, channels: str = "channels") -> None:
        folder = resources.files(f"{_PACKAGE}.store") / "lua"
        self.verbs = verbs
        self.text = "\n".join((folder / f"{verb}.lua").read_text("utf-8") for verb in (channels, *verbs))
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @property
    def sharded(self) -> Script:
        """The same for a cluster."""
        return Script(*self.verbs, channels="sharded_channels")

    def call(self, keys: Sequence[str], *arguments: Any) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


class SilentError(BelfryError):
    """`store_unavailable` because no answer came in time: the next one who asks is likely to wait in vain as long."""


class LostError(Exception):
    """A connection ended before all of its replies were read. What was written may be sent again, see `Line.send`."""


class Line:
    """One connection that its owner keeps: a pool would poll its socket each time that it lends it.

    `send` is a whole round trip. For more than one at a time use `write` and `read`: one greenlet may write while
    another one reads, and replies come in the order of the writes. It loads `scripts` where the server doesn't know
    them: a new server, or one after `SCRIPT FLUSH`.
    """

    def __init__(self, client: redis.Redis, scripts: Sequence[Script]) -> None:
        self._pool = client.connection_pool
        self._callbacks = client.response_callbacks
        self._callback: dict[str, Callable[[Any], Reply] | None] = {}  # of the commands that were sent so far
        self._scripts = scripts
        self._connection: RedisConnection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as anybody here knows."""
        return self._connection is not None and self._connection.is_connected

    def send(self, commands: Sequence[Command], *, again: bool = False) -> list[Reply]:
        """The replies of `commands`, sent in one write; a command that Redis refused has its error in its place.

        `again`: they were written before, and may have been done.

        One more try on a connection that Redis closed meanwhile, none after a timeout: a caller waits for one timeout
        at most. Sending an append twice is safe, the script remembers its message id. Raises `BelfryError`
        `store_unavailable` when Redis can't be reached, `SilentError` after a timeout, and `UnpackableError`.
        """
        packed = self.packed(commands)
        try:
            replies = self._round_trip(packed, commands, again=again)
        except (redis.exceptions.RedisError, OSError) as error:  # an OSError: no descriptor for a connection
            raise unavailable(error) from error
        return self.completed(commands, replies)

    @staticmethod
    def packed(commands: Sequence[Command]) -> bytes:
        """What `write` takes. Raises `UnpackableError`."""
        return pack(commands)

    def write(self, packed: bytes) -> None:
        """Write commands, where the line `is_open`. Raises `LostError`, or `SilentError` after a timeout."""
        try:
            self._kept().send_packed_command([packed])
            metrics.TRIPS[()] += 1
        except redis.exceptions.ConnectionError as error:
            raise LostError from error
        except redis.exceptions.RedisError as error:
            raise unavailable(error) from error

    def read(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies of the `commands` that were written first of those not read yet. Raises as `write` does.

        After a failure nothing that was written before it can be read any more.
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
            self.close()  # replies that nobody read would be taken for the next caller's
            raise

    @staticmethod
    def lacks_scripts(replies: Sequence[Reply]) -> bool:
        """Whether something was not done because Redis didn't know its script."""
        return any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies)

    def completed(self, commands: Sequence[Command], replies: list[Reply]) -> list[Reply]:
        """The replies of `commands`, once everything was done.

        A script that Redis doesn't know did nothing, so those commands, and only those, are sent once more after
        loading it, with the `WAIT` that was for them. Raises as `send` does.
        """
        failed = [at for at, reply in enumerate(replies) if isinstance(reply, redis.exceptions.RedisError)]
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
        if failed and any(isinstance(reply, redis.exceptions.ReadOnlyError) for reply in replies):
            self._pool.disconnect()  # no longer a primary: the next connection finds the new one
        return replies

    def close(self) -> None:
        """Forget all that was written; the next round trip connects anew."""
        if self._connection is not None:
            self._connection.disconnect()

    def give_back(self) -> None:
        """Return the connection to the pool."""
        if self._connection is not None:
            self._pool.release(self._connection)
            self._connection = None

    def _kept(self) -> RedisConnection:
        """The connection to which the last write went; a new one would know nothing of it."""
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
        # What redis-py's pipeline does, without what it does for transactions, caches and its own statistics: a third
        # of what a published message costs a worker was spent there.
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
            connection.disconnect()  # replies that nobody read would be taken for the next caller's
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
                callback = self._callback_of(command[0])
                replies.append(callback(reply) if callback else reply)
        return replies

    def _callback_of(self, name: str) -> Callable[[Any], Reply] | None:
        try:
            return self._callback[name]
        except KeyError:
            return self._callback.setdefault(name, self._callbacks.get(name))


class Connection:
    """Connections to Redis: for owners that keep one (`line`), and for single calls (`run`)."""

    def __init__(self, client: redis.Redis, scripts: Sequence[Script], primary: Primary | None = None) -> None:
        self._client = client
        self._scripts = scripts
        self._primary = primary
        self._address: Address | None = None

    @classmethod
    def open(cls, settings: Settings, scripts: Sequence[Script], node: Address | None = None) -> Connection:
        """A pool for `settings.redis_url`, or for this `node` of a cluster. Connects with the first command."""
        pool = open_pool(
            redis.BlockingConnectionPool,
            settings,
            node,
            max_connections=POOL_CONNECTIONS,
            timeout=settings.redis_timeout_seconds,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),  # see `Line.send`
            socket_timeout=settings.redis_timeout_seconds,
            client_name="belfry",
        )
        primary = primary_of(settings.redis_url) if is_sentinel(settings.redis_url) else None
        loaded = [script.sharded for script in scripts] if node else scripts
        return cls(redis.Redis(connection_pool=pool), loaded, primary)

    def line(self) -> Line:
        """A connection to keep. Connects with the first command."""
        return Line(self._client, self._scripts)

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies of `commands`, sent in one write. Raises `BelfryError` `store_unavailable`."""
        return checked(self.send(commands))

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        """As `Line.send`, on a connection that is taken out of the pool for it."""
        line = self.line()
        try:
            return line.send(commands)
        finally:
            line.give_back()

    def follow(self) -> bool:
        """Ask the Sentinels, if there are any, where the primary is; answers whether it is elsewhere than before.

        The old one may not know yet, and go on taking messages that are lost as soon as it does. Raises `BelfryError`
        `store_unavailable` when no Sentinel knows.
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
        """Raises `BelfryError` `store_unavailable` when Redis doesn't answer."""
        self.run([("PING",)])


def pack(commands: Sequence[Command]) -> bytes:
    """What goes over the wire. Raises `UnpackableError`."""
    try:
        return b"".join([pack_command(command) for command in commands])
    except (UnicodeEncodeError, TypeError) as error:
        raise UnpackableError(str(error)) from error


def checked(replies: list[Reply]) -> list[Reply]:
    """The same replies, if none is an error. Raises `BelfryError` `store_unavailable` or `store_full`."""
    failed = [reply for reply in replies if isinstance(reply, Exception)]
    if failed:
        raise (full() if _nothing_kept(replies) else unavailable(failed[0])) from failed[0]
    return replies


def _left_open(reply: Reply) -> Reply:
    """Of what was sent before, too: that there is no room now says nothing of the first time."""
    is_full = isinstance(reply, redis.exceptions.OutOfMemoryError)
    return redis.exceptions.ResponseError(str(reply)) if is_full else reply


def _nothing_kept(replies: list[Reply]) -> bool:
    """Whether the store was full for all: no other error, and no script, whose answer is a list, was let through."""
    return all(
        isinstance(reply, redis.exceptions.OutOfMemoryError)
        for reply in replies
        if isinstance(reply, (Exception, list))
    )


def full() -> BelfryError:
    """What the caller gets to hear when Redis has no memory left: nothing of this was kept."""
    return BelfryError(
        "store_full",
        "The message store has no memory left, and nothing was kept; try again later.",
        headers={"Retry-After": str(FULL_RETRY_AFTER_SECONDS)},
    )


def has_moved(error: BelfryError) -> bool:
    """Whether a node of a cluster refused, for what was asked is held by another one."""
    return isinstance(error.__cause__, redis.exceptions.AskError)


def is_unlooked(error: BelfryError) -> bool:
    """Whether a script did nothing because the worker has not looked at this server yet, see `open.lua`."""
    return isinstance(error.__cause__, redis.exceptions.ResponseError) and str(error.__cause__).startswith(UNLOOKED)


def unavailable(error: Exception) -> BelfryError:
    """What the caller gets to hear of a Redis error: that it may try again, and when.

    What Redis answers, instead of not answering, is logged: nobody else does.
    """
    kind = SilentError if isinstance(error, (redis.exceptions.TimeoutError, TimeoutError)) else BelfryError
    why = f"The message store did not answer ({type(error).__name__})"
    if isinstance(error, redis.exceptions.AuthenticationError):
        why = "The message store refuses Belfry's user or password"
        complaints.note("Redis refuses the user or the password of BELFRY_REDIS_URL; write a '%' in it as %25")
    elif isinstance(error, redis.exceptions.AskError):  # MOVED as well
        why = "The part of the message store that is asked has just moved"
    elif str(error).startswith(UNLOOKED):
        why = "The message store's server was replaced"
    elif isinstance(error, redis.exceptions.ResponseError):
        refusal = _SCRIPT_PLACE.sub("", str(error))
        complaints.note(f"Redis refuses a command: {type(error).__name__}: {refusal}")
        if _DENIED.search(refusal):
            why = f"The message store refuses a command to Belfry's user ({refusal}); /health/ready names what lacks"
    return kind(
        "store_unavailable",
        f"{why}; try again with the same message id.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
