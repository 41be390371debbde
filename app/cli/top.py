"""`belfry top`: the figures of the whole deployment in a terminal, renewed every few seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from ..client import Client, ClientError
from .signing import OPERATOR, client_of
from .words import counted, plain, show_json

BARS: Final = "▁▂▃▄▅▆▇█"
PLOTTED: Final = 60  # points of the small plot
TWO_DIGITS: Final = 10  # from here on, decimals tell nothing
LISTED: Final = 10  # users with the most connections

Point = dict[str, Any]


@click.command()
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.5, 3_600), help="Seconds.")
@click.option("--once", is_flag=True, help="Print the figures once.")
@click.option("--json", "as_json", is_flag=True, help="Print each new point as a line of JSON.")
def top(every: float, *, once: bool, as_json: bool) -> None:
    """Show workers, connections, messages, deliveries, latency and errors until Ctrl-C.

    It goes on while the server does not answer, and says so.
    """
    client = client_of(OPERATOR, ["admin"])
    view = JsonView() if as_json else ScreenView(clears=not once)
    view.show(client)  # a server that never answered is an error
    try:
        while not once:
            time.sleep(every)
            try:
                view.show(client)
            except ClientError as error:
                view.complain(str(error))
    except KeyboardInterrupt:
        return


class JsonView:
    """Prints each new point as a line of JSON, and that the server does not answer once for each outage."""

    def __init__(self) -> None:
        self._newest = 0
        self._is_away = False

    def show(self, client: Client) -> None:
        """Print the points since the last call, at first the newest one. Raises `ClientError`."""
        points: list[Point] = client.figures()["points"]
        for point in points if self._newest else points[-1:]:
            if point["time"] > self._newest:
                show_json(point)
                self._newest = point["time"]
        self._is_away = False

    def complain(self, text: str) -> None:
        """Say on stderr what went wrong."""
        if not self._is_away:
            click.echo(f"{text}; trying again", err=True)
        self._is_away = True


class ScreenView:
    """Prints the figures, over the former ones if it `clears` the screen."""

    def __init__(self, *, clears: bool) -> None:
        self._clears = clears
        self._lines: list[str] = []
        self._away_since = ""

    def show(self, client: Client) -> None:
        """Print the figures of now. Raises `ClientError`."""
        self._lines = screen(client.figures()["points"], client.presence())
        self._away_since = ""
        self._print(self._lines)

    def complain(self, text: str) -> None:
        """Print what went wrong above the last figures, and since when."""
        self._away_since = self._away_since or datetime.now(UTC).strftime("%H:%M:%S UTC")
        away = f"{plain(text)}; trying again since {self._away_since}. The last figures were:"
        self._print([away, "", *self._lines])

    def _print(self, lines: Sequence[str]) -> None:
        if self._clears:
            click.clear()
        click.echo("\n".join(lines))


def screen(points: Sequence[Point], online: dict[str, Any]) -> list[str]:
    """Return the lines of one view: the newest point, plots of the points before it, and the busiest users."""
    if not points:
        return ["no figures yet: the first point comes after a few seconds"]
    now = points[-1]
    lines = [
        f"{counted(now['workers'], 'worker')}, {counted(now['connections'], 'connection')}, {now['slow']} slow",
        "",
    ]
    lines += [
        _row("connections", [point["connections"] for point in points], ""),
        _row("messages", [point["messages"] / point["seconds"] for point in points], "/s"),
        _row("deliveries", [point["deliveries"] / point["seconds"] for point in points], "/s"),
        _row("latency p50", [point["p50"] for point in points], " ms"),
        _row("latency p99", [point["p99"] for point in points], " ms"),
        _row("errors (5xx)", [point["errors"] * 60 / point["seconds"] for point in points], "/min"),
        _row("refusals (4xx)", [point["refusals"] * 60 / point["seconds"] for point in points], "/min"),
        "",
    ]
    busiest = sorted(online.items(), key=lambda item: (-item[1]["connections"], item[0]))[:LISTED]
    for user, each in busiest:
        lines.append(f"{counted(each['connections'], 'connection'):>16}  {plain(user)}  since {each['since']}")
    return lines


def _row(name: str, values: Sequence[float | None], unit: str) -> str:
    """Return a name, the newest value, the highest one, and a plot of the last values. None is an unknown value."""
    shown = values[-PLOTTED:]
    most = max((value for value in shown if value is not None), default=None)
    plot = "".join(BARS[round((value or 0) / most * (len(BARS) - 1))] if most else BARS[0] for value in shown)
    return f"{name:15}{_text(values[-1], unit):>12}  most {_text(most, unit):>12}  {plot}"


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return (f"{value:,.0f}" if value >= TWO_DIGITS or value == int(value) else f"{value:.2f}") + unit
