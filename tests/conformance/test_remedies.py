"""Each fault on the way has a line for each proxy, and the proxy's own where it is known."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from app.conformance import remedies, verdict
from app.conformance.remedies import ALB, CADDY, CLOUDFLARE, NGINX, PROXIES, REMEDIES

SOURCES = Path(remedies.__file__).parent


@pytest.mark.parametrize("fault", REMEDIES)
def test_each_fault_has_a_line_for_each_proxy(fault: str) -> None:
    assert REMEDIES[fault].keys() == set(PROXIES)
    for proxy, line in REMEDIES[fault].items():
        assert remedies.remedy(fault, proxy) == f"{proxy}: {line}"
        assert line in remedies.remedy(fault)


@pytest.mark.parametrize(
    ("headers", "proxy"),
    [
        ({"Server": "nginx/1.28.0"}, NGINX),
        ({"Server": "openresty"}, NGINX),
        ({"Via": "1.1 Caddy", "Server": "gunicorn"}, CADDY),
        ({"Server": "awselb/2.0"}, ALB),
        ({"Server": "cloudflare", "Via": "1.1 Caddy"}, CLOUDFLARE),
        ({"CF-RAY": "8f1-FRA"}, CLOUDFLARE),
        ({"Server": "gunicorn"}, ""),
        ({}, ""),
    ],
)
def test_a_proxy_is_known_by_what_it_says(headers: dict[str, str], proxy: str) -> None:
    assert remedies.proxy_of(headers) == proxy


def test_every_fault_that_a_check_names_has_its_lines() -> None:
    """The last argument of `FailedError` names one."""
    calls = [
        call
        for path in SOURCES.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "FailedError" and len(call.args) == 3
    ]
    named = {argument.value for call in calls if isinstance(argument := call.args[2], ast.Constant)}
    assert {"buffering", "host", "connections"} <= named
    assert named | set(verdict._PAGES.values()) | set(remedies._BY_CHECK.values()) <= set(REMEDIES)
