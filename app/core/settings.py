"""Every setting: its name, default, limits and reason, in one table read from the environment.

`BELFRY_<NAME>` sets `<name>`. The README's table is held to this one by a test.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFIX = "BELFRY_"
SECRET_MIN_BYTES = 32  # RFC 7518 section 3.2: an HS256 key has at least the hash's 256 bits


_SECRET = {"secret", "upstream_key", "upstreams"}  # never shown


class SettingsError(ValueError):
    """A setting that can't be used; its text is one line for the operator."""


class Settings(BaseModel):
    """All settings, validated and frozen. Sizes in bytes, times in seconds, unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: str = Field("127.0.0.1:8000", description="address and port to listen on")
    redis_url: str = Field("", description="redis:// rediss:// or unix:// of the shared store; empty: embedded server")
    redis_prefix: str = Field("belfry", pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="first part of every Redis key")
    data_dir: str = Field("data", description="where the embedded server and the demo secret live")
    demo: bool = Field(False, description="offer the demo sign-in; on by itself when `./run` starts without a secret")
    secret: str = Field("", repr=False, description="HS256 key that signs and checks tokens, 32 bytes or more")
    jwt_public_key: str = Field(
        "", description="PEM public key, or a file's path, that checks RS256, ES256 or EdDSA tokens"
    )
    session_seconds: int = Field(43_200, ge=60, le=31_536_000, description="longest life of a session cookie")

    history_length: int = Field(1_000, ge=1, le=100_000, description="messages kept per feed")
    history_seconds: int = Field(
        2_592_000,
        ge=60,
        le=315_360_000,
        description="a message is dropped at this age, and a feed that nobody used for so long",
    )
    dedup_seconds: int = Field(86_400, ge=60, le=2_592_000, description="how long a message id is remembered")
    retract_seconds: int = Field(
        604_800,
        ge=60,
        le=31_536_000,
        description="how long a message can be retracted; its recipients are remembered, about 200 bytes a message",
    )
    max_body_bytes: int = Field(65_536, ge=1_024, le=1_048_576, description="largest message")
    max_batch_bytes: int = Field(16_777_216, ge=65_536, le=268_435_456, description="largest NDJSON batch")
    max_recipients: int = Field(1_000, ge=1, le=10_000, description="longest list of recipients in one message")

    heartbeat_seconds: float = Field(15.0, ge=0.2, le=120, description="silence after which a stream gets a heartbeat")
    retry_ms: int = Field(2_000, ge=100, le=60_000, description="reconnect delay told to browsers, jittered by half")
    write_timeout_seconds: float = Field(
        30.0, ge=1, le=600, description="a reader that takes nothing for this long is cut off"
    )
    outbox_bytes: int = Field(
        65_536, ge=4_096, le=1_048_576, description="bytes queued for one slow reader whose socket can't be parked"
    )
    tail_check_seconds: float = Field(
        5.0, ge=0.5, le=300, description="how often open feeds are compared with the store"
    )
    max_connections: int = Field(20_000, ge=1, description="open streams per worker; one more gets 503")
    max_connections_per_user: int = Field(
        10_000, ge=1, description="open streams of one user per worker; the oldest goes"
    )
    catch_up_batch: int = Field(64, ge=1, le=1_000, description="streams that catch up in one Redis round trip")
    max_wait_seconds: float = Field(30.0, ge=0, le=120, description="longest `wait` of a long poll")

    upstream_url: str = Field(
        "", description="OpenAI-compatible API that completions go to, such as https://api.openai.com/v1"
    )
    upstream_key: str = Field("", repr=False, description="key for `BELFRY_UPSTREAM_URL`, sent as bearer token")
    upstreams: str = Field(
        "",
        repr=False,
        description='further upstreams as JSON: `[{"url", "key", "models": ["gpt-4*"], "header": "api-key"}]`',
    )
    upstream_connect_seconds: float = Field(5.0, ge=0.1, le=60, description="longest wait for an upstream's connection")
    upstream_first_token_seconds: float = Field(
        60.0, ge=0.1, le=3_600, description="longest wait for an answer's first token"
    )
    upstream_idle_seconds: float = Field(30.0, ge=0.1, le=3_600, description="longest pause within an answer")
    upstream_retries: int = Field(2, ge=0, le=10, description="tries after a failed one, before the first token only")
    max_completion_bytes: int = Field(
        4_194_304, ge=1_024, le=268_435_456, description="largest request for a completion"
    )
    max_answer_bytes: int = Field(16_777_216, ge=65_536, le=268_435_456, description="largest answer of a run")
    run_seconds: int = Field(86_400, ge=60, le=31_536_000, description="how long a run can be read again")
    max_runs_per_user: int = Field(500, ge=1, description="completions of one user under way; one more gets 429")
    runs_per_minute: int = Field(6_000, ge=1, description="completions that one user may start; one more gets 429")
    tokens_per_day: int = Field(0, ge=0, description="tokens that one user may use per day (UTC); 0: any number")
    lease_seconds: int = Field(
        15, ge=2, le=600, description="connections of a worker that died without a word are listed for this long"
    )

    redis_timeout_seconds: float = Field(2.0, ge=0.1, le=30, description="longest wait for one Redis answer")
    redis_queue: int = Field(
        20_000, ge=100, le=1_000_000, description="Redis commands of a worker that may wait; one more gets 503"
    )
    drain_seconds: float = Field(2.0, ge=0.1, le=60, description="time that streams get to leave when a worker stops")


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings out of `environ`.

    Raises `SettingsError` with one line naming the first variable that can't be used; an empty one counts as unset.
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
        got = "a secret value" if first["loc"][0] in _SECRET else repr(first["input"])
        raise SettingsError(f"{name}: {first['msg']}, got {got}") from None


def check_identity(settings: Settings) -> None:
    """Refuse to serve without a way to check tokens. Raises `SettingsError`."""
    size = len(settings.secret.encode())
    if size and size < SECRET_MIN_BYTES:
        raise SettingsError(f"{PREFIX}SECRET must be {SECRET_MIN_BYTES} bytes or more, got {size}")
    if not size and not settings.jwt_public_key:
        raise SettingsError(f"{PREFIX}SECRET is not set: set it to {SECRET_MIN_BYTES} random bytes or more")
