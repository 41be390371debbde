"""Runs checks of a deployment from the command line: chooses the credentials and prints the results."""

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
    """Run the checks and print the results, then exit with the exit code.

    Each result is printed as soon as it is known, or all as JSON at the end.
    """
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
    """Return the given tokens, a secret to sign tokens with, or nothing. Some checks need no credential.

    The demo's secret is used only for addresses of this machine, because no other server has it.
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
