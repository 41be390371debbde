"""The table in docs/metrics.md is the code's: `python -m tests.test_metrics_doc` prints it for pasting.

Also the dashboard and the alert rules in deploy/: each metric that they name exists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric

from app import metrics

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "metrics.md"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus-alerts.yml").read_text())
NAME = re.compile(r"\bbelfry_\w+")


def families() -> Iterator[tuple[Metric, str]]:
    """Each family of app/metrics.py in the order of the file, as Prometheus sees it, and its labels."""
    for family in vars(metrics).values():
        if isinstance(family, Counter | Gauge | Histogram):
            (metric,) = family.collect()
            yield metric, ", ".join(f"`{name}`" for name in family._labelnames)


def exposed_names() -> set[str]:
    """Every name that a query may use."""
    found = {
        sample.name for metric, _ in families() for sample in metric.samples if not sample.name.endswith("_created")
    }
    return found | {metric.name for metric, _ in families() if metric.type == "gauge"}


def metrics_table() -> str:
    rows = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for metric, labels in families():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        rows.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |")
    return "\n".join(rows)


def queries(part: Any) -> Iterator[str]:
    """Every `expr` of a dashboard or a file of rules."""
    if isinstance(part, dict):
        yield from [part["expr"]] if "expr" in part else []
        part = list(part.values())
    for each in part if isinstance(part, list) else []:
        yield from queries(each)


def test_the_page_on_metrics_lists_every_family_as_it_is() -> None:
    assert metrics_table() in PAGE.read_text(encoding="utf-8")


def test_the_page_on_metrics_names_no_metric_that_is_not_there() -> None:
    named = set(NAME.findall(PAGE.read_text(encoding="utf-8")))
    assert named - exposed_names() - {metric.name for metric, _ in families()} == set()


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_are_there() -> None:
    for part in (DASHBOARD, ALERTS):
        asked = list(queries(part))
        assert asked
        assert {name for query in asked for name in NAME.findall(query)} - exposed_names() == set()


def test_the_dashboard_and_the_alerts_look_at_labels_that_are_there() -> None:
    known = {name for _, labels in families() for name in re.findall(r"\w+", labels)} | {"le", "job", "instance"}
    for part in (DASHBOARD, ALERTS):
        for query in queries(part):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)) <= known, query
            assert {
                name for group in re.findall(r"\bby \(([^)]*)\)", query) for name in re.findall(r"\w+", group)
            } <= known


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert {"summary", "description"} <= rule["annotations"].keys()
        assert "for" in rule


def test_brackets_in_queries_are_balanced() -> None:
    for query in [*queries(DASHBOARD), *queries(ALERTS)]:
        for opening, closing in ("()", "{}", "[]"):
            assert query.count(opening) == query.count(closing), query


def test_panels_of_the_dashboard_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


if __name__ == "__main__":
    print(metrics_table())
