"""`belfry conformance` and `belfry doctor`: test a running deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..core.settings import PREFIX
from .words import listed


def _checking(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and options that both commands share."""
    options = (
        click.argument("url", required=False),
        click.option(
            "--token",
            "tokens",
            multiple=True,
            envvar=f"{PREFIX}TOKEN",
            help=f"Act as this token says instead of signing tokens with {PREFIX}SECRET. Repeatable.",
        ),
        click.option("--patience", default=5.0, show_default=True, help="Seconds for what has to come at once."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_checking
@click.option("--silence", default=20.0, show_default=True, help="Seconds within which a silent stream says something.")
@click.option("--origin", default="", help="An origin whose pages the deployment allows, to try CORS.")
@click.option("--model", default="", help="A model to ask for a few words, to try completions. It may cost money.")
@click.option("--forget", is_flag=True, help="Have the users that were made for the run forgotten at its end.")
@click.option("--only", default="", metavar="NAMES", help="Only the checks whose names begin so, separated by commas.")
def conformance(url: str | None, tokens: tuple[str, ...], as_json: bool, only: str, **options: Any) -> None:
    r"""Put a running deployment to the test: what Belfry promises, check by check.

    Signs tokens of users made for the run with BELFRY_SECRET, or takes the --token of a user made for it, whose scopes
    say what can be tried: feed and publish for most checks, admin and complete for some. Takes back what it sends.

    \b
    Exit code: 0 all is well, 1 something failed, 2 it could not be tried.
    """
    from ..conformance.checks import CHECKS  # noqa: PLC0415 - the other commands start faster without it
    from .examination import examine  # noqa: PLC0415 - the other commands start faster without it

    wanted = tuple(listed(only)) or ("",)
    examine(url, tokens, [check for check in CHECKS if check.name.startswith(wanted)], as_json, options)


@click.command()
@_checking
@click.option("--origin", default="", help="An origin whose pages the deployment allows, to try CORS.")
def doctor(url: str | None, tokens: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Look at the way to a deployment: whether it answers, at once, unbuffered, with the right headers.

    The short form of `conformance`, with the same exit codes.
    """
    from ..conformance.checks import DOCTOR  # noqa: PLC0415 - the other commands start faster without it
    from .examination import examine  # noqa: PLC0415 - the other commands start faster without it

    examine(url, tokens, DOCTOR, as_json, options)
