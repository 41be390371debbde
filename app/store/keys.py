"""Names of logs, and the Redis keys of a log.

A log is named `user:<id>`, `topic:<name>`, `everyone` or `run:<user>/<id>`. Everything of one log shares one hash tag,
so on a Redis Cluster the log lies in one slot, and one script may touch all of it:

    belfry:{user:alice}:log        stream  one entry per kept message, id `<offset>-0`: r = record, t = Unix
                                           seconds of the append, x = expiry in Unix ms, if any
    belfry:{user:alice}:meta       hash    epoch, top (newest offset), oldest (oldest offset not yet trimmed), revision,
                                           expires (ms, of the entry that expires first), gone_base and gone (offsets
                                           whose entries left one by one, a bit string as in `core.log.marks`),
                                           aged (the time of an entry that once was the oldest), lineage (the
                                           server's replication id at the last use), losses (those known then, see
                                           `lineage_look.lua`), until (Unix seconds at which the TTL that was set
                                           last ends), born (Unix seconds of its creation). After a change of epoch
                                           also history (the first epoch) and former (`<epoch>.<offset> …`, the last
                                           valid position of each former epoch)
    belfry:{user:alice}:keys       zset    message key → the offset that holds it now
    belfry:{user:alice}:ids        zset    message id → offset, of the entries kept
    belfry:{user:alice}:expiry     zset    offset → expiry in Unix ms, of the entries that expire
    belfry:{user:alice}:id:<id>    string  `<history>.<offset> <digest> <call>` of a message id, while it is remembered
    belfry:{user:alice}:live       channel `<epoch>.<offset> <record>` of each append; `live@3` in database 3

The marks of a user, in all logs, are stored with that user's own log, so that one script can change all of them:

    belfry:{user:alice}:marks      hash    log name → history, base and the bit strings read, archived and removed
    belfry:{user:alice}:visited    string  1: the user has visited before, see `newcomers`

A worker publishes to itself on this channel, to check that it receives what Redis publishes:

    belfry:{canary:<worker>}:live       channel

The identity of the store's server, a number that grows with each loss, and the workers that can report losses:

    belfry:{control}:lineage           hash    see `lineage_look.lua`
    belfry:{control}:lineage:workers   zset    worker → Unix ms of its last look
    belfry:{control}:lineage:awaited   zset    workers of a replaced primary that have not come to the new one yet

The format of the data, a number, see `format.lua`:

    belfry:{control}:format            string

On a cluster, each shard has a server of its own:

    belfry:{control}:servers       zset    replication id → Unix ms, see `servers.lua`
    belfry:{control}:replaced      zset    replication id → Unix ms, of those that were replaced by a failover

This key exists only while a worker tries which commands the server allows its user:

    belfry:{canary:<worker>}:probe  string  see `rights.lua`

The events of a user's connections are stored with the user's own log:

    belfry:{user:alice}:events     list    events as JSON, newest first, see `flights`
                                           (a stream `flights` in older versions)

The connected users. Each worker reports its part under a lease, and the report expires with the lease:

    belfry:{presence}:workers      zset    worker → Unix seconds at which its lease ends
    belfry:{presence}:of:<worker>  hash    user → the user's connections on that worker, as JSON

The figures of the deployment. They share the slot of the topic that announces them:

    belfry:{topic:belfry.figures}:now   hash    slot, and the sums of all workers in it so far
    belfry:{topic:belfry.figures}:hour  stream  e = a point of the last hour as JSON, see `figures`

Scheduled messages, all in one slot, with the channel that tells workers about an earlier due time:

    belfry:{timers}:due            zset    message id → Unix ms (store's clock) at which a worker shall take it next
    belfry:{timers}:jobs           hash    message id → the job, see `timers.lua`
    belfry:{timers}:of:alice       zset    message id → Unix ms of its delivery, for each message that alice scheduled
    belfry:{timers}:done:<id>      string  `<state> <due> <digest> <call>` of a finished job, while its id is remembered
    belfry:{timers}:live           channel ms until a message is due, whenever a message becomes the first one

Web Push, all in one slot: the devices of each user, the pushes that wait, and the channel as above:

    belfry:{pushes}:of:alice       zset    device → Unix seconds at which it subscribed; alice's devices
    belfry:{pushes}:device:<name>  string  user, a line feed, and the subscription as JSON; the name is a digest of
                                           its endpoint. A device belongs to the user who subscribed last
    belfry:{pushes}:due            zset    push → Unix ms at which a worker shall take it next; a push is named
                                           `<message id>/<digest of the content>/<user>`
    belfry:{pushes}:jobs           hash    push → the job, see `push_add.lua`
    belfry:{pushes}:done:<push>    string  exists while it is remembered that this push was stored
    belfry:{pushes}:live           channel ms until a push is due, whenever a push becomes the first one

Users who visited or received a message, for administrators:

    belfry:{users}:names           zset    users in the order of their ids, see `directory`
    belfry:{users}:seen            zset    user → Unix seconds at which that last happened
    belfry:{users}:awaited         zset    those of them of whom no visit is remembered
    belfry:{users}:forgotten:alice string  exists briefly after alice was forgotten: late reports do not add her

The messages published last, for administrators:

    belfry:{recent}:messages       stream  e = a summary as JSON, see `recent`

The recipients of a message, for as long as it can be retracted:

    belfry:{message:<id>}:to       string  log names, one for each line, of a message whose id Belfry made
    belfry:{message:<id>}:logs     set     log names of any other message, and of a message whose id was used again

Sessions, tickets, revocations and the audit log share one more tag. Keys contain digests of the secrets of clients:

    belfry:{control}:session:<digest>   string  claims of a cookie's session, until it ends
    belfry:{control}:sessions:alice     zset    names of a user's sessions → Unix seconds at which they end
    belfry:{control}:begun:alice        zset    the same names → Unix seconds at which they began
    belfry:{control}:ticket:<digest>    string  claims of a ticket, until it is used
    belfry:{control}:withdrawn          zset    `user:<id>` and `token:<id>` → Unix seconds of the latest revocation
    belfry:{control}:revoked            stream  the latest of these revocations, for running workers: kind, name, at,
                                                kept (1; an entry without it is not in the set yet)
    belfry:{control}:ended              stream  sessions that were ended: the same fields
    belfry:{control}:audit              stream  sign-ins and administrators' actions: one JSON object each
    belfry:{control}:refused            stream  refused sign-ins: one JSON object each

All data of a user's completion runs has the user's own tag, so one script may touch a run, its log and the user's
limits. A run's log has the keys above after `run:<id>:`. These keys are beside them:

    belfry:{user:alice}:run:<id>:state  hash    see `runs`
    belfry:{user:alice}:runs            zset    run id → Unix ms of its start; outlives the run, to answer "gone"
    belfry:{user:alice}:active          zset    id of a completion under way → Unix ms at which its lease ends
    belfry:{user:alice}:starts          zset    id → Unix ms of its start, of the last minute
    belfry:{user:alice}:tokens:<day>    string  tokens used on that day (UTC)
    belfry:{user:alice}:conversations       zset    conversation id → Unix ms of its last use
    belfry:{user:alice}:conversation:<id>   hash    see `conversations`
    belfry:{runs}:leases                zset    `<user>/<id>` of a run under way → Unix ms at which its lease ends
"""

from __future__ import annotations

from ..core.identity.names import FIGURES_TOPIC

EVERYONE = "everyone"
TIMERS = "timers"
PUSHES = "pushes"
LIVE = "live"


def user_log(user: str) -> str:
    """Return the name of the log that holds one user's feed."""
    return f"user:{user}"


def topic_log(topic: str) -> str:
    """Return the name of the log that holds one topic."""
    return f"topic:{topic}"


def run_log(user: str, run_id: str) -> str:
    """Return the name of the log of one completion run.

    Run ids belong to a user, so nobody can reach another user's run.
    """
    return f"run:{user}/{run_id}"


class Keys:
    """Builds the keys of logs under one prefix.

    A key belongs to the selected database. A channel does not: Redis delivers to all databases of a server. So outside
    database 0, the names of channels contain the number of the database. Two deployments on one server then do not
    receive each other's messages.
    """

    __slots__ = ("_live", "_prefix")

    def __init__(self, prefix: str, db: int = 0) -> None:
        self._prefix = prefix
        self._live = f"{LIVE}@{db}" if db else LIVE

    def of_log(self, name: str) -> tuple[str, ...]:
        """Return the keys that every script on a log takes, in the order of `open.lua`."""
        base = self._of_log(name, "")
        return f"{base}log", f"{base}meta", f"{base}keys", f"{base}ids", f"{base}expiry", base + self._live

    def of_append(self, name: str, message_id: str) -> tuple[str, ...]:
        """Return the keys that `append.lua` takes for one message."""
        base = self._of_log(name, "")
        live, own_id = base + self._live, f"{base}id:{message_id}"
        return f"{base}log", f"{base}meta", f"{base}keys", f"{base}ids", f"{base}expiry", live, own_id

    def log(self, name: str) -> str:
        return self._of_log(name, "log")

    def meta(self, name: str) -> str:
        return self._of_log(name, "meta")

    def replaced(self, name: str) -> str:
        return self._of_log(name, "keys")

    def ids(self, name: str) -> str:
        return self._of_log(name, "ids")

    def expiry(self, name: str) -> str:
        return self._of_log(name, "expiry")

    def marks(self, user: str) -> str:
        return f"{self._prefix}:{{{user_log(user)}}}:marks"

    def visited(self, user: str) -> str:
        return f"{self._prefix}:{{{user_log(user)}}}:visited"

    def flights(self, user: str) -> str:
        return f"{self._prefix}:{{{user_log(user)}}}:events"

    def former_flights(self, user: str) -> str:
        """Return the key that an older version of Belfry used for the events.

        It is only deleted, or expires by itself.
        """
        return f"{self._prefix}:{{{user_log(user)}}}:flights"

    def flights_forgotten(self, user: str) -> str:
        return f"{self._prefix}:{{{user_log(user)}}}:forgotten"

    def recipients(self, message_id: str) -> str:
        return f"{self._prefix}:{{message:{message_id}}}:logs"

    def first_recipients(self, message_id: str) -> str:
        return f"{self._prefix}:{{message:{message_id}}}:to"

    @property
    def recent(self) -> str:
        return f"{self._prefix}:{{recent}}:messages"

    @property
    def figures_now(self) -> str:
        return self._of_log(topic_log(FIGURES_TOPIC), "now")

    @property
    def figures(self) -> str:
        return self._of_log(topic_log(FIGURES_TOPIC), "hour")

    @property
    def timers_due(self) -> str:
        return f"{self._prefix}:{{{TIMERS}}}:due"

    @property
    def timer_jobs(self) -> str:
        return f"{self._prefix}:{{{TIMERS}}}:jobs"

    def timers_of(self, publisher: str) -> str:
        return f"{self._prefix}:{{{TIMERS}}}:of:{publisher}"

    def timer_done(self, message_id: str) -> str:
        return f"{self._prefix}:{{{TIMERS}}}:done:{message_id}"

    @property
    def pushes(self) -> tuple[str, str]:
        """Return the keys of the pushes that wait, as `timers.lua` takes them."""
        return f"{self._prefix}:{{{PUSHES}}}:due", f"{self._prefix}:{{{PUSHES}}}:jobs"

    def push_done(self, job: str) -> str:
        return f"{self._prefix}:{{{PUSHES}}}:done:{job}"

    def push_devices(self, user: str) -> str:
        return f"{self._prefix}:{{{PUSHES}}}:of:{user}"

    def push_device(self, name: str) -> str:
        return f"{self._prefix}:{{{PUSHES}}}:device:{name}"

    @property
    def user_names(self) -> str:
        return f"{self._prefix}:{{users}}:names"

    @property
    def users_seen(self) -> str:
        return f"{self._prefix}:{{users}}:seen"

    @property
    def users_awaited(self) -> str:
        return f"{self._prefix}:{{users}}:awaited"

    def user_forgotten(self, user: str) -> str:
        return f"{self._prefix}:{{users}}:forgotten:{user}"

    @property
    def workers(self) -> str:
        return f"{self._prefix}:{{presence}}:workers"

    def presence_of(self, worker: str) -> str:
        return f"{self._prefix}:{{presence}}:of:{worker}"

    def message_id(self, name: str, message_id: str) -> str:
        return self._of_log(name, f"id:{message_id}")

    def live(self, name: str) -> str:
        return self._of_log(name, self._live)

    def name_of(self, channel: bytes) -> str:
        """Return the name of the log whose `live` channel this is."""
        tag, _, part = channel.decode()[len(self._prefix) + 2 :].partition("}:")
        if part == self._live:
            return tag
        return run_log(tag.removeprefix(user_log("")), part[len("run:") : -len(self._live) - 1])

    def run_state(self, user: str, run_id: str) -> str:
        return self._of_log(run_log(user, run_id), "state")

    def runs(self, user: str) -> str:
        return self._of_log(user_log(user), "runs")

    def active(self, user: str) -> str:
        return self._of_log(user_log(user), "active")

    def starts(self, user: str) -> str:
        return self._of_log(user_log(user), "starts")

    def tokens(self, user: str, day: str) -> str:
        return self._of_log(user_log(user), f"tokens:{day}")

    def conversations(self, user: str) -> str:
        return self._of_log(user_log(user), "conversations")

    def conversation(self, user: str, conversation: str) -> str:
        return self._of_log(user_log(user), f"conversation:{conversation}")

    @property
    def leases(self) -> str:
        return f"{self._prefix}:{{runs}}:leases"

    def session(self, digest: str) -> str:
        return f"{self._prefix}:{{control}}:session:{digest}"

    def sessions(self, user: str) -> str:
        return f"{self._prefix}:{{control}}:sessions:{user}"

    def begun(self, user: str) -> str:
        return f"{self._prefix}:{{control}}:begun:{user}"

    def ticket(self, digest: str) -> str:
        return f"{self._prefix}:{{control}}:ticket:{digest}"

    @property
    def withdrawn(self) -> str:
        return f"{self._prefix}:{{control}}:withdrawn"

    @property
    def revoked(self) -> str:
        return f"{self._prefix}:{{control}}:revoked"

    @property
    def ended(self) -> str:
        return f"{self._prefix}:{{control}}:ended"

    @property
    def prefix(self) -> str:
        return self._prefix

    @staticmethod
    def probe(channel: str) -> str:
        """Return a key in the slot of a channel."""
        return f"{channel.partition('}')[0]}}}:probe"

    @property
    def servers(self) -> str:
        return f"{self._prefix}:{{control}}:servers"

    @property
    def servers_replaced(self) -> str:
        return f"{self._prefix}:{{control}}:replaced"

    @property
    def format(self) -> str:
        return f"{self._prefix}:{{control}}:format"

    @property
    def lineage(self) -> str:
        return f"{self._prefix}:{{control}}:lineage"

    @property
    def lineage_workers(self) -> tuple[str, str]:
        return f"{self.lineage}:workers", f"{self.lineage}:awaited"

    @property
    def audit(self) -> str:
        return f"{self._prefix}:{{control}}:audit"

    @property
    def refused_sign_ins(self) -> str:
        return f"{self._prefix}:{{control}}:refused"

    def _of_log(self, name: str, part: str) -> str:
        kind, _, rest = name.partition(":")
        if kind == "run":
            user, _, run_id = rest.rpartition("/")
            return f"{self._prefix}:{{{user_log(user)}}}:run:{run_id}:{part}"
        return f"{self._prefix}:{{{name}}}:{part}"
