"""`belfry users`, `disconnect` and `explain`: find users, end their connections, and trace one message."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from .signing import OPERATOR, client_of
from .words import json_option, plain, show_json

PLACES_SECONDS: Final = 1.5  # after a first question, the workers have reported where the user's connections are


@click.command()
@click.argument("prefix", default="")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="How many users to list.")
@json_option
def users(prefix: str, limit: int, *, as_json: bool) -> None:
    """List the known users whose ids begin with PREFIX, and whether they are connected now."""
    told = client_of(OPERATOR, ["admin"]).users(prefix, limit)
    if as_json:
        show_json(told)
        return
    for user in told["users"]:
        never = "" if user.get("visited", True) else ", never visited"
        click.echo(f"{plain(user['user'])}  {'online' if user['online'] else 'offline'}  seen {user['seen']}{never}")
    click.echo(f"{len(told['users'])} listed, {told['known']} users known", err=True)


@click.command()
@click.argument("user")
@click.option("--connection", default="", metavar="ID", help="Only this connection, by its id of 8 digits.")
@json_option
def disconnect(user: str, connection: str, *, as_json: bool) -> None:
    """End the connections of USER. The clients come back after a minute; use `revoke` to keep them out."""
    client_of(OPERATOR, ["admin"]).disconnect(user, connection)
    if as_json:
        show_json({"user": user, "connection": connection or None})
    else:
        click.echo(f"ended {f'connection {connection}' if connection else 'every connection'} of {plain(user)}")


@click.command()
@click.argument("message")
@click.option("--user", required=True, help="The user who should have the message.")
@json_option
def explain(message: str, user: str, *, as_json: bool) -> None:
    """Tell whether MESSAGE, an id, reached USER, and what happened to it on the way."""
    client = client_of(OPERATOR, ["admin"])
    client.trace(user, message)
    time.sleep(PLACES_SECONDS)
    told = client.trace(user, message)
    if as_json:
        show_json(told)
        return
    stored = f", stored at offset {told['offset']} of {plain(told['log'])}" if told["offset"] is not None else ""
    click.echo(f"{verdict(told)} Now: {state(told)}{stored}.")
    for step in told["steps"]:
        click.echo(f"{step['time']}  {sentence(step)}")


def verdict(told: dict[str, Any]) -> str:
    """Return one sentence that says whether the message arrived, as far as anything proves it."""
    steps = {step["what"]: step for step in reversed(told["steps"])}  # the first step of each kind
    proof = steps.get("read") or steps.get("acknowledged")
    if told["read"] or proof:
        return "It arrived" + (f", by {proof['time']} at the latest." if proof else ".")
    if "sent" in steps:
        return "It was sent. Nothing proves yet that the client has it."
    return "Nothing proves that it arrived."


def state(told: dict[str, Any]) -> str:
    """Return what the message is in the user's feed now."""
    if not told["kept"]:
        return "no longer kept"
    marks = ("removed", "archived", "read")
    return next((mark for mark in marks if told[mark]), "unread")


def sentence(step: dict[str, Any]) -> str:
    """Return one step of a trace in words (`steps` of app/core/insight/trace.py)."""
    what, connection = step["what"], step.get("connection", "")
    if what == "sent" and step.get("caught_up"):
        return f"Connection {connection} came later and received it from the history."
    if what == "sent":
        return f"Sent to connection {connection} at once; the connection had it by {step['until']} at the latest."
    if what == "pushed":
        return f"Pushed to {step['devices']} {'device' if step['devices'] == 1 else 'devices'}."
    texts = {
        "acknowledged": f"The client came back with a cursor after the message (connection {connection}): it has it.",
        "began_after": f"Connection {connection} began after the message: its client finds it in the feed.",
        "not_yet": f"Connection {connection} is open and did not receive it yet.",
        "ended_before": f"Connection {connection} ended before it was sent.",
        "reset": f"Connection {connection} was told that history was lost: its client fetches the feed again.",
    }
    return texts.get(what, f"{plain(what).capitalize()}.")
