"""Names of logs, and the Redis keys of a log.

A log is named `user:<id>`, `topic:<name>`, `everyone` or `run:<id>`. Everything of one log shares one hash tag, so on a
Redis Cluster it lies in one slot and one script may touch all of it:

    belfry:{user:alice}:log        stream  one entry per kept message, id `<offset>-0`: r = record, t = Unix
                                   seconds of the append, x = expiry in Unix ms, if any
    belfry:{user:alice}:meta       hash    epoch, top (newest offset), oldest (oldest offset not yet trimmed)
    belfry:{user:alice}:keys       zset    message key → the offset that holds it now
    belfry:{user:alice}:id:<id>    string  `<epoch>.<offset> <digest>` of a message id, while it is remembered
    belfry:{user:alice}:live       channel `<epoch>.<offset> <record>` of each append

Who may do what is kept under one more tag; digests stand for what a client holds:

    belfry:{control}:session:<digest>   string  claims of a cookie's session, until it ends
    belfry:{control}:sessions:alice     zset    names of a user's sessions → when they end
    belfry:{control}:ticket:<digest>    string  claims of a ticket, until it is used
    belfry:{control}:revoked            stream  withdrawn users and tokens: kind, name
    belfry:{control}:ended              stream  sessions that were ended: kind, name
    belfry:{control}:audit              stream  sign-ins and what administrators did: one JSON object each
"""

from __future__ import annotations

EVERYONE = "everyone"


def user_log(user: str) -> str:
    """The log that holds one user's feed."""
    return f"user:{user}"


def topic_log(topic: str) -> str:
    """The log that holds one topic."""
    return f"topic:{topic}"


class Keys:
    """Builds the keys of logs under one prefix."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def log(self, name: str) -> str:
        return f"{self._prefix}:{{{name}}}:log"

    def meta(self, name: str) -> str:
        return f"{self._prefix}:{{{name}}}:meta"

    def replaced(self, name: str) -> str:
        return f"{self._prefix}:{{{name}}}:keys"

    def message_id(self, name: str, message_id: str) -> str:
        return f"{self._prefix}:{{{name}}}:id:{message_id}"

    def live(self, name: str) -> str:
        return f"{self._prefix}:{{{name}}}:live"

    def session(self, digest: str) -> str:
        return f"{self._prefix}:{{control}}:session:{digest}"

    def sessions(self, user: str) -> str:
        return f"{self._prefix}:{{control}}:sessions:{user}"

    def ticket(self, digest: str) -> str:
        return f"{self._prefix}:{{control}}:ticket:{digest}"

    @property
    def revoked(self) -> str:
        return f"{self._prefix}:{{control}}:revoked"

    @property
    def ended(self) -> str:
        return f"{self._prefix}:{{control}}:ended"

    @property
    def audit(self) -> str:
        return f"{self._prefix}:{{control}}:audit"
