"""Each fault is planted in a real nginx in front of a real server, and `belfry doctor` names the line that mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.conformance.checks import DOCTOR
from app.conformance.credentials import SignedCredentials
from app.conformance.probe import Options
from app.conformance.report import FAILED, Report
from app.conformance.suite import Suite, UnreachableError
from app.core.identity.tokens import Keyring
from app.core.settings import load
from tests.servers import HOST, Belfry, Nginx

pytestmark = pytest.mark.needs("nginx")

OPTIONS = Options(patience=30.0, silence=30.0)
NEVER_PATIENCE = 6.0  # for what never comes
GOOD = "proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_buffering off; client_max_body_size 32m;"


@dataclass(frozen=True)
class Planted:
    """A fault: what stands wrong in nginx's location or around it, which check finds it, and the line to name."""

    found_by: str
    fix: str
    location: str = GOOD
    http: str = ""
    path: str = "/"


PLANTED = {
    "read timeout": Planted("proxy.read-timeout", "proxy_read_timeout 75s;", f"{GOOD} proxy_read_timeout 4s;"),
    "stripped Last-Event-ID": Planted(
        "proxy.last-event-id",
        "proxy_set_header Last-Event-ID $http_last_event_id;",
        f'{GOOD} proxy_set_header Last-Event-ID "";',
    ),
    "rewritten Host": Planted(
        "proxy.host", "proxy_set_header Host $http_host;", GOOD.replace("$http_host", "belfry.internal")
    ),
    "small bodies": Planted("proxy.body-size", "client_max_body_size 32m;", GOOD.replace("32m", "1m")),
    "few connections": Planted(
        "proxy.connections",
        "limit_conn",
        f"{GOOD} limit_conn peers 2;",
        "limit_conn_zone $binary_remote_addr zone=peers:1m;",
    ),
    "forced buffering": Planted(
        "proxy.buffering",
        "proxy_buffering off;",
        GOOD.replace("buffering off", "buffering on") + " proxy_ignore_headers X-Accel-Buffering;",
    ),
    "compression": Planted(
        "stream.uncompressed",
        "gzip off;",
        f"{GOOD} gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any; gzip_http_version 1.0;",
    ),
    "rewritten Cache-Control": Planted(
        "stream.headers",
        "proxy_hide_header Cache-Control",
        f'{GOOD} proxy_hide_header Cache-Control; add_header Cache-Control "public, max-age=60" always;',
    ),
    "sub-path": Planted("proxy.sub-path", "BELFRY_PATH_PREFIX", GOOD, path="/push/"),
}


class FaultyNginx(Nginx):
    """nginx with one location in front of one server."""

    def __init__(self, upstream_port: int, planted: Planted) -> None:
        super().__init__(upstream_port)
        text = self._config_path.read_text()
        plain = f"location / {{ proxy_pass http://{HOST}:{upstream_port}; }}"
        assert plain in text
        location = f"location {planted.path} {{ {planted.location} proxy_pass http://{HOST}:{upstream_port}/; }}"
        text = text.replace(plain, location).replace("access_log off;", f"access_log off; {planted.http}")
        self._config_path.write_text(text)


Examine = Callable[[Planted], Report]


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_HEARTBEAT_SECONDS": "10"}


@pytest.fixture
def examine(belfry: Belfry) -> Iterator[Examine]:
    started: list[FaultyNginx] = []
    keyring = Keyring(load(belfry.settings_environment))

    def sign(user: str, scopes: list[str], seconds: int, **grants: Any) -> str:
        return keyring.sign(user, scopes, time.time(), seconds, **{"token_id": user, **grants})

    def run(planted: Planted) -> Report:
        nginx = FaultyNginx(belfry.port, planted)
        started.append(nginx)
        url = f"{nginx.start().url}{planted.path}".rstrip("/")
        checks = [check for check in DOCTOR if check.name in {planted.found_by, "proxy.host"} or not planted.found_by]
        options = replace(OPTIONS, patience=NEVER_PATIENCE) if planted.found_by else OPTIONS
        return Suite(url, SignedCredentials(sign), options, checks).run(lambda _result: None)

    yield run
    for nginx in started:
        nginx.destroy()


def failures(report: Report) -> dict[str, str]:
    return {result.name: result.line() for result in report.results if result.outcome == FAILED}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_and_the_line_that_mends_it_is_named(fault: str, examine: Examine) -> None:
    planted = PLANTED[fault]
    found = failures(examine(planted))
    assert planted.found_by in found, found
    line = found[planted.found_by]
    assert planted.fix in line, line
    assert "<html" not in line
    assert "nginx: " in line.partition("to mend it: ")[2], "this one says which proxy it is"


def test_nothing_is_found_in_a_proxy_that_is_set_up_well(examine: Examine) -> None:
    found = failures(examine(Planted("", "")))
    assert {name: line for name, line in found.items() if name not in {"completions.models", "health.store"}} == {}


def test_a_stripped_authorization_is_told_apart_from_a_bad_token(examine: Examine) -> None:
    with pytest.raises(UnreachableError) as failure:
        examine(Planted("proxy.host", "", f'{GOOD} proxy_set_header Authorization "";'))
    assert "token_missing" in str(failure.value)
    assert "nginx: proxy_set_header Authorization $http_authorization;" in str(failure.value)
