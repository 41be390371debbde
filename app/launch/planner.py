"""Reads the settings, and prints as JSON which servers the launcher has to start."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict

from ..core.identity import jwk
from ..core.settings import SettingsError, check_identity, load
from ..core.upstreams import Upstreams
from . import demo, embedded, installation
from .embedded import EmbeddedError
from .plan import REFUSAL, Plan


def main() -> None:
    try:
        answer = asdict(plan(os.environ))
    except (EmbeddedError, SettingsError) as error:
        answer = {REFUSAL: str(error)}
    print(json.dumps(answer))  # noqa: T201 - to the launcher


def plan(given: Mapping[str, str]) -> Plan:
    """Return the plan for the environment `given`. Makes the demo's secret.

    Raises `SettingsError` and `EmbeddedError`.
    """
    try:
        environ = demo.environment(given)
    except OSError as error:
        raise embedded.unusable(installation.data_directory(load(given).data_dir, given), error) from None
    settings = load(environ)
    check_identity(settings)
    jwk.of_secrets(settings)  # reports a bad secret now; otherwise only workers that can't start would
    Upstreams(settings)
    return Plan(
        environ,
        settings.bind,
        embeds_store=not settings.redis_url,
        stands_in=settings.demo and not (settings.upstream_url or settings.upstreams),
        demo=settings.demo,
        drain_seconds=settings.lame_duck_seconds + settings.drain_seconds,
    )


if __name__ == "__main__":
    main()
