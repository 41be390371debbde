"""What each number is, and what it should be: the rows of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SHORT_TITLES = {
    "belfry": "Belfry",
    "nchan": "nchan",
    "starlette": "sse-starlette",
    "flask-sse": "flask-sse",
    "loop": "C loop",
    "mercure": "Mercure",
    "centrifugo": "Centrifugo",
    "pushpin": "Pushpin",
    "litellm": "LiteLLM",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for one figure: a number, or a factor of a peer's figure in the same round."""

    bound: float
    peer: str | None = None

    def text(self, *, more_is_better: bool) -> str:
        sign = "≥" if more_is_better else "≤"
        return f"{sign} {self.bound:,g}" if self.peer is None else f"{sign} {self.bound:g} × {SHORT_TITLES[self.peer]}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row."""

    name: str
    title: str
    unit: str
    more_is_better: bool
    goals: tuple[Goal, ...] = ()


def _more(name: str, title: str, unit: str, *goals: Goal) -> Figure:
    return Figure(name, title, unit, more_is_better=True, goals=goals)


def _less(name: str, title: str, unit: str, *goals: Goal) -> Figure:
    return Figure(name, title, unit, more_is_better=False, goals=goals)


_OF_LIMIT = Goal(0.7, "loop")
_OF_PEERS = (Goal(1.3, "nchan"), Goal(8, "starlette"))

# In the order of the table, by the scenario that measures them.
BY_SCENARIO: dict[str, tuple[Figure, ...]] = {
    "fanout_1000": (
        _more("fanout_1000_per_s", "fan-out to 1,000 connections", "deliveries/s", *_OF_PEERS, _OF_LIMIT),
        _less("fanout_1000_cpu_us", "processor time of a delivery (1,000)", "µs"),
    ),
    "fanout_10000": (
        _more("fanout_10000_per_s", "fan-out to 10,000 connections", "deliveries/s"),
        _less("fanout_10000_cpu_us", "processor time of a delivery (10,000)", "µs"),
        _less("fanout_growth", "processor time of a delivery, 10,000 connections ÷ 1,000", "", Goal(1.2)),
    ),
    "posts_1": (_more("posts_1_per_s", "POST /publish, 1 publisher", "/s"),),
    "posts_8": (
        _more("posts_8_per_s", "POST /publish, 8 publishers", "/s", Goal(1.0, "starlette")),
        _less("posts_8_cpu_us", "processor time of a POST, 8 publishers", "µs"),
    ),
    "users_10000": (
        _more("users_10000_per_s", "POST /publish, 8 publishers, 10,000 users connected", "/s"),
        _less("growth_users", "processor time of a POST, 10,000 users ÷ 1,000", "", Goal(1.2)),
    ),
    "posts_64": (
        _more("posts_64_per_s", "POST /publish, 64 publishers", "/s"),
        _less("posts_64_workers_us", "the worker's processor time of a POST, 64 publishers", "µs"),
    ),
    "batch": (
        _more("batch_accepted_per_s", "NDJSON accepted", "messages/s", Goal(30_000)),
        _less("batch_cpu_us", "processor time of a message by NDJSON, nobody connected", "µs"),
        _more("batch_delivered_per_s", "NDJSON delivered to connected users", "messages/s", Goal(20_000)),
    ),
    "latency_100": (
        _less("latency_100_p50_ms", "latency at 100 messages/s, p50", "ms"),
        _less("latency_100_p99_ms", "latency at 100 messages/s, p99", "ms"),
    ),
    "latency_1000": (
        _less("latency_1000_p50_ms", "latency at 1,000 messages/s, p50", "ms", Goal(0.8)),
        _less("latency_1000_p99_ms", "latency at 1,000 messages/s, p99", "ms", Goal(4)),
    ),
    "latency_5000": (
        _less("latency_5000_p50_ms", "latency at 5,000 messages/s, p50", "ms"),
        _less("latency_5000_p99_ms", "latency at 5,000 messages/s, p99", "ms"),
    ),
    "latency_fanout": (
        _less("latency_fanout_p99_ms", "latency to 100 connections of a user, p99", "ms"),
        _less("latency_fanout_ratio", "latency, p99: 100 connections of a user ÷ 1,000 users", "", Goal(2)),
    ),
    "storm": (
        _more("storm_per_s", "5,000 connects at once", "/s"),
        _less("storm_cpu_us", "processor time of a connect", "µs"),
        _less("storm_first_p99_ms", "first bytes meanwhile, p99", "ms"),
    ),
    "storm_resume": (
        _more("storm_resume_per_s", "5,000 connects at once, 10 messages resumed each", "/s", Goal(2_500)),
        _less("storm_resume_cpu_us", "processor time of a connect (resume)", "µs"),
        _less("storm_resume_first_p99_ms", "first bytes meanwhile, p99 (resume)", "ms", Goal(2_500)),
    ),
    "idle_10000": (
        _less("idle_10000_kb", "memory of an idle connection (10,000)", "KB", Goal(2)),
        _less("idle_10000_core_percent", "heartbeats of 10,000 connections", "% of a core"),
    ),
    "idle_20000": (
        _less("workers_2_idle_20000_total_mb", "all processes, 20,000 connections, 2 workers", "MB", Goal(160)),
        _less("workers_2_idle_20000_core_percent", "heartbeats of 20,000 connections", "% of a core", Goal(5)),
        _less("workers_2_idle_20000_busiest_percent", "of 20,000 connections, held by the busier of 2 workers", "%"),
    ),
    "two_workers": (
        _more("workers_2_posts_64_per_s", "POST /publish, 64 publishers, 2 workers", "/s"),
        _less("workers_2_posts_64_workers_us", "the workers' processor time of a POST, 2 workers", "µs"),
        _more("workers_2_capacity", "capacity of 2 workers ÷ one's, by their processor time of a POST", "", Goal(1.7)),
    ),
    "growth_history": (_less("growth_history", "processor time of a POST, 1,000 kept ÷ none", "", Goal(1.2)),),
    "growth_topics": (_less("growth_topics", "processor time of a POST, 1,000 topics ÷ 100", "", Goal(1.2)),),
    "feed_page": (_less("feed_page_p50_ms", "GET /feed, 50 of 1,000 messages, p50", "ms"),),
    "completions": (
        _more("tokens_per_s", "/v1/chat/completions, 50 at a time", "tokens/s", Goal(6, "litellm")),
        _less("tokens_cpu_us", "processor time of a token", "µs"),
        _more("runs_per_s", "the same by runs, which are kept", "tokens/s"),
        _less("runs_cpu_us", "processor time of a token (runs)", "µs"),
        _more("direct_tokens_per_s", "the same straight from the upstream", "tokens/s"),
        _less("first_token_ms", "first token later than straight from the upstream, p50", "ms"),
    ),
}
FIGURES = tuple(figure for figures in BY_SCENARIO.values() for figure in figures)
BY_NAME = {figure.name: figure for figure in FIGURES}
SCENARIO_OF = {figure.name: scenario for scenario, figures in BY_SCENARIO.items() for figure in figures}

# Where it is told who was busy meanwhile: figures `<scenario>_server_share` and `<scenario>_load_share`.
SHARED = ("fanout_1000", "fanout_10000", "posts_1", "posts_8", "users_10000", "posts_64", "latency_5000", "batch")

# Not measured, but a multiple of one figure by another of the same round: name, multiple, above and below the line.
# One worker needs `a` µs of a core for a message, two together `b`: they do 2/b where it does 1/a.
_DERIVED = (
    ("growth_users", 1, "users_10000_cpu_us", "posts_8_cpu_us"),
    ("fanout_growth", 1, "fanout_10000_cpu_us", "fanout_1000_cpu_us"),
    ("latency_fanout_ratio", 1, "latency_fanout_p99_ms", "latency_1000_p99_ms"),
    ("workers_2_capacity", 2, "posts_64_workers_us", "workers_2_posts_64_workers_us"),
)


def derived(figures: Mapping[str, float]) -> dict[str, float]:
    """What follows from the figures of one round of one server."""
    return {
        name: multiple * figures[above] / figures[below]
        for name, multiple, above, below in _DERIVED
        if above in figures and figures.get(below)
    }
