"""What each number is, and what it should be: the rows of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for one figure: a number, or a factor of a peer's figure in the same round."""

    bound: float
    peer: str | None = None

    def text(self, *, more_is_better: bool) -> str:
        sign = "≥" if more_is_better else "≤"
        return f"{sign} {self.bound:,g}" if self.peer is None else f"{sign} {self.bound:g} × {self.peer}"


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

FIGURES = (
    _more("fanout_1000_per_s", "fan-out to 1,000 connections", "deliveries/s", *_OF_PEERS, _OF_LIMIT),
    _more("fanout_10000_per_s", "fan-out to 10,000 connections", "deliveries/s"),
    _less("fanout_1000_cpu_us", "processor time of a delivery (1,000)", "µs"),
    _less("fanout_10000_cpu_us", "processor time of a delivery (10,000)", "µs"),
    _less("fanout_1000_load_share", "load generator's share of a core meanwhile", ""),
    _more("posts_1_per_s", "POST /publish, 1 publisher", "/s"),
    _more("posts_8_per_s", "POST /publish, 8 publishers", "/s", Goal(1.0, "starlette")),
    _more("posts_64_per_s", "POST /publish, 64 publishers", "/s"),
    _less("posts_8_cpu_us", "processor time of a POST, 8 publishers", "µs"),
    _more("batch_accepted_per_s", "NDJSON accepted", "messages/s", Goal(30_000)),
    _more("batch_delivered_per_s", "NDJSON delivered to connected users", "messages/s", Goal(20_000)),
    _less("latency_100_p50_ms", "latency at 100 messages/s, p50", "ms"),
    _less("latency_100_p99_ms", "latency at 100 messages/s, p99", "ms"),
    _less("latency_1000_p50_ms", "latency at 1,000 messages/s, p50", "ms", Goal(0.8)),
    _less("latency_1000_p99_ms", "latency at 1,000 messages/s, p99", "ms", Goal(4)),
    _less("latency_5000_p50_ms", "latency at 5,000 messages/s, p50", "ms"),
    _less("latency_5000_p99_ms", "latency at 5,000 messages/s, p99", "ms"),
    _less("latency_fanout_p99_ms", "latency to 100 connections of a user, p99", "ms"),
    _more("storm_per_s", "5,000 connects at once", "/s"),
    _less("storm_first_p99_ms", "first bytes meanwhile, p99", "ms"),
    _more("storm_resume_per_s", "5,000 connects at once, 10 messages resumed each", "/s", Goal(2_500)),
    _less("storm_resume_first_p99_ms", "first bytes meanwhile, p99 (resume)", "ms", Goal(2_500)),
    _less("idle_10000_kb", "memory of an idle connection (10,000)", "KB", Goal(2)),
    _less("idle_10000_core_percent", "heartbeats of 10,000 connections", "% of a core"),
    _less("workers_2_idle_20000_total_mb", "all processes, 20,000 connections, 2 workers", "MB", Goal(160)),
    _less("workers_2_idle_20000_core_percent", "heartbeats of 20,000 connections, 2 workers", "% of a core", Goal(5)),
    _more("workers_2_fanout_1000_per_s", "fan-out to 1,000 connections, 2 workers", "deliveries/s"),
    _less("workers_2_fanout_1000_cpu_us", "processor time of a delivery, 2 workers", "µs"),
    _less("growth_users", "cost of a message, 10,000 users ÷ 1,000", "", Goal(1.2)),
    _less("growth_history", "cost of a message, 1,000 kept ÷ none", "", Goal(1.2)),
    _less("growth_topics", "cost of a message, 1,000 topics ÷ 100", "", Goal(1.2)),
    _less("feed_page_p50_ms", "GET /feed, 50 of 1,000 messages, p50", "ms"),
)
BY_NAME = {figure.name: figure for figure in FIGURES}
