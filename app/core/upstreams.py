"""Which upstream serves which model, as the settings tell it."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.core.endpoint import check_http
from app.core.errors import BelfryError
from app.core.settings import PREFIX, Settings, SettingsError

MASK = "***"


def _checked(url: str) -> str:
    check_http(url)
    return url


class Upstream(BaseModel):
    """One OpenAI-compatible API. `models` are names or patterns with `*`; `header` is what carries the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(_checked)]
    key: str = Field("", repr=False)
    models: tuple[str, ...] = ("*",)
    header: str = "Authorization"

    @property
    def completions_url(self) -> str:
        """Where completions are posted."""
        return self._below("/chat/completions")

    @property
    def models_url(self) -> str:
        """Where its models are listed."""
        return self._below("/models")

    @property
    def names(self) -> tuple[str, ...]:
        """The models that the settings name."""
        return tuple(name for name in self.models if not _is_pattern(name))

    @property
    def has_patterns(self) -> bool:
        """Whether only the upstream itself knows all of its models."""
        return any(map(_is_pattern, self.models))

    @property
    def credentials(self) -> dict[str, str]:
        """The header with the key, if there is one."""
        if not self.key:
            return {}
        return {self.header: f"Bearer {self.key}" if self.header.lower() == "authorization" else self.key}

    def masked(self, text: str) -> str:
        """`text` without the key, should the upstream repeat it."""
        return text.replace(self.key, MASK) if self.key else text

    def serves(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def _below(self, path: str) -> str:
        """An address below its own; a query, such as Azure's `api-version`, stays at the end."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


def _is_pattern(model: str) -> bool:
    return any(char in model for char in "*?[")


class Upstreams:
    """All upstreams, the named ones first. Raises `SettingsError` where they can't be used."""

    def __init__(self, settings: Settings) -> None:
        try:
            named = TypeAdapter(list[Upstream]).validate_json(settings.upstreams or "[]")
        except ValidationError as error:
            first = error.errors(include_input=False)[0]  # the input holds keys
            where = ".".join(str(part) for part in first["loc"])
            message = str(first["msg"]).removeprefix("Value error, ")
            raise SettingsError(f"{PREFIX}UPSTREAMS: {where}: {message}") from None
        others = [Upstream(url=settings.upstream_url, key=settings.upstream_key)] if settings.upstream_url else []
        self._upstreams = (*named, *others)

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._upstreams)

    def choose(self, model: str) -> Upstream:
        """The first upstream that serves `model`. Raises `BelfryError` `model_unknown`."""
        for upstream in self._upstreams:
            if upstream.serves(model):
                return upstream
        raise BelfryError("model_unknown", f"No upstream serves the model {model[:80]!r}.", param="model")
