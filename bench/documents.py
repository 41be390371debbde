"""The numbers of the run that is kept in docs/bench, as docs/performance.md shows them.

./run bench --peers --docs    measures, keeps the run there and writes the page
python -m bench.documents     writes the page again, from the run that is there

The page has a section of results between two marks. Elsewhere in it, a number is between `<!-- = FIGURE SERVER -->`
(without SERVER: Belfry) and `<!-- / -->`, and the outcome of a figure's goals is after `<!-- = goals FIGURE -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.figures import BY_NAME, FIGURES, SHORT_TITLES, Figure, Goal
from bench.process import ROOT
from bench.report import OWN, Run, markdown

KEPT = ROOT / "docs" / "bench"
PERFORMANCE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- what `python -m bench.documents` prints: begin -->\n"
END = "<!-- end -->\n"
COMPARED = ("nchan", "starlette", "loop")
_MARK = re.compile(r"(<!-- = ([\w -]+?) -->).*?(<!-- / -->)", re.DOTALL)


def section(run: Run) -> str:
    """Markdown: every figure that has a goal, Belfry and the peers, and whether it was met."""
    head = ["figure", "goal", *(SHORT_TITLES[server] for server in (OWN, *COMPARED)), "met"]
    rows = [head, ["---", "---", *["---:"] * (len(COMPARED) + 1), "---"], *_rows(run)]
    return f"{markdown(rows)}\n\n{run.outcome()}\n\n{run.caption()}.\n\n![Belfry and its peers](bench/plot.svg)\n"


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


def with_section(page: str, run: Run) -> str:
    """The page with this run's section; ValueError if the marks of the section are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{begin}{section(run)}{end}{after}"


def with_numbers(text: str, run: Run) -> str:
    """The text with this run's numbers between its marks; ValueError where a mark names no figure."""
    return _MARK.sub(lambda mark: f"{mark[1]}{_told(mark[2].split(), run)}{mark[3]}", text)


def _told(words: list[str], run: Run) -> str:
    is_of_goals = words[0] == "goals"
    name, *server = words[1:] if is_of_goals else words
    if name not in BY_NAME:
        raise ValueError(f"no figure {name!r}")
    figure = BY_NAME[name]
    return _goals(run, figure) if is_of_goals else _cell(run, server[0] if server else OWN, figure)


def _goals(run: Run, figure: Figure) -> str:
    goals = (f"{_goal(run, figure, goal)}: {_verdict(run, figure, goal)}" for goal in figure.goals)
    return f"{_cell(run, OWN, figure)} {figure.unit}".strip() + "; goal " + "; ".join(goals)


def _goal(run: Run, figure: Figure, goal: Goal) -> str:
    text = goal.text(more_is_better=figure.more_is_better)
    return f"{text} ({_cell(run, goal.peer, figure)})" if goal.peer else text


def told_goals(text: str) -> list[str]:
    """The figures whose goals a text tells about, in its order."""
    return [mark[2].split()[1] for mark in _MARK.finditer(text) if mark[2].startswith("goals ")]


def write(page: Path = PERFORMANCE, kept: Path = KEPT) -> None:
    """Put the kept run's numbers in their places."""
    run = Run.read(kept / "result.json")
    page.write_text(with_numbers(with_section(page.read_text(encoding="utf-8"), run), run), encoding="utf-8")


if __name__ == "__main__":
    write()
