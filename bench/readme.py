"""The README's section with the outcome of the run that is kept in docs/bench.

./run bench --peers --docs    measures, keeps the run there and writes the section
python -m bench.readme        writes it again, of the run that is there
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.figures import FIGURES, SHORT_TITLES, Figure, Goal
from bench.process import ROOT
from bench.report import OWN, Run, markdown

KEPT = ROOT / "docs" / "bench"
README = ROOT / "README.md"
BEGIN = "<!-- what `python -m bench.readme` prints: begin -->\n"
END = "<!-- end -->\n"
COMPARED = ("nchan", "starlette", "loop")


def section(run: Run) -> str:
    """Markdown: every figure that has a goal, Belfry and the peers, and whether it was met."""
    head = ["figure", "goal", *(SHORT_TITLES[server] for server in (OWN, *COMPARED)), "met"]
    rows = [head, ["---", "---", *["---:"] * (len(COMPARED) + 1), "---"], *_rows(run)]
    return f"{markdown(rows)}\n\n{run.outcome()}\n\n{run.caption()}.\n\n![Belfry and its peers](docs/bench/plot.svg)\n"


def _rows(run: Run) -> Iterator[list[str]]:
    for figure in FIGURES:
        if figure.goals:
            yield [
                f"{figure.title}, {figure.unit}" if figure.unit else figure.title,
                ", ".join(goal.text(more_is_better=figure.more_is_better) for goal in figure.goals),
                *(_cell(run, server, figure) for server in (OWN, *COMPARED)),
                ", ".join(_verdict(run, figure, goal) for goal in figure.goals),
            ]


def _verdict(run: Run, figure: Figure, goal: Goal) -> str:
    return run.verdict(figure, goal).replace("(", "").replace(")", "") or "not measured"


def _cell(run: Run, server: str, figure: Figure) -> str:
    return run.cell(server, figure.name).partition(" (")[0]  # the spread is in docs/bench/table.md


def written(readme: str, run: Run) -> str:
    """The README with this run's section; ValueError where the marks of the section are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{begin}{section(run)}{end}{after}"


def write(readme: Path = README, kept: Path = KEPT) -> None:
    """Put the section of the kept run in its place."""
    text = written(readme.read_text(encoding="utf-8"), Run.read(kept / "result.json"))
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
