"""Results: medians with their spread as a table, a plot and a JSON file, and what got worse since an earlier run."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Self

import pygal

from app.launch import embedded
from bench.figures import BY_NAME, BY_SCENARIO, FIGURES, SCENARIO_OF, SHARED, Figure, Goal
from bench.process import ROOT
from bench.rounds import Failures, Measured, Results

OWN = "belfry"
TOLERANCE = 0.15  # medians of several rounds differ by this much on a machine where nothing changed
LOADED = 0.9  # of a core: a load generator that had so much may have been what was measured
BUSY = f"""Of a core, the server's busiest process : the load generator. Beside a load generator that had time left, the
server was the limit, or where neither was near 1 and both waited for a processor, the machine. (!) marks where the load
generator used more than {LOADED:g}: that server may do more.

"""
PLOTTED = ("fanout_1000_per_s", "posts_8_per_s", "idle_10000_kb", "latency_1000_p50_ms")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark: when, where, how often, and all that was measured."""

    date: str
    machine: str
    rounds: int
    results: Results
    failures: Failures = field(default_factory=dict)
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    brief: bool = False

    @classmethod
    def now(cls, rounds: int, measured: Measured, *, brief: bool = False) -> Self:
        date = dt.datetime.now(dt.UTC).date().isoformat()
        return cls(date, _machine(), rounds, measured.results, measured.failures, _commit(), versions(), brief)

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def median(self, server: str, figure: str) -> float | None:
        values = self.values(server, figure)
        return statistics.median(values) if values else None

    def ratio(self, figure: str, peer: str) -> float | None:
        """Belfry's figure as a multiple of a peer's: the median over the rounds of the ratio within each."""
        pairs = zip(*(self.results.get(server, {}).get(figure, []) for server in (OWN, peer)), strict=False)
        ratios = [own / other for own, other in pairs if own is not None and other]
        return statistics.median(ratios) if ratios else None

    def values(self, server: str, figure: str) -> list[float]:
        """Those of the rounds that have one."""
        return [value for value in self.results.get(server, {}).get(figure, []) if value is not None]

    def failure(self, server: str, figure: str) -> str | None:
        """Why a server's figure was missed in at least one round."""
        return self.failures.get(server, {}).get(SCENARIO_OF[figure])

    def table(self, earlier: Run | None = None) -> str:
        """Markdown: a row a figure, a column a server, the goals and whether they were met; and who was busy."""
        servers = list(self.results)
        head = ["", *servers, *(["before"] if earlier else []), "goal"]
        rows = [self._row(figure, servers, earlier) for figure in FIGURES if self._has(figure)]
        table = markdown([head, ["---"] + ["---:"] * (len(head) - 2) + ["---"], *rows])
        return "\n\n".join(part for part in (table, self.outcome(), self.caption(), self._busy_table()) if part)

    def outcome(self) -> str:
        """How many goals were met, and which were not."""
        verdicts = [(figure, self.verdict(figure, goal)) for figure in FIGURES for goal in figure.goals]
        met = sum("✓" in verdict for _, verdict in verdicts)
        missed = dict.fromkeys(figure.title for figure, verdict in verdicts if "✗" in verdict)
        told = f"Goals: {met} met, {sum('✗' in verdict for _, verdict in verdicts)} missed"
        return f"{told}: {'; '.join(missed)}." if missed else f"{told}."

    def _busy_table(self) -> str:
        """The load generator beside the server: whether it was the bottleneck; "" where that was not measured."""
        servers = list(self.results)
        rows = [
            [BY_SCENARIO[name][0].title, *(self._busy(server, name) for server in servers)]
            for name in SHARED
            if any(f"{name}_server_share" in self.results[server] for server in servers)
        ]
        return BUSY + markdown([["", *servers], ["---"] + ["---:"] * len(servers), *rows]) if rows else ""

    def _busy(self, server: str, scenario: str) -> str:
        shares = [self.median(server, f"{scenario}_{who}_share") for who in ("server", "load")]
        own, load = shares
        if own is None or load is None:
            return "–"
        return f"{own:.2f} : {load:.2f}" + (" (!)" if load > LOADED else "")

    def caption(self) -> str:
        """When, where and how often."""
        rounds = f"medians of {self.rounds} rounds (lowest – highest)" if self.rounds > 1 else "one round"
        commit = f", commit {self.commit}" if self.commit else ""
        versions = "".join(f", {name} {version}" for name, version in self.versions.items())
        return f"{self.date}{commit}, {self.machine}{versions}; {rounds}{', brief' if self.brief else ''}"

    def _has(self, figure: Figure) -> bool:
        return any(figure.name in values for values in self.results.values())

    def _row(self, figure: Figure, servers: list[str], earlier: Run | None) -> list[str]:
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        cells = [self.cell(server, figure.name) for server in servers]
        before = [_cell(earlier.values(OWN, figure.name))] if earlier else []
        return [title, *cells, *before, "; ".join(self._judged(figure, goal) for goal in figure.goals)]

    def cell(self, server: str, figure: str) -> str:
        """The median and the spread, or why there is none."""
        values, failure = self.values(server, figure), self.failure(server, figure)
        if values or not failure:
            return _cell(values)
        return f"failed: {failure.partition(chr(10))[0]}"

    def _judged(self, figure: Figure, goal: Goal) -> str:
        return f"{goal.text(more_is_better=figure.more_is_better)} {self.verdict(figure, goal)}".strip()

    def verdict(self, figure: Figure, goal: Goal) -> str:
        """Whether a goal was met, and at what ratio where it is one; nothing where that can't be told."""
        got = self.median(OWN, figure.name) if goal.peer is None else self.ratio(figure.name, goal.peer)
        if got is None:
            return "✗" if self.failure(OWN, figure.name) else ""
        met = got >= goal.bound if figure.more_is_better else got <= goal.bound
        return ("" if goal.peer is None else f"({got:.2f}) ") + ("✓" if met else "✗")

    def regressions(self, earlier: Run) -> list[str]:
        """The figures that are worse than the earlier run's by more than `TOLERANCE`."""
        return [name for name in self.results.get(OWN, {}) if self._is_worse(name, earlier)]

    def _is_worse(self, name: str, earlier: Run) -> bool:
        figure, now, then = BY_NAME.get(name), self.median(OWN, name), earlier.median(OWN, name)
        if figure is None or not now or not then:
            return False
        return (then / now if figure.more_is_better else now / then) > 1 + TOLERANCE


def markdown(rows: Iterable[Iterable[str]]) -> str:
    """A table, its head and the line below it among the rows."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(values: list[float]) -> str:
    if not values:
        return "–"
    median = _number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({_number(min(values))} – {_number(max(values))})"


def _number(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _machine() -> str:
    names = (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    return f"{os.cpu_count()} × {next(names, platform.machine())}, {platform.system()} {platform.release()}"


def versions() -> dict[str, str]:
    """What else the figures depend on, where it is here."""
    engine = next(embedded.engines(os.environ.get("PATH")), None)
    found = {"Python": platform.python_version()}
    for name in ("gunicorn", "gevent", "sse-starlette", "uvicorn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if engine:
        found[engine.name.capitalize()] = str(engine).split()[1]
    if nginx := shutil.which("nginx"):
        told = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
        found["nginx"] = told.strip().rpartition("/")[2]
    return found


def _commit() -> str:
    """What was measured: the short name of the commit, with a "+" where files differ from it; "" without git."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        name = _git("rev-parse", "--short", "HEAD")
        return f"{name}+" if _git("status", "--porcelain", "--untracked-files=no") else name
    return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _lines(path: str) -> Iterator[str]:
    yield from Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def write(run: Run, folder: Path, earlier: Run | None = None) -> None:
    """`result.json`, `table.md` and `plot.svg` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(run.table(earlier) + "\n", encoding="utf-8")
    (folder / "plot.svg").write_text(plot(run), encoding="utf-8")


def plot(run: Run) -> str:
    """Bars: each plotted figure of each server, as a multiple of the best, so that longer is better in all of them."""
    chart = pygal.HorizontalBar(
        style=pygal.style.CleanStyle, range=(0, 1), show_legend=True, legend_at_bottom=True, js=[], height=420
    )
    chart.title = f"Belfry and its peers, share of the best ({run.date})"
    names = [name for name in PLOTTED if run.median(OWN, name)]
    chart.x_labels = [BY_NAME[name].title for name in names]
    for server in run.results:
        chart.add(server, list(_shares(run, server, names)))
    return str(chart.render(is_unicode=True))


def _shares(run: Run, server: str, names: Iterable[str]) -> Iterator[float | None]:
    for name in names:
        everyone = [value for other in run.results if (value := run.median(other, name))]
        own = run.median(server, name)
        if own is None:
            yield None
        else:
            yield own / max(everyone) if BY_NAME[name].more_is_better else min(everyone) / own
