"""`./run bench`: measures, prints a table, writes table, plot and JSON, and compares with an earlier run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.given import given
from bench.load import LoadError, compiled
from bench.report import OWN, Run, write
from bench.rounds import measured
from bench.scenarios import SCENARIOS
from bench.servers import belfry, peers

NAMES = [scenario.name for scenario in SCENARIOS]


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds; in each, every server is measured in turn.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only this scenario; may be repeated.")
@click.option("--peers", "with_peers", is_flag=True, help="Measure the installed peers as well.")
@click.option("--peer", "chosen", multiple=True, help="Measure this peer as well: loop, nchan, starlette, flask-sse.")
@click.option("--mercure", default="", metavar="PATH", help="Mercure's program, to measure it as well.")
@click.option("--centrifugo", default="", metavar="PATH", help="Centrifugo's.")
@click.option("--pushpin", default="", metavar="PATH", help="Pushpin's.")
@click.option("--against", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An earlier result.json.")
@click.option("--out", default=Path("bench-results"), type=click.Path(path_type=Path), help="Where results go.")
def main(
    rounds: int,
    only: tuple[str, ...],
    with_peers: bool,
    chosen: tuple[str, ...],
    against: Path | None,
    out: Path,
    **programs: str,
) -> None:
    """Measure Belfry, as `./run` starts it, over real sockets; medians of several interleaved rounds."""
    scenarios = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
    servers = [belfry(), *(peer for peer in peers() if with_peers or peer.name in chosen), *given(**programs)]
    try:
        compiled("load.c")
    except LoadError as error:
        raise click.ClickException(str(error)) from None
    earlier = Run.read(against) if against else None
    run = Run.now(rounds, measured(servers, scenarios, rounds, say=lambda line: click.echo(line, err=True)))
    write(run, out, earlier)
    click.echo(run.table(earlier))
    if run.failures.get(OWN) or (earlier and run.regressions(earlier)):
        sys.exit(1)


if __name__ == "__main__":
    main()
