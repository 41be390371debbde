"""`./run bench`: measures, prints a table, writes table, plot and JSON, and compares with an earlier run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench import documents
from bench.figures import BY_SCENARIO
from bench.given import given
from bench.load import LoadError, compiled
from bench.process import end_by_sigterm
from bench.report import OWN, TOLERANCE, Run, write
from bench.rounds import measured
from bench.scenarios import suite
from bench.servers import belfry, peers

TITLES = {scenario: figures[0].title for scenario, figures in BY_SCENARIO.items()}
EPILOG = "\n".join(
    [
        "\b\nScenarios:",
        *(f"  {scenario.name:16}{TITLES[scenario.name]}" for scenario in suite()),
        "\nMore of completions: ./run bench completions. In the browser: ./run bench browser.",
        "Memory of Redis: ./run bench store.",
    ]
)


@click.command(epilog=EPILOG)
@click.option(
    "--rounds",
    default=5,
    show_default=True,
    help="Rounds; in each, every server is measured in turn. Ctrl-C after the first tells those that are whole.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="SCENARIO",
    type=click.Choice([scenario.name for scenario in suite()]),
    help="Only this one; may be repeated.",
)
@click.option("--peers", "with_peers", is_flag=True, help="Measure the peers that are installed as well.")
@click.option(
    "--peer",
    "chosen",
    multiple=True,
    type=click.Choice([peer.name for peer in peers()]),
    help="Measure this peer as well; may be repeated.",
)
@click.option("--mercure", default="", metavar="PROGRAM", help="Measure Mercure as well: a path, or a name on PATH.")
@click.option("--centrifugo", default="", metavar="PROGRAM", help="The same for Centrifugo.")
@click.option("--pushpin", default="", metavar="PROGRAM", help="The same for Pushpin.")
@click.option(
    "--litellm", default="", metavar="PROGRAM", help="The same for LiteLLM's proxy; it relays completions only."
)
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"An earlier result.json to stand beside this run. Exit code 1 if a figure got worse by {TOLERANCE:.0%}.",
)
@click.option("--brief", is_flag=True, help="Send less in each scenario: a quicker run with more spread.")
@click.option("--docs", is_flag=True, help="Keep the run in docs/bench; docs/performance.md shows it.")
@click.option(
    "--out",
    default=Path("bench-results"),
    show_default=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Where result.json, table.md and plot.svg go.",
)
def main(
    rounds: int,
    only: tuple[str, ...],
    with_peers: bool,
    chosen: tuple[str, ...],
    against: Path | None,
    out: Path,
    *,
    brief: bool,
    docs: bool,
    **programs: str,
) -> None:
    """Measure Belfry, as `./run` starts it, over real sockets; medians of several interleaved rounds."""
    if docs and (only or brief):
        raise click.UsageError("--docs keeps whole runs: not with --only, not with --brief")
    scenarios = [scenario for scenario in suite(brief=brief) if not only or scenario.name in only]
    servers = [belfry(), *(peer for peer in peers() if with_peers or peer.name in chosen), *given(**programs)]
    try:
        compiled("load.c")
    except LoadError as error:
        raise click.ClickException(str(error)) from None
    earlier = Run.read(against) if against else None
    found = measured(servers, scenarios, rounds, say=lambda line: click.echo(line, err=True))
    run = Run.now(found.rounds, found, brief=brief)
    if docs:
        write(run, documents.KEPT)
        documents.write()
    else:
        write(run, out, earlier)
    click.echo(run.table(earlier))
    if run.failures.get(OWN) or (earlier and run.regressions(earlier)):
        sys.exit(1)


if __name__ == "__main__":
    end_by_sigterm()
    main(prog_name="./run bench")
