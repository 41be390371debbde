"""The `belfry` command: serve, mint tokens, publish, follow a stream, test a deployment. Arguments in, lines out."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from app import demo
from app.address import Address, AddressError
from app.client import Client, ClientError
from app.core.completion import Transcript
from app.core.errors import BelfryError
from app.core.settings import PREFIX, Settings, SettingsError, load
from app.core.sse import Event
from app.core.tokens import SCOPES, Keyring

if TYPE_CHECKING:
    from app.conformance.check import Check
    from app.conformance.credentials import Credentials
    from app.conformance.report import Result

ROOT: Final = Path(__file__).resolve().parent.parent  # the launcher, too, takes a relative data directory from here
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
OWN_TOKEN_SECONDS: Final = 3_600  # of the tokens that `publish` and `tail` make for themselves
NOT_MESSAGES: Final = frozenset({"ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye"})
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
    from app import launcher  # noqa: PLC0415 - the other commands start faster without it

    sys.exit(launcher.main())


@commands.command()
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
    click.echo(_mint(load(os.environ), name, scopes, ttl, topics=_listed(topics), to=to or None))


@commands.command("hash-password")
def hash_password() -> None:
    """Ask for a password and print the hash that BELFRY_ADMIN_PASSWORD_HASH takes."""
    from app.core import passwords  # noqa: PLC0415 - the other commands start faster without it

    click.echo(passwords.hash_password(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))


@commands.command()
@click.option("--user", help="Every token and session that USER has now.")
@click.option("--token", help="One token, given as it is.")
@click.option("--token-id", help="One token, by its `jti`.")
def revoke(**names: str | None) -> None:
    """Withdraw credentials: open streams end within two seconds, everywhere."""
    given = {name: value for name, value in names.items() if value is not None}
    if len(given) != 1:
        raise click.UsageError("give one of --user, --token and --token-id")
    answer = _client("belfry-cli", ["admin"]).revoke(given)
    click.echo(f"revoked {answer['revoked']} {_plain(answer['name'])}, sessions ended: {answer['sessions_ended']}")


@commands.command()
@click.argument("user")
def sessions(user: str) -> None:
    """List the sessions of USER that last: name and end."""
    for session in _client("belfry-cli", ["admin"]).sessions(user):
        click.echo(f"{session['name']}  until {session['expires_at']}")


@commands.command()
@click.argument("words", nargs=-1, metavar="[USER] [TEXT]")
@click.option("--topic", help="Publish to a topic instead of a user.")
@click.option("--everyone", is_flag=True, default=None, help="Publish to everyone instead of a user.")
@click.option("--title", help="The same as TEXT.")
@click.option("--body")
@click.option("--url", help="http, https or a path.")
@click.option("--level", type=click.Choice(["info", "success", "warning", "error"]))
@click.option("--event", help="SSE event type; default: message.")
@click.option("--id", help="Idempotency key: the same id again is not sent again.")
@click.option("--key", help="Take the place of the earlier message with this key.")
@click.option("--data", callback=lambda _context, _option, text: _json(text), help="Any JSON.")
@click.option("--ttl", type=int, help="Seconds until the message is dropped.")
@click.option("--transient", is_flag=True, default=None, help="Only for who is connected now.")
def publish(words: tuple[str, ...], **fields: Any) -> None:
    """Send a message with the title TEXT to USER."""
    message = _message(words, fields)
    answer = _client("belfry-cli", ["publish"]).publish(message)
    for delivery in answer["deliveries"]:
        click.echo(_delivery_line(answer["id"], delivery))


@commands.command()
@click.argument("user")
@click.option("--topics", default="", help="Topics to follow as well, separated by commas.")
@click.option("--since", default="", metavar="CURSOR", help="Start after this position instead of now.")
@click.option("--history", default=0, type=click.IntRange(0, 100), help="First print this many earlier messages.")
@click.option("--json", "as_json", is_flag=True, help="Print each message as it came, as JSON.")
def tail(user: str, topics: str, since: str, history: int, as_json: bool) -> None:
    """Print the messages of USER as they come, until Ctrl-C. A lost connection is made again, and nothing is missed."""
    if since and history:
        raise click.UsageError("--since and --history exclude each other")
    client = _client(user, ["feed"], topics=_listed(topics))
    show = _show_json if as_json else _show_line
    try:
        for event in client.follow(since or _show_history(client, history, topics, show), topics):
            _show_event(event, show)
    except KeyboardInterrupt:
        return


@commands.command()
@click.argument("prompt")
@click.option("--user", default="belfry-cli", show_default=True, help="Whose run it is.")
@click.option("--model", default="default", show_default=True, help="The model, as the upstream names it.")
def complete(prompt: str, user: str, model: str) -> None:
    """Print the answer to PROMPT token by token. A lost connection is made again, and nothing is missed."""
    try:
        for event in _client(user, ["complete"]).complete(prompt, model):
            _show_part(event)
    except KeyboardInterrupt:
        return
    finally:
        click.echo()


def _checking(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and options of the commands that look at a deployment."""
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


@commands.command()
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
    from app.conformance.checks import CHECKS  # noqa: PLC0415 - the other commands start faster without it

    wanted = tuple(_listed(only)) or ("",)
    _check(url, tokens, [check for check in CHECKS if check.name.startswith(wanted)], as_json, options)


@commands.command()
@_checking
def doctor(url: str | None, tokens: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Look at the way to a deployment: whether it answers, at once, unbuffered, with the right headers.

    The short form of `conformance`, with the same exit codes.
    """
    from app.conformance.checks import DOCTOR  # noqa: PLC0415 - the other commands start faster without it

    _check(url, tokens, DOCTOR, as_json, options)


def _check(url: str | None, tokens: Sequence[str], checks: Sequence[Check], as_json: bool, options: Any) -> None:
    from app.conformance.probe import Options  # noqa: PLC0415
    from app.conformance.suite import Suite, UnreachableError  # noqa: PLC0415

    settings = load(os.environ)
    address = _address(url) if url else _server(settings)
    show: Callable[[Result], None] = (lambda _result: None) if as_json else (lambda result: click.echo(result.line()))
    try:
        report = Suite(address, _credentials(settings, tokens, address), Options(**options), checks).run(show)
    except UnreachableError as error:
        click.echo(f"belfry: {_plain(str(error))}", err=True)
        sys.exit(2)
    click.echo(json.dumps(report.as_json(), ensure_ascii=False) if as_json else report.summary())
    sys.exit(0 if report.ok else 1)


def _credentials(settings: Settings, tokens: Sequence[str], address: str) -> Credentials:
    """The given tokens, else what can be signed here, else nothing: some checks need no credential.

    The demo's secret is nobody else's, so it signs for no address but this machine's.
    """
    from app.conformance.credentials import GivenCredentials, SignedCredentials  # noqa: PLC0415

    if tokens:
        return GivenCredentials(tokens)
    try:
        if settings.secret or urlsplit(address).hostname in LOOPBACK:
            settings = settings.model_copy(update={"secret": _secret(settings)})
            return SignedCredentials(partial(_mint, settings))
    except SettingsError:
        pass
    click.echo(f"belfry: neither {PREFIX}SECRET nor --token: most checks are skipped", err=True)
    return GivenCredentials(tokens)


def _mint(settings: Settings, user: str, scopes: list[str], seconds: int, **grants: Any) -> str:
    keyring = Keyring(settings.model_copy(update={"secret": _secret(settings)}))
    return keyring.sign(user, scopes, time.time(), seconds, **{"token_id": secrets.token_hex(16), **grants})


def _secret(settings: Settings) -> str:
    """The configured secret, else the one that the demo made in its data directory."""
    path = ROOT / settings.data_dir / demo.SECRET_FILE
    try:
        return settings.secret or path.read_text(encoding="ascii").strip()
    except OSError:
        raise SettingsError(f"no secret to sign with: set {PREFIX}SECRET, or start the demo server first") from None


def _client(user: str, scopes: list[str], **grants: Any) -> Client:
    """A client that signs its own tokens, for BELFRY_URL or else for where the server on this machine listens."""
    settings = load(os.environ)
    url = _server(settings)
    _mint(settings, user, scopes, OWN_TOKEN_SECONDS, **grants)  # without a secret, fail here and not in mid-stream
    return Client(url, lambda: _mint(settings, user, scopes, OWN_TOKEN_SECONDS, **grants))


def _server(settings: Settings) -> str:
    """BELFRY_URL, or else where the server on this machine listens."""
    return _address(os.environ.get(f"{PREFIX}URL") or Address.parse(settings.bind).url, f"{PREFIX}URL")


def _address(url: str, name: str = "URL") -> str:
    """Raises `SettingsError` unless `url` is one that can be asked."""
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"{name} must be the server's http or https address, got {url!r}")
    return url.rstrip("/")


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from None


def _message(words: tuple[str, ...], fields: dict[str, Any]) -> dict[str, Any]:
    """The body of `POST /publish`. Raises `click.UsageError` if the words don't fit the options."""
    to_user = not (fields["topic"] or fields["everyone"])
    rest = list(words)
    if to_user and not rest:
        raise click.UsageError("name a USER, or give --topic or --everyone")
    named = {"to": rest.pop(0)} if to_user else {}
    if len(rest) > (fields["title"] is None):
        raise click.UsageError(f"unexpected {rest[-1]!r}: put the TEXT in quotes")
    title = {"title": rest[0]} if rest else {}
    return named | {name: value for name, value in fields.items() if value is not None} | title


def _delivery_line(message_id: str, delivery: dict[str, Any]) -> str:
    state = "sent before" if delivery.get("duplicate") else "online" if delivery.get("online") else "offline"
    place = "not kept" if delivery["offset"] is None else f"offset {delivery['offset']}"
    return f"{delivery['to']}: {state}, {place}, id {message_id}"


def _show_history(client: Client, count: int, topics: str, show: Callable[[str], None]) -> str:
    """Show the last `count` messages, oldest first; where to go on from, or "" for now."""
    if not count:
        return ""
    page = client.feed(count, topics)
    for message in reversed(page["messages"]):
        show(json.dumps(message, ensure_ascii=False))
    return str(page["cursor"])


def _show_event(event: Event, show: Callable[[str], None]) -> None:
    if event.event not in NOT_MESSAGES:
        show(event.data)
    elif event.event == "reset":
        click.echo("belfry: some history was lost", err=True)
    elif event.event == "goodbye":
        click.echo(f"belfry: the server said goodbye: {_plain(event.data)}", err=True)


def _show_part(event: Event) -> None:
    """A piece of an answer. Raises `ClientError` when there will be no more of it."""
    if event.event == "message":
        transcript = Transcript()
        transcript.add(event.data)
        click.echo("".join(char for char in transcript.text if char.isprintable() or char in "\n\t"), nl=False)
    elif event.event == "failed":
        raise ClientError(f"the answer is not whole: {_plain(json.loads(event.data)['detail'])}")


def _show_json(data: str) -> None:
    click.echo(data)


def _show_line(data: str) -> None:
    message = json.loads(data)
    parts = (message.get(name) for name in ("time", "title", "body"))
    click.echo("  ".join(_plain(part) for part in parts if part))


def _plain(text: str) -> str:
    """`text` on one line and without what a terminal would obey: a message's writer is not its reader."""
    return "".join(char if char.isprintable() else " " for char in text)


if __name__ == "__main__":
    main()
