"""The `belfry` command: serve, mint tokens, publish, follow a stream, test a deployment. Arguments in, lines out."""

from __future__ import annotations

import sys
from typing import Final

import click

from ..client import ClientError
from ..core.errors import BelfryError
from ..core.settings import SettingsError
from ..launch.address import AddressError
from .checks import conformance, doctor
from .credentials import hash_password, revoke, sessions, token
from .messages import complete, publish, tail

FAILURES: Final = (AddressError, BelfryError, ClientError, SettingsError)


def main() -> None:
    """Run one command. What goes wrong is told in one line, with exit code 1."""
    try:
        commands()
    except FAILURES as error:
        click.echo(f"belfry: {error}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Belfry rings each user's bell: publish to specific users, and follow what they get."""


@commands.command()
def serve() -> None:
    """Start the server, with an embedded store unless BELFRY_REDIS_URL names one."""
    from ..launch import launcher  # noqa: PLC0415 - the other commands start faster without it

    sys.exit(launcher.main())


for _command in (token, hash_password, revoke, sessions, publish, tail, complete, conformance, doctor):
    commands.add_command(_command)
