"""Every setting: its name, default, limits and reason, in one table read from the environment.

`BELFRY_<NAME>` sets `<name>`. A test compares the table in docs/settings.md with this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from .addresses import Network, as_in_urls, parse_network
from .endpoint import LOCAL_HOSTS, check_http
from .errors import BelfryError
from .identity.names import check_user_id
from .identity.passwords import PasswordHash
from .push import endpoint as push_endpoint
from .push import private_key
from .redis_url import check as check_redis_url
from .redis_url import database_of
from .store_faults import OPTIONAL as OPTIONAL_FAULTS

PREFIX = "BELFRY_"
# RFC 6454 section 6.2: a scheme, a host and perhaps a port. Schemes other than http are for app shells and browser
# extensions.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_ORIGINS = ("file", "data", "blob", "about", "javascript")  # browsers send the origin `null` for these pages
_PORT_MAX = 65_535
# RFC 3986 section 3.3: segments of unreserved characters, except `.` and `..`; no slash at the end.
_PATH_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,64}){1,8}")
_HIDDEN = ("_URL", "SECRET", "SECRETS", "PASSWORD_HASH")  # a URL may contain a password or a key
SHOWN_MAX = 100  # characters of a setting that a log line shows; a PEM key is longer
SECRET_MIN_BYTES = 32  # RFC 7518 section 3.2: an HS256 key has at least the hash's 256 bits


_SECRET = {"secret", "upstream_key", "upstreams", "push_private_key"}  # never shown


class SettingsError(ValueError):
    """A setting that can't be used. Its text is one line for the operator."""


class Settings(BaseModel):
    """All settings, validated and frozen. Sizes in bytes, times in seconds, unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: str = Field("127.0.0.1:8000", description="address and port to listen on")
    redis_url: str = Field(
        "",
        repr=False,
        description="redis:// rediss:// unix:// redis+sentinel:// rediss+sentinel:// redis+cluster:// or "
        "rediss+cluster:// of the shared store; empty: embedded server",
    )
    redis_prefix: str = Field("belfry", pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="first part of every Redis key")
    data_dir: str = Field(
        "",
        description="where the embedded server and the demo secret live; empty: `data` in a checkout, otherwise "
        "`belfry` in the user's data directory",
    )
    demo: bool = Field(
        False, description="offer the demo sign-in; on by itself when `./run` or `belfry` starts without a secret"
    )
    secret: str = Field("", repr=False, description="HS256 key that signs and checks tokens, 32 bytes or more")
    jwt_public_key: str = Field(
        "", description="PEM public keys, or a file's path, that check RS256, ES256 or EdDSA tokens"
    )
    previous_secrets: str = Field(
        "", repr=False, description="former secrets, separated by commas, whose tokens still count while keys rotate"
    )
    jwks_url: str = Field(
        "", description="address of the issuer's JWK Set; its keys check RS256, ES256 and EdDSA tokens by their `kid`"
    )
    jwks_seconds: float = Field(300.0, ge=1, le=86_400, description="how often the JWK Set is fetched again")
    jwt_audience: str = Field("", description="the `aud` that a token must have; empty: it must have none")
    jwt_issuer: str = Field("", description="the `iss` that a token must have; empty: any")
    session_seconds: int = Field(43_200, ge=60, le=31_536_000, description="longest life of a session cookie")
    max_sessions_per_user: int = Field(
        1_000, ge=1, le=100_000, description="sessions of one user; the oldest ends. About 500 bytes of Redis each"
    )
    revocation_seconds: int = Field(
        31_536_000,
        ge=3_600,
        le=315_360_000,
        description="how long a revocation is remembered; no token may live longer",
    )

    cors_origins: str = Field(
        "", description="origins, separated by commas, whose pages may call this server with credentials"
    )
    admin_name: str = Field("admin", description="the administrator's name, which is a user id")
    admin_password_hash: str = Field(
        "",
        repr=False,
        description="hash of the administrator's password, from `belfry hash-password`; empty: no sign-in",
    )
    publish_per_minute: int = Field(
        3_000_000, ge=1, description="deliveries that one publisher may order, per worker; above: 429"
    )
    connects_per_minute: int = Field(
        20_000, ge=1, description="streams, long polls, sessions, tickets and counts of tabs of one user, per worker"
    )
    requests_per_minute: int = Field(
        60_000, ge=1, description="all other requests of one user, pages of the feed for example, per worker"
    )
    sign_ins_per_minute: int = Field(20, ge=1, description="tries to sign in, per address and per name, per worker")
    refused_tokens_per_minute: int = Field(
        1_000,
        ge=1,
        description="bad tokens, sessions and tickets, and tries at a password, from one address, per worker; above: "
        "429 instead of 401",
    )
    trusted_proxies: str = Field(
        "",
        description="addresses or networks, separated by commas, whose X-Forwarded-For and -Proto are believed; those "
        "of a unix socket's peer always are. X-Forwarded-Prefix too",
    )
    path_prefix: str = Field(
        "",
        description="the path below which a proxy serves Belfry, such as `/push`, whether the proxy passes it on or "
        "takes it off; empty: what X-Forwarded-Prefix of a trusted proxy says that it took off",
    )
    audit_length: int = Field(
        10_000, ge=100, le=1_000_000, description="entries kept in the audit log, and as many refused sign-ins"
    )

    history_length: int = Field(1_000, ge=1, le=100_000, description="messages kept per feed")
    history_seconds: int = Field(
        2_592_000,
        ge=60,
        le=315_360_000,
        description="a message is dropped at this age, and a feed that nobody used for so long (up to 1/16 longer)",
    )
    publish_queue_seconds: float = Field(
        0.25, ge=0.01, le=30, description="a publish that would wait longer for its turn in a worker gets 503"
    )
    dedup_seconds: int = Field(
        86_400, ge=60, le=2_592_000, description="how long a message id is remembered after its last request"
    )
    own_id_seconds: int = Field(
        600,
        ge=60,
        le=2_592_000,
        description="the same of an id that the server made: only who got 503 with it repeats it",
    )
    retract_seconds: int = Field(
        604_800,
        ge=60,
        le=31_536_000,
        description="how long a message can be retracted; its recipients are remembered, about 200 bytes a message",
    )
    schedule_seconds: int = Field(
        31_536_000, ge=1, le=31_536_000, description="how far ahead a message can be scheduled"
    )
    max_scheduled: int = Field(
        100_000, ge=1, le=10_000_000, description="scheduled messages of one publisher; one more gets 429"
    )
    push_private_key: str = Field(
        "",
        repr=False,
        description="the private VAPID key, from `belfry push-key`; empty: no Web Push. The demo makes its own",
    )
    push_contact: str = Field(
        "", description="address at which push services reach you, as `mailto:` or `https:`; Apple's requires it"
    )
    push_hosts: str = Field(
        "fcm.googleapis.com,*.push.services.mozilla.com,*.notify.windows.com,*.push.apple.com",
        description="hosts of push services, separated by commas, which devices may use; `*`: every public host",
    )
    push_networks: str = Field(
        "",
        description="networks of push services of your own, separated by commas, that are reached although they are "
        "not public; http is enough there",
    )
    push_delay_seconds: float = Field(
        5.0, ge=0, le=3_600, description="a message that was read within this time after its delivery is not pushed"
    )
    push_connected: bool = Field(
        True, description="push also to users with an open stream; off: only to those who have none at that moment"
    )
    push_ttl_seconds: int = Field(
        86_400,
        ge=0,
        le=2_419_200,
        description="how long a push service keeps a push for a device that is off; less if the message expires sooner",
    )
    push_retry_seconds: int = Field(
        3_600, ge=0, le=86_400, description="how long a push that failed is tried again, with growing pauses"
    )
    push_timeout_seconds: float = Field(10.0, ge=0.1, le=20, description="longest wait for a push service's answer")
    push_concurrency: int = Field(
        50,
        ge=1,
        le=1_000,
        description="requests of a worker to one push service at a time; the others wait in the store",
    )
    push_subscription_seconds: int = Field(
        15_552_000, ge=60, le=31_536_000, description="a device that has not subscribed again for so long is forgotten"
    )
    max_push_subscriptions: int = Field(
        20, ge=1, le=100, description="devices of one user; a new one replaces the one that subscribed longest ago"
    )
    max_pushes: int = Field(
        1_000_000,
        ge=1,
        le=100_000_000,
        description="pushes that wait, one for each user and message; one more gets 503",
    )
    max_head_bytes: int = Field(
        32_768, ge=8_192, le=262_144, description="longest head of a request: request line and headers together"
    )
    max_body_bytes: int = Field(65_536, ge=1_024, le=1_048_576, description="largest message")
    max_batch_bytes: int = Field(16_777_216, ge=65_536, le=268_435_456, description="largest NDJSON batch")
    max_batch_lines: int = Field(100_000, ge=1_000, description="most lines of an NDJSON batch")
    max_batches_bytes: int = Field(
        67_108_864, ge=65_536, description="bytes of NDJSON batches that a worker holds at a time; one more gets 503"
    )
    body_seconds: float = Field(
        30.0, ge=0.1, le=3_600, description="a request's body that has not come by then is given up, with 408"
    )
    max_recipients: int = Field(1_000, ge=1, le=10_000, description="longest list of recipients in one message")

    heartbeat_seconds: float = Field(15.0, ge=0.2, le=120, description="silence after which a stream gets a heartbeat")
    retry_ms: int = Field(2_000, ge=100, le=60_000, description="reconnect delay told to browsers, jittered by half")
    final_retry_ms: int = Field(
        3_600_000,
        ge=1_000,
        le=86_400_000,
        description="reconnect delay told to streams that must not come back by themselves (`goodbye` `revoked`, "
        "`replaced`), jittered by half",
    )
    write_timeout_seconds: float = Field(
        30.0, ge=1, le=600, description="a reader that takes nothing for this long is cut off"
    )
    outbox_bytes: int = Field(
        65_536, ge=4_096, le=1_048_576, description="bytes queued for one slow reader whose socket can't be parked"
    )
    fan_out_rest_seconds: float = Field(
        0.02,
        ge=0,
        le=1,
        description="longest that a feed or topic with more than 256 readers in a worker waits after it was written to "
        "them; what is published meanwhile goes to each in one write",
    )
    fan_out_bytes: int = Field(
        1_048_576, ge=4_096, le=268_435_456, description="bytes that wait so in a worker, or one message"
    )
    tail_check_seconds: float = Field(
        5.0,
        ge=0.5,
        le=300,
        description="how often open feeds are compared with the store, 1,000 a second at most in a worker",
    )
    stream_seconds: float = Field(
        7_200.0,
        ge=0,
        le=2_592_000,
        description="a stream is sent to connect again at this age, less up to a fifth; 0: never",
    )
    max_connections: int = Field(20_000, ge=1, description="open streams per worker; one more gets 503")
    max_connections_per_user: int = Field(
        10_000,
        ge=1,
        description="open streams of one user per worker, those of runs included; the oldest goes. Waiting long polls "
        "count too; one more gets 503",
    )
    max_waiting_polls: int = Field(
        5_000, ge=1, description="long polls that wait in a worker, half of its 10,000 places; one more gets 503"
    )
    catch_up_batch: int = Field(64, ge=1, le=1_000, description="streams that catch up in one Redis round trip")
    catch_up_rounds: int = Field(
        4, ge=1, le=64, description="such round trips of a worker at a time: the pace after an outage of Redis"
    )
    max_wait_seconds: float = Field(30.0, ge=0, le=120, description="longest `wait` of a long poll")

    lease_seconds: int = Field(
        15, ge=2, le=600, description="connections of a worker that died without a word are listed for this long"
    )
    figures_seconds: int = Field(
        5, ge=1, le=60, description="seconds of one point on the dashboard, which shows the last hour"
    )
    known_users: int = Field(
        100_000, ge=100, le=10_000_000, description="users that administrators find by name, about 150 bytes each"
    )
    counted_users: int = Field(
        10_000, ge=0, le=1_000_000, description="known users looked at to count who read a message to many"
    )
    upstream_url: str = Field(
        "", description="OpenAI-compatible API that completions go to, such as https://api.openai.com/v1"
    )
    upstream_key: str = Field("", repr=False, description="key for `BELFRY_UPSTREAM_URL`, sent as bearer token")
    upstreams: str = Field(
        "",
        repr=False,
        description='further upstreams as JSON: `[{"url", "key", "models": ["gpt-4*"], "header": "api-key"}]`, with '
        "`headers`, `ca`, `proxy`, `timeouts`, `retries`, `stream_options` and more where they differ",
    )
    upstream_connect_seconds: float = Field(5.0, ge=0.1, le=60, description="longest wait for an upstream's connection")
    upstream_first_token_seconds: float = Field(
        60.0, ge=0.1, le=3_600, description="longest wait for an answer's first token"
    )
    upstream_idle_seconds: float = Field(30.0, ge=0.1, le=3_600, description="longest pause within an answer")
    upstream_comments_seconds: float = Field(
        600.0, ge=0.1, le=86_400, description="longest wait for a token while an upstream sends comments only"
    )
    upstream_whole_seconds: float = Field(
        600.0, ge=0.1, le=86_400, description="longest wait for an answer in one piece; nginx.conf allows 20 s more"
    )
    upstream_total_seconds: float = Field(3_600.0, ge=0.1, le=86_400, description="longest time of any answer")
    upstream_end_seconds: float = Field(
        2.0, ge=0.1, le=600, description="wait for the usage and the end after an answer's last finish reason"
    )
    upstream_status_seconds: float = Field(
        25.0,
        ge=0.1,
        le=3_600,
        description="wait for an upstream's status before a streamed answer begins with 200 and comments",
    )
    upstream_request_headers: str = Field(
        "openai-organization,openai-project,openai-beta,idempotency-key,x-title,http-referer,x-client-request-id,"
        "traceparent,tracestate",
        description="headers of clients that go to upstreams, separated by commas; `*` stands for any characters",
    )
    upstream_response_headers: str = Field(
        "x-request-id,x-ratelimit-*,openai-*,retry-after,retry-after-ms,x-should-retry",
        description="headers of upstreams that go to clients",
    )
    upstream_retries: int = Field(2, ge=0, le=10, description="tries after a failed one, before the first token only")
    max_completion_bytes: int = Field(
        33_554_432, ge=1_024, le=268_435_456, description="largest request for a completion, with its images"
    )
    max_answer_bytes: int = Field(16_777_216, ge=65_536, le=268_435_456, description="largest answer of a run")
    snapshot_bytes: int = Field(
        1_048_576,
        ge=4_096,
        le=268_435_456,
        description="text that a viewer who comes late to a run gets in one event; more comes in several",
    )
    run_seconds: int = Field(86_400, ge=60, le=31_536_000, description="how long a run can be read again")
    max_runs_per_user: int = Field(500, ge=1, description="completions of one user under way; one more gets 429")
    runs_per_minute: int = Field(6_000, ge=1, description="completions that one user may start; one more gets 429")
    tokens_per_day: int = Field(0, ge=0, description="tokens that one user may use per day (UTC); 0: any number")
    max_conversations: int = Field(
        200,
        ge=1,
        le=1_000,
        description="conversations of one user; a new one replaces the one that was used longest ago",
    )
    conversation_turns: int = Field(
        500, ge=1, le=10_000, description="questions in one conversation; one more gets 409 `conversation_full`"
    )
    conversation_bytes: int = Field(
        16_777_216,
        ge=1_024,
        le=268_435_456,
        description="what one conversation holds when a question is added, images included; more gets 409 "
        "`conversation_full`",
    )
    conversation_seconds: int = Field(
        2_592_000, ge=60, le=31_536_000, description="how long a conversation is kept after it was used last"
    )

    redis_timeout_seconds: float = Field(2.0, ge=0.1, le=30, description="longest wait for one Redis answer")
    canary_seconds: float = Field(
        2.0, ge=0.1, le=3, description="how often it is tried whether Redis answers and what it publishes is heard"
    )
    away_seconds: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="a worker that Redis was away from for so long sends its streams to another node, within one "
        "heartbeat; 0: never",
    )
    switchover_seconds: float = Field(
        30.0,
        ge=5,
        le=600,
        description="time that all workers have to reach a Redis that took over, and to find what was acknowledged to "
        "them; if one does not come in time, every client is told that messages may be lost",
    )
    store_check_seconds: float = Field(
        60.0, ge=1, le=3_600, description="how often it is checked whether Redis is configured to keep messages"
    )
    store_strict: str = Field(
        "",
        description="faults of Redis, separated by commas, with which a server is not ready instead of warning: "
        "eviction, persistence, replicas, replication_id",
    )
    publish_wait_replicas: int = Field(
        0, ge=0, le=100, description="replicas that must have a message before it is acknowledged; too few: 503"
    )
    publish_wait_seconds: float = Field(
        1.0,
        ge=0.01,
        le=30,
        validate_default=True,
        description="longest wait for them; less than `BELFRY_REDIS_TIMEOUT_SECONDS`",
    )
    redis_queue: int = Field(
        20_000,
        ge=100,
        le=1_000_000,
        description="Redis commands of a worker that may wait, and as many of its batches; one more gets 503",
    )
    new_users_start_read: bool = Field(
        False,
        description="for a user who comes for the first time, messages to topics and to everyone from before that "
        "start as read; costs a key per user",
    )
    log_format: str = Field(
        "text", pattern=r"^(text|json)$", description="how log lines are written: `text`, or `json` for programs"
    )
    log_streams: bool = Field(True, description="a line in the log for each stream that closes, 100 a second at most")
    log_line_bytes: int = Field(2_048, ge=256, le=65_536, description="longest line in the log; the rest is cut off")
    lame_duck_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="how long a server that was told to stop still serves everything, with 503 at `/health/ready`, so "
        "that balancers turn away; 0: not at all",
    )
    drain_seconds: float = Field(2.0, ge=0.1, le=60, description="time that streams get to leave when a worker stops")

    @field_validator("redis_url")
    @classmethod
    def _understood(cls, text: str) -> str:
        return check_redis_url(text)

    @field_validator("publish_wait_seconds")
    @classmethod
    def _below_the_timeout(cls, seconds: float, others: ValidationInfo) -> float:
        """Check the wait. A longer one would time out the connection before Redis reports the number of replicas."""
        limit = others.data.get("redis_timeout_seconds", seconds)
        if others.data.get("publish_wait_replicas") and seconds >= limit:
            raise ValueError(f"expected less than BELFRY_REDIS_TIMEOUT_SECONDS, which is {limit}")
        return seconds

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, text: str) -> str:
        """Check that all origins are exact.

        A pattern or `*` together with credentials would open the server to the whole web.
        """
        for origin in _listed(text):
            as_browsers_write_it(origin)
        return text

    @field_validator("path_prefix")
    @classmethod
    def _path(cls, text: str) -> str:
        prefix = text.rstrip("/")
        if prefix and not is_path_prefix(prefix):
            raise ValueError("expected a path such as /push, of letters, digits and `._~-`")
        return prefix

    @field_validator("jwks_url")
    @classmethod
    def _safe_address(cls, text: str) -> str:
        """Require https. Otherwise, anyone on the network path could replace the keys."""
        if text and check_http(text).host not in LOCAL_HOSTS and not text.lower().startswith("https:"):
            raise ValueError("expected an https address")
        return text

    @field_validator("upstream_url")
    @classmethod
    def _address(cls, text: str) -> str:
        if text:
            check_http(text)
        return text

    @field_validator("store_strict")
    @classmethod
    def _faults(cls, text: str) -> str:
        if not set(_listed(text)) <= set(OPTIONAL_FAULTS):
            raise ValueError(f"expected some of {', '.join(OPTIONAL_FAULTS)}, separated by commas")
        return text

    @property
    def redis_db(self) -> int:
        """The database that `redis_url` names."""
        return database_of(self.redis_url) if self.redis_url else 0

    @property
    def strict_store(self) -> tuple[str, ...]:
        """The items of `store_strict`."""
        return _listed(self.store_strict)

    @property
    def former_secrets(self) -> tuple[str, ...]:
        """The items of `previous_secrets`."""
        return _listed(self.previous_secrets)

    @field_validator("admin_name")
    @classmethod
    def _user_id(cls, text: str) -> str:
        try:
            return check_user_id(text)
        except BelfryError as error:
            raise ValueError(error.detail) from None

    @field_validator("admin_password_hash")
    @classmethod
    def _hash(cls, text: str) -> str:
        if text:
            PasswordHash.parse(text)
        return text

    @field_validator("push_private_key")
    @classmethod
    def _push_key(cls, text: str) -> str:
        if text:
            private_key.number_of(text)
        return text

    @field_validator("push_contact")
    @classmethod
    def _contact(cls, text: str) -> str:
        if text and not text.startswith(("mailto:", "https:")):
            raise ValueError("expected an address such as mailto:ops@example.com or https://example.com/contact")
        return text

    @field_validator("push_hosts")
    @classmethod
    def _hosts(cls, text: str) -> str:
        for pattern in _listed(text):
            push_endpoint.check_pattern(pattern)
        return text

    @field_validator("trusted_proxies", "push_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for network in _listed(text):
            parse_network(network)
        return text

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return tuple([parse_network(network) for network in _listed(self.trusted_proxies)])

    @property
    def push_host_patterns(self) -> tuple[str, ...]:
        """The items of `push_hosts`."""
        return _listed(self.push_hosts)

    @property
    def own_push_networks(self) -> tuple[Network, ...]:
        """The networks of `push_networks`."""
        return tuple([parse_network(network) for network in _listed(self.push_networks)])

    @property
    def request_headers(self) -> tuple[str, ...]:
        """The items of `upstream_request_headers`."""
        return _listed(self.upstream_request_headers)

    @property
    def response_headers(self) -> tuple[str, ...]:
        """The items of `upstream_response_headers`."""
        return _listed(self.upstream_response_headers)

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, as browsers write them."""
        return tuple([as_browsers_write_it(origin) for origin in _listed(self.cors_origins)])


def is_path_prefix(text: str) -> bool:
    """Return whether `text` is a path prefix: it begins with a slash and does not end with one."""
    return _PATH_PREFIX.fullmatch(text) is not None


def as_browsers_write_it(origin: str) -> str:
    """Return `origin` in lower case, without the default port of its scheme, and with a short IPv6 address.

    Raises `ValueError` if it is not an origin.
    """
    found = _ORIGIN.fullmatch(origin.lower())
    scheme, port = (found[1], int(found[4] or 0)) if found else ("", 0)
    host = "" if found is None else found[2] or _in_brackets(found[3])
    if not host or scheme in _NO_ORIGINS or port > _PORT_MAX:
        expected = "https://app.example.com, capacitor://localhost or chrome-extension://<id>"
        raise ValueError(f"expected origins such as {expected}, without a path or a wildcard")
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def _in_brackets(text: str) -> str:
    """Return an IPv6 address as a URL has it; empty if `text` is none."""
    try:
        return f"[{as_in_urls(IPv6Address(text))}]"
    except ValueError:
        return ""


def _listed(text: str) -> tuple[str, ...]:
    return tuple([part.strip() for part in text.split(",") if part.strip()])


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`.

    Raises `SettingsError` with one line that names the first unusable variable. An empty variable counts as unset.
    """
    given = {
        name: environ[PREFIX + name.upper()]
        for name in Settings.model_fields
        if environ.get(PREFIX + name.upper(), "") != ""
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        hidden = name.endswith(_HIDDEN) or first["loc"][0] in _SECRET
        got = "a value that is not shown" if hidden else repr(first["input"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(f"{name}: {message}, got {got}") from None


def changed(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from their defaults, by variable. A value that may be secret is `(set)`."""
    found = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value != field.default:
            variable = PREFIX + name.upper()
            hidden = variable.endswith(_HIDDEN) or name in _SECRET or len(str(value)) > SHOWN_MAX
            found[variable] = "(set)" if hidden else str(value)
    return found


def check_identity(settings: Settings) -> None:
    """Refuse to serve without a way to check tokens. Raises `SettingsError`."""
    for name, secrets in (("SECRET", (settings.secret,)), ("PREVIOUS_SECRETS", settings.former_secrets)):
        for size in [len(secret.encode(errors="surrogateescape")) for secret in secrets if secret]:
            if size < SECRET_MIN_BYTES:
                raise SettingsError(f"{PREFIX}{name} must be {SECRET_MIN_BYTES} bytes or more, got {size}")
    if not (settings.secret or settings.jwt_public_key or settings.jwks_url):
        raise SettingsError(f"{PREFIX}SECRET is not set: set it to {SECRET_MIN_BYTES} random bytes or more")


def check_store(settings: Settings) -> None:
    """Refuse to serve without a store. Raises `SettingsError`.

    The launcher starts a store if the settings name none.
    """
    if not settings.redis_url:
        raise SettingsError(
            f"{PREFIX}REDIS_URL is not set: set it to redis://host:port, or start Belfry by ./run or by `belfry`"
        )
