"""`belfry plan`: prints what a deployment needs, with the formulas."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import click

from ..core.capacity import COSTS, Figure, Load, first_limit, plan
from ..core.settings import Settings, load

USERS_MAX = 1_000_000_000
SHOWN = ("nodes", "workers", "memory of Belfry", "shards", "memory of Redis", "network to clients")


class Number(click.FloatRange):
    """A number within bounds. It must be finite, so `nan` is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


@click.command("plan")
@click.option("--users", required=True, type=click.IntRange(1, USERS_MAX), help="Users that Redis knows.")
@click.option("--online", required=True, type=Number(0, 1), help="Share of them connected at once, 0 to 1.")
@click.option("--per-day", required=True, type=Number(0, 1e6), help="Messages that each user gets a day.")
@click.option(
    "--kept",
    type=click.IntRange(0, 1_000_000),
    help="Messages kept per user. By default from --per-day and the settings.",
)
@click.option(
    "--body", default=120, show_default=True, type=click.IntRange(0, 65_536), help="Bytes of a message's body."
)
@click.option("--everyone", default=0.0, show_default=True, type=Number(0, 1e6), help="Messages to everyone a day.")
@click.option("--peak", default=5.0, show_default=True, type=Number(1, 1_000), help="Busiest hour over the average.")
@click.option("--stream-hours", default=2.0, show_default=True, type=Number(0.01, 720), help="Life of a stream.")
@click.option(
    "--return-seconds",
    default=60.0,
    show_default=True,
    type=Number(1, 3_600),
    help="Time for all clients to come back.",
)
@click.option(
    "--node-workers", default=4, show_default=True, type=click.IntRange(1, 256), help="Workers (cores) of a node."
)
@click.option(
    "--spare-nodes", default=1, show_default=True, type=click.IntRange(0, 100), help="Nodes that may be lost."
)
@click.option(
    "--shard-gb", default=16.0, show_default=True, type=Number(0.1, 4_096), help="Memory of one Redis, in GB."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def capacity(
    users: int,
    online: float,
    per_day: float,
    kept: int | None,
    body: int,
    everyone: float,
    *,
    as_json: bool,
    **rest: Any,
) -> None:
    r"""Print the nodes, workers, memory, shards and network that a deployment needs, with the formulas.

    The unit costs are measured (./run bench, ./run bench store), on a machine that may be faster or slower than yours.
    Settings come from the environment, as for the server.

    \b
    belfry plan --users 1000000 --online 0.1 --per-day 5
    """
    settings = load(os.environ)
    planned = Load(
        users=users,
        online=online,
        per_day=per_day,
        kept=_kept(per_day, settings) if kept is None else kept,
        body_bytes=body,
        everyone_per_day=everyone,
        peak=rest["peak"],
        stream_seconds=rest["stream_hours"] * 3_600,
        return_seconds=rest["return_seconds"],
        workers_per_node=rest["node_workers"],
        spare_nodes=rest["spare_nodes"],
        shard_gb=rest["shard_gb"],
    )
    figures = plan(planned, settings)
    click.echo(_json(figures) if as_json else _text(figures))


def _kept(per_day: float, settings: Settings) -> int:
    """Return how many messages arrive while a message is kept, but at most the length of a feed."""
    return min(settings.history_length, math.ceil(per_day * settings.history_seconds / 86_400))


def _json(figures: tuple[Figure, ...]) -> str:
    return json.dumps(
        {
            "figures": {
                each.name: {"value": each.value, "unit": each.unit, "formula": each.formula} for each in figures
            },
            "first_limit": first_limit(figures),
            "costs": {name: cost._asdict() for name, cost in COSTS.items()},
        },
        ensure_ascii=False,
    )


def _text(figures: tuple[Figure, ...]) -> str:
    by_name = {figure.name: figure for figure in figures}
    lines = [_line(by_name[name]) for name in SHOWN]
    lines += ["", "From:"]
    lines += [_line(figure) for figure in figures if figure.name not in SHOWN]
    lines += ["", f"What reaches its limit first: {first_limit(figures)}.", "", "Unit costs:"]
    lines += [f"  {cost.value:>7g} {cost.unit} ({cost.source})" for cost in COSTS.values()]
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    value = f"{figure.value:,.0f}" if figure.value == int(figure.value) else f"{figure.value:,.4g}"
    return f"  {figure.name:22}{value} {figure.unit}".rstrip() + f"\n      = {figure.formula}"
