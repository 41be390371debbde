"""An examination of a deployment from the command line: with whose credentials, and what is shown of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import click

from ..conformance.check import Check
from ..conformance.credentials import Credentials, GivenCredentials, SignedCredentials
from ..conformance.probe import Options
from ..conformance.report import Result
from ..conformance.suite import Suite, UnreachableError
from ..core.settings import PREFIX, Settings, SettingsError, load
from .signing import checked_url, mint, secret, server_url
from .words import plain

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def examine(
    url: str | None, tokens: Sequence[str], checks: Sequence[Check], as_json: bool, options: dict[str, Any]
) -> NoReturn:
    """Show what the checks find, each as soon as it is known or as JSON at the end, and leave with the exit code."""
    settings = load(os.environ)
    address = checked_url(url) if url else server_url(settings)
    show: Callable[[Result], None] = (lambda _result: None) if as_json else (lambda result: click.echo(result.line()))
    try:
        report = Suite(address, _credentials(settings, tokens, address), Options(**options), checks).run(show)
    except UnreachableError as error:
        click.echo(f"belfry: {plain(str(error))}", err=True)
        sys.exit(2)
    click.echo(json.dumps(report.as_json(), ensure_ascii=False) if as_json else report.summary())
    sys.exit(0 if report.ok else 1)


def _credentials(settings: Settings, tokens: Sequence[str], address: str) -> Credentials:
    """The given tokens, or a secret to sign tokens with, or nothing: some checks need no credential.

    The demo's secret is nobody else's, so it signs for no address but this machine's.
    """
    if tokens:
        return GivenCredentials(tokens)
    try:
        if settings.secret or urlsplit(address).hostname in LOOPBACK:
            settings = settings.model_copy(update={"secret": secret(settings)})
            return SignedCredentials(partial(mint, settings))
    except SettingsError:
        pass
    click.echo(f"belfry: neither {PREFIX}SECRET nor --token: most checks are skipped", err=True)
    return GivenCredentials(tokens)
