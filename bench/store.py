"""What Belfry's data cost in Redis: bytes per user, message, id and recipient list, and an estimate for a deployment.

    ./run bench store [--users 1000] [--messages 100] [--plan-users 1000000] [--plan-per-day 5] [--given-ids] [--json]

Starts the Redis or Valkey that `./run` would start, without a file, fills it by the code that the server uses, and then
removes one kind of key after the other. What each kind costs is the difference of `used_memory`, so everything that
Redis needs for a key is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import redis

from app.core.message import Message, parse
from app.core.settings import Settings
from app.launch.embedded import engines
from app.store.insight import directory, flights
from app.store.insight.directory import Directory, KnownUser
from app.store.insight.flights import FlightStore, written
from app.store.logs import lineage, log
from app.store.logs.log import LogStore
from app.store.logs.publisher import Publisher
from app.store.logs.recipients import Recipients
from app.transport.connection import Connection

BODY_BYTES: Final = 120  # of what the publisher writes; `time`, `id` and names of members come on top
BATCH: Final = 200
DAY_SECONDS: Final = 86_400
START_SECONDS: Final = 10.0

Costs = dict[str, float]


def measure(url: str, users: int, messages: int, *, given_ids: bool = False) -> Costs:
    """Bytes of one user that was connected once, message, id and recipient list, on the empty Redis at `url`.

    `given_ids`: publishers give the messages' ids, which are remembered longer and may go to further users later.
    """
    settings = Settings(redis_url=url, history_length=messages)
    scripts = (*log.SCRIPTS, *lineage.SCRIPTS, *directory.SCRIPTS, *flights.SCRIPTS)
    connection = Connection.open(settings, scripts)
    store = LogStore(connection, settings)
    publisher = Publisher(store, Recipients(store, connection, settings))
    names = [f"user-{number:08}" for number in range(users)]
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        connection.ping()
        store.lineage.look()
        _publish(publisher, ["warm-up"] * BATCH, 1, given_ids=given_ids)  # a connection's buffers grow
        _connect(connection, settings, ["warm-up"] * BATCH)
        empty = _used(client)
        _connect(connection, settings, names)
        connected = _used(client)
        _publish(publisher, names, messages, given_ids=given_ids)
        filled = _used(client)
        _remove(client, "belfry:{message:*")
        without_recipients = _used(client)
        _remove(client, "belfry:{user:user-*}:id:*")
        without_ids = _used(client)
    count = users * messages
    return {
        "connected user": (connected - empty) / users,
        "message": (without_ids - connected) / count,
        "id": (without_recipients - without_ids) / count,
        "recipients": (filled - without_recipients) / count,
    }


def estimate(
    costs: Costs, users: int, kept: int, per_day: float, settings: Settings, *, given_ids: bool = False
) -> int:
    """Bytes of `users` with `kept` messages each, of which `per_day` came in each of the last days."""
    dedup_seconds = settings.dedup_seconds
    id_days = (dedup_seconds if given_ids else min(settings.own_id_seconds, dedup_seconds)) / DAY_SECONDS
    recipient_days = settings.retract_seconds / DAY_SECONDS
    each = costs["connected user"] + kept * costs["message"]
    each += per_day * (id_days * costs["id"] + recipient_days * costs["recipients"])
    return round(users * each)


def _publish(publisher: Publisher, names: list[str], messages: int, *, given_ids: bool) -> None:
    """Message by message and not user by user, as in life: so no user's data lie together in memory."""
    numbers = range(len(names) * messages)
    for start in range(0, len(numbers), BATCH):
        batch = [_message(names[at % len(names)], at, given_ids=given_ids) for at in numbers[start : start + BATCH]]
        publisher.publish(batch)


def _message(user: str, number: int, *, given_ids: bool) -> Message:
    new_id = f"{number:022}"  # as long as those that the server makes up
    body = {"to": user, "body": "x" * BODY_BYTES, **({"id": new_id} if given_ids else {})}
    return parse(json.dumps(body).encode(), now=time.time(), new_id=new_id, max_recipients=1)


def _connect(connection: Connection, settings: Settings, names: list[str]) -> None:
    """What a first connection leaves behind: two events of the flight recorder, and the user in the directory."""
    at = "2026-11-30T12:00:00.000Z"
    here = {"time": at, "connection": "0123456789ab", "places": {"user:x": "k3f9q2.0", "everyone": "b71x0a.7"}}
    events = [{**here, "what": "connected"}, {**here, "what": "closed", "reason": "client"}]
    FlightStore(connection, settings).write([(name, written(event)) for name in names for event in events])
    Directory(connection, settings).write([KnownUser(name, time.time()) for name in names])


def _remove(client: redis.Redis, pattern: str) -> None:
    keys = list(client.scan_iter(pattern, count=1_000))
    for start in range(0, len(keys), 1_000):
        client.delete(*keys[start : start + 1_000])


def _used(client: redis.Redis) -> int:
    """Bytes that the data take, without the buffers of connections and the cache of scripts."""
    memory = client.info("memory")
    return int(memory["used_memory"]) - int(memory.get("mem_clients_normal", 0))


@contextlib.contextmanager
def started() -> Iterator[str]:
    """An empty server without a file; its address."""
    engine = next(engines(os.environ.get("PATH")), None)
    if engine is None:
        raise click.ClickException("No Redis or Valkey was found. Install valkey-server or redis-server 7.0 or newer.")
    with TemporaryDirectory(prefix="belfry-bench-") as directory_name:
        socket = Path(directory_name) / "s"
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--activerehashing", "yes"]
        process = subprocess.Popen([engine.binary, *options], stdout=subprocess.DEVNULL, cwd=directory_name)
        try:
            until = time.monotonic() + START_SECONDS
            while not socket.exists() and time.monotonic() < until:
                time.sleep(0.02)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait()


@click.command()
@click.option("--users", default=1_000, show_default=True, type=click.IntRange(10), help="Users to measure with.")
@click.option("--messages", default=100, show_default=True, type=click.IntRange(1), help="Messages that each has.")
@click.option("--plan-users", default=1_000_000, show_default=True, type=click.IntRange(1), help="Users to plan for.")
@click.option(
    "--plan-per-day", default=5.0, show_default=True, type=click.FloatRange(0), help="Messages of each a day."
)
@click.option("--given-ids", is_flag=True, help="Publishers give the ids, instead of the server.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(users: int, messages: int, plan_users: int, plan_per_day: float, *, given_ids: bool, as_json: bool) -> None:
    """Measure what a user, a message, an id and a recipient list cost in Redis."""
    with started() as url:
        costs = measure(url, users, messages, given_ids=given_ids)
    planned = estimate(costs, plan_users, messages, plan_per_day, Settings(), given_ids=given_ids)
    if as_json:
        click.echo(json.dumps({**costs, "estimate": planned}))
        return
    for name, cost in costs.items():
        click.echo(f"{name:16}{cost:8.0f} bytes")
    click.echo(
        f"{plan_users:,} users with {messages} messages of {BODY_BYTES} bytes each, {plan_per_day:g} of them a day: "
        f"{planned / 1e9:.1f} GB"
    )


if __name__ == "__main__":
    main()
