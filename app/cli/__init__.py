"""The `belfry` command: serve, mint tokens, publish, follow a stream, operate and test a deployment.

Arguments go in, lines come out.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from .. import __version__
from ..client import ClientError
from ..core.errors import BelfryError
from ..core.settings import SettingsError
from ..launch import installation
from ..launch.address import AddressError
from .capacity import capacity
from .checks import conformance, doctor
from .completion import completion
from .credentials import hash_password, push_key, revoke, sessions, token
from .messages import complete, publish, tail
from .people import disconnect, explain, users
from .top import top
from .transfer import export_feed, import_feed

FAILURES: Final = (AddressError, BelfryError, ClientError, SettingsError)


def main() -> None:
    """Run one command. A failure is printed in one line, with exit code 1."""
    try:
        commands()
    except FAILURES as error:
        click.echo(f"belfry: {error}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="belfry")
@click.pass_context
def commands(context: click.Context) -> None:
    """Publish messages to specific users, follow what they get, and operate the server. Without a command: serve."""
    if context.invoked_subcommand is None:
        context.invoke(serve)


@commands.command()
def serve() -> None:
    """Start the server, with an embedded store unless BELFRY_REDIS_URL names one."""
    os.chdir(installation.base())
    command = installation.python("launch.launcher")
    # The launcher lives as long as the servers. It replaces this process, because this process has loaded much more.
    os.execv(command[0], command)  # noqa: S606 - our own module


COMMANDS: Final = (
    *(token, hash_password, push_key, revoke, sessions),
    *(publish, tail, complete),
    *(users, disconnect, explain, top, export_feed, import_feed),
    *(conformance, doctor, capacity, completion),
)
for _command in COMMANDS:
    commands.add_command(_command)
