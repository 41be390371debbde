"""`belfry token`, `hash-password`, `revoke` and `sessions`: make, list and revoke credentials."""

from __future__ import annotations

import os

import click

from ..core.identity.tokens import SCOPES
from ..core.settings import load
from ..launch import demo
from .signing import OPERATOR, client_of, mint
from .words import json_option, listed, plain, show_json


@click.command()
@click.argument("name")
@click.option("--scope", default="feed publish", show_default=True, help=f"Any of: {' '.join(SCOPES)}.")
@click.option("--ttl", default=3_600, show_default=True, type=click.IntRange(min=1), help="Life in seconds.")
@click.option("--topics", default="", help="Topics NAME may read, separated by commas; 'news*' is a prefix.")
@click.option(
    "--to", multiple=True, help="Whom NAME may publish to: user:…, topic:…, everyone. Repeatable; default all."
)
def token(name: str, scope: str, ttl: int, topics: str, to: tuple[str, ...]) -> None:
    """Print a token for the user NAME."""
    scopes = scope.replace(",", " ").split()
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise click.BadParameter(f"{unknown[0]!r} is none of: {' '.join(SCOPES)}", param_hint="--scope")
    click.echo(mint(load(os.environ), name, scopes, ttl, topics=listed(topics), to=to or None))


@click.command("hash-password")
def hash_password() -> None:
    """Ask for a password and print the hash that BELFRY_ADMIN_PASSWORD_HASH takes."""
    from ..core.identity import passwords  # noqa: PLC0415 - the other commands start faster without it

    click.echo(passwords.hash_password(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))


@click.command("push-key")
def push_key() -> None:
    """Print a new private key, which BELFRY_PUSH_PRIVATE_KEY takes. All nodes of a deployment share one."""
    click.echo(demo.new_push_key())


@click.command()
@click.option("--user", help="Every token and session that USER has now.")
@click.option("--token", help="One token, given as it is.")
@click.option("--token-id", help="One token, by its `jti`.")
@json_option
def revoke(*, as_json: bool, **names: str | None) -> None:
    """Withdraw credentials: open streams end within two seconds, everywhere."""
    given = {name: value for name, value in names.items() if value is not None}
    if len(given) != 1:
        raise click.UsageError("give one of --user, --token and --token-id")
    answer = client_of(OPERATOR, ["admin"]).revoke(given)
    if as_json:
        show_json(answer)
        return
    click.echo(f"revoked {answer['revoked']} {plain(answer['name'])}, sessions ended: {answer['sessions_ended']}")


@click.command()
@click.argument("user")
@json_option
def sessions(user: str, *, as_json: bool) -> None:
    """List the sessions of USER that last: name and end."""
    found = client_of(OPERATOR, ["admin"]).sessions(user)
    if as_json:
        show_json({"sessions": found})
        return
    for session in found:
        click.echo(f"{session['name']}  until {session['expires_at']}")
