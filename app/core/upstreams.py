"""Selects the upstream for a model, and defines how to call each upstream, from the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from .completion.answer_deadline import AnswerLimits
from .endpoint import check_http
from .errors import BelfryError
from .settings import PREFIX, Settings, SettingsError

MASK = "***"
# A shorter key is not a secret but a word such as `EMPTY`, which local servers require.
SECRET_MIN_CHARS: Final = 8
# Headers that belong to one connection of a client or an upstream, or that are credentials. They are never passed on.
NEVER_PASSED: Final = frozenset(
    {
        "authorization", "api-key", "x-api-key", "cookie", "set-cookie", "host", "connection", "keep-alive", "te",
        "transfer-encoding", "trailer", "upgrade", "content-length", "content-type", "content-encoding",
        "accept-encoding", "expect", "proxy-authorization", "proxy-authenticate", "www-authenticate",
    }
)  # fmt: skip
PASSED_MAX: Final = 60  # headers of one message; many clients take 100 in all
PASSED_MAX_CHARS: Final = 4_096  # of the value of one header
_SECRET_NAME: Final = re.compile(r"key|token|secret|auth|password|cookie", re.IGNORECASE)
_HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_VERSION: Final = re.compile(r"/v\d|/openai|/api|/deployments", re.IGNORECASE)

Seconds = Annotated[float, Field(ge=0.1, le=86_400)]
HeaderName = Annotated[str, Field(pattern=_HEADER_NAME)]


class Timeouts(BaseModel):
    """The time limits of one upstream that differ from the settings, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None
    comments: Seconds | None = None
    whole: Seconds | None = None
    total: Seconds | None = None
    end: Seconds | None = None


def _checked(url: str) -> str:
    check_http(url)
    return url


class Upstream(BaseModel):
    """One OpenAI-compatible API.

    `models` are names or patterns with `*`. `header` is the header that carries the key. `proxy` is a URL, or `""` for
    no proxy. If it is omitted, `HTTPS_PROXY` and `NO_PROXY` decide. `ca` is a file or folder of certificates. If it is
    omitted, `SSL_CERT_FILE` and `REQUESTS_CA_BUNDLE` decide. `stream_options` is whether the upstream supports them. If
    it is omitted, Belfry finds out. `responses` is whether the upstream supports OpenAI's Responses API.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(_checked)]
    key: str = Field("", repr=False)
    models: tuple[str, ...] = ("*",)
    header: HeaderName = "Authorization"
    headers: Mapping[HeaderName, str] = Field(default_factory=dict, repr=False)
    ca: str = ""
    proxy: str | None = Field(None, repr=False)
    timeouts: Timeouts = Timeouts()
    retries: Annotated[int, Field(ge=0, le=10)] | None = None
    stream_options: bool | None = None
    responses: bool = False
    request_headers: tuple[str, ...] | None = None
    response_headers: tuple[str, ...] | None = None

    @field_validator("headers")
    @classmethod
    def _on_one_line(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        if any(not text.isprintable() or not text.isascii() for text in headers.values()):
            raise ValueError("a header's value has printable ASCII characters only")
        return headers

    def __hash__(self) -> int:
        return hash((self.url, self.key, self.models))

    @property
    def name(self) -> str:
        """The upstream's URL in a form that may be logged: without user, password and query."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    @property
    def has_version(self) -> bool:
        """Whether the URL looks complete. Most complete URLs end with `/v1`."""
        return bool(_VERSION.search(urlsplit(self.url).path))

    @property
    def completions_url(self) -> str:
        """The URL to which completions are posted."""
        return self.below("/chat/completions")

    @property
    def models_url(self) -> str:
        """The URL that lists the models."""
        return self.below("/models")

    @property
    def names(self) -> tuple[str, ...]:
        """The models that the settings name."""
        return tuple(name for name in self.models if not _is_pattern(name))

    @property
    def has_patterns(self) -> bool:
        """Whether only the upstream itself knows all of its models."""
        return any(map(_is_pattern, self.models))

    @property
    def own_headers(self) -> dict[str, str]:
        """The header with the key, if there is one, and the headers that the settings add."""
        if not self.key:
            return dict(self.headers)
        key = f"Bearer {self.key}" if self.header.lower() == "authorization" else self.key
        return {self.header: key, **self.headers}

    def masked(self, text: str) -> str:
        """Return the text of an error without secrets that the upstream may repeat. An answer is never masked."""
        for secret in self._secrets():
            text = text.replace(secret, MASK)
        return text

    def masked_all(self, value: Any) -> Any:
        """Return `value`, from JSON, with each of its texts masked."""
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, dict):
            return {name: self.masked_all(member) for name, member in value.items()}
        return [self.masked_all(member) for member in value] if isinstance(value, list) else value

    def _secrets(self) -> Iterator[str]:
        values = [self.key, *[text for name, text in self.headers.items() if _SECRET_NAME.search(name)]]
        for value in values:
            for secret in (value, value.rpartition(" ")[2]):  # also without `Bearer`
                if len(secret) >= SECRET_MIN_CHARS:
                    yield secret

    def serves(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def below(self, path: str) -> str:
        """Return a URL below the upstream's URL. A query, such as Azure's `api-version`, stays at the end."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))

    def limits(self, settings: Settings) -> AnswerLimits:
        """Return the upstream's own limits, or those of the settings."""
        own = {name: seconds for name, seconds in self.timeouts if seconds is not None}
        common = {name: getattr(settings, f"upstream_{name}_seconds") for name in AnswerLimits.__slots__}
        return AnswerLimits(**{**common, **own})


class HeaderFilter:
    """Decides which headers pass from clients to upstreams, or back: by names, or patterns with `*`."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = tuple(pattern.strip().lower() for pattern in patterns)

    def of(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return those of `headers` that pass, at most `PASSED_MAX`."""
        passed = [(name, value) for name, value in headers.items() if self._passes(name.lower()) and is_passable(value)]
        return dict(passed[:PASSED_MAX])

    def _passes(self, name: str) -> bool:
        return name not in NEVER_PASSED and any(fnmatchcase(name, pattern) for pattern in self._patterns)


def is_passable(value: str) -> bool:
    """Return whether every client and server takes the value of a header."""
    return value.replace("\t", " ").isprintable() and len(value) <= PASSED_MAX_CHARS


def _is_pattern(model: str) -> bool:
    return any(char in model for char in "*?[")


class Upstreams:
    """All upstreams, the named ones first. Raises `SettingsError` if they can't be used."""

    def __init__(self, settings: Settings) -> None:
        try:
            named = TypeAdapter(list[Upstream]).validate_json(settings.upstreams or "[]")
        except ValidationError as error:
            first = error.errors(include_input=False)[0]  # the input contains keys
            where = ".".join(str(part) for part in first["loc"])
            message = str(first["msg"]).removeprefix("Value error, ")
            raise SettingsError(f"{PREFIX}UPSTREAMS: {where}: {message}") from None
        others = [Upstream(url=settings.upstream_url, key=settings.upstream_key)] if settings.upstream_url else []
        self._upstreams = (*named, *others)

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._upstreams)

    def choose(self, model: str) -> Upstream:
        """Return the first upstream that serves `model`. Without a model, return the first that serves every model.

        Raises `BelfryError` `model_unknown`.
        """
        for upstream in self._upstreams:
            if upstream.serves(model):
                return upstream
        if not model:
            told = "The request names no model, and no upstream serves every model: name one."
            raise BelfryError("model_unknown", told, param="model")
        raise BelfryError("model_unknown", f"No upstream serves the model {model[:80]!r}.", param="model")
