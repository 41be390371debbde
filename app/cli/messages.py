"""`belfry publish`, `tail` and `complete`: send a message, and print messages and answers as they arrive."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import click

from ..client import Client, ClientError
from ..core.completion import Transcript
from ..core.wire.sse import Event
from .signing import OPERATOR, client_of
from .words import harmless_json, json_option, listed, plain, show_json

NOT_MESSAGES: Final = frozenset({"ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye"})


@click.command()
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
@click.option("--transient", is_flag=True, default=None, help="Only for users who are connected now.")
@json_option
def publish(words: tuple[str, ...], *, as_json: bool, **fields: Any) -> None:
    """Send a message with the title TEXT to USER."""
    message = _message(words, fields)
    answer = client_of(OPERATOR, ["publish"]).publish(message)
    if as_json:
        show_json(answer)
        return
    for delivery in answer["deliveries"]:
        click.echo(_delivery_line(answer["id"], delivery))


@click.command()
@click.argument("user")
@click.option("--topics", default="", help="Topics to follow as well, separated by commas.")
@click.option("--since", default="", metavar="CURSOR", help="Start after this position instead of now.")
@click.option("--history", default=0, type=click.IntRange(0, 100), help="First print this many earlier messages.")
@click.option("--json", "as_json", is_flag=True, help="Print each message as it came, as JSON.")
def tail(user: str, topics: str, since: str, history: int, as_json: bool) -> None:
    """Print the messages of USER as they come, until Ctrl-C. A lost connection is made again, and nothing is missed."""
    if since and history:
        raise click.UsageError("--since and --history exclude each other")
    client = client_of(user, ["feed"], topics=listed(topics))
    show = _show_json if as_json else _show_line
    try:
        for event in client.follow(since or _show_history(client, history, topics, show), topics):
            _show_event(event, show)
    except KeyboardInterrupt:
        return


@click.command()
@click.argument("prompt")
@click.option("--user", default="belfry-cli", show_default=True, help="Whose run it is.")
@click.option("--model", default="default", show_default=True, help="The model, as the upstream names it.")
def complete(prompt: str, user: str, model: str) -> None:
    """Print the answer to PROMPT token by token. A lost connection is made again, and nothing is missed."""
    try:
        for event in client_of(user, ["complete"]).complete(prompt, model):
            _show_part(event)
    except KeyboardInterrupt:
        return
    finally:
        click.echo()


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from None


def _message(words: tuple[str, ...], fields: dict[str, Any]) -> dict[str, Any]:
    """Return the body of `POST /publish`. Raises `click.UsageError` if the words don't fit the options."""
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
    """Show the last `count` messages, oldest first. Return the cursor to continue from, or "" to start now."""
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
        click.echo(f"belfry: the server said goodbye: {plain(event.data)}", err=True)


def _show_part(event: Event) -> None:
    """Print a piece of an answer. Raises `ClientError` if the answer failed."""
    if event.event == "message":
        transcript = Transcript()
        transcript.add(event.data)
        click.echo("".join(char for char in transcript.text if char.isprintable() or char in "\n\t"), nl=False)
    elif event.event == "failed":
        raise ClientError(f"the answer is not whole: {plain(json.loads(event.data)['detail'])}")


def _show_json(data: str) -> None:
    click.echo(harmless_json(data))


def _show_line(data: str) -> None:
    message = json.loads(data)
    parts = (message.get(name) for name in ("time", "title", "body"))
    click.echo("  ".join(plain(part) for part in parts if part))
