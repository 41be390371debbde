"""Each fault is planted in a real nginx in front of a real server, and `belfry doctor` names the line that mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.conformance.checks import DOCTOR, answers
from app.conformance.credentials import GivenCredentials, SignedCredentials
from app.conformance.probe import Options
from app.conformance.report import FAILED, Report
from app.conformance.suite import Suite, UnreachableError
from app.core.identity.tokens import Keyring
from app.core.settings import load
from tests.encryption import Authority, Certificate
from tests.servers import HOST, Belfry, Nginx
from tests.waiting import patient

pytestmark = pytest.mark.needs("nginx")

OPTIONS = Options(patience=30.0, silence=30.0)
NEVER_PATIENCE = 6.0  # for what never comes
GOOD = "proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_buffering off; client_max_body_size 32m;"

BUFFERED = GOOD.replace("buffering off", "buffering on")  # nginx keeps nothing without


@dataclass(frozen=True)
class Planted:
    """A fault: what stands wrong in nginx's location or around it, which check finds it, and the line to name."""

    found_by: str
    fix: str
    location: str = GOOD
    http: str = ""
    path: str = "/"
    beside: str = ""  # another location


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
    "no lengths missing": Planted(
        "proxy.chunked", "chunked_transfer_encoding", f"{GOOD} if ($http_transfer_encoding) {{ return 411; }}"
    ),
    "few connections": Planted(
        "proxy.connections",
        "limit_conn",
        f"{GOOD} limit_conn peers 2;",
        "limit_conn_zone $binary_remote_addr zone=peers:1m;",
    ),
    "forced buffering": Planted(
        "proxy.buffering",
        "proxy_buffering off;",
        f"{BUFFERED} proxy_ignore_headers X-Accel-Buffering;",
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
    "pages of its own": Planted(
        "proxy.error-pages",
        "proxy_intercept_errors off;",
        f"{GOOD} proxy_intercept_errors on; error_page 400 404 /50x.html;",
    ),
    "reading methods only": Planted("proxy.methods", "limit_except", f"{GOOD} limit_except GET POST {{ deny all; }}"),
    "a cache": Planted(
        "proxy.cache",
        "proxy_cache off;",
        f"{BUFFERED} proxy_cache answers; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control Vary;",
        "proxy_cache_path DIRECTORY/cache keys_zone=answers:1m;",
    ),
    "a cache that is told": Planted(
        "proxy.cache",
        "proxy_hide_header",
        f'{GOOD} proxy_hide_header Cache-Control; add_header Cache-Control "max-age=60" always;',
    ),
    "a lost query": Planted("proxy.query", "$is_args$args", f"{GOOD} rewrite ^(.*)$ $1? break;"),
    "few requests": Planted(
        "proxy.often",
        "limit_req",
        f"{GOOD} limit_req zone=often burst=5 nodelay;",
        "limit_req_zone $binary_remote_addr zone=often:1m rate=1r/m;",
    ),
    "few requests, by 429": Planted(
        "proxy.often",
        "limit_req",
        f"{GOOD} limit_req zone=often burst=5 nodelay; limit_req_status 429;",
        "limit_req_zone $binary_remote_addr zone=often:1m rate=1r/m;",
    ),
    "small heads": Planted("proxy.head-size", "large_client_header_buffers", http="large_client_header_buffers 4 4k;"),
    "a filter": Planted("proxy.content", "/publish", beside="location = /publish { return 403; }"),
    "scripts of its own": Planted(
        "proxy.static-files", "location for /static/", beside="location /static/ { return 404; }"
    ),
    "scripts as text": Planted(
        "proxy.static-files",
        "location for /static/",
        beside="location /static/ { proxy_pass http://UPSTREAM; proxy_hide_header Content-Type; "
        "add_header Content-Type text/plain always; }",
    ),
    "CORS for everyone": Planted(
        "proxy.cors", "add_header", f"{GOOD} add_header Access-Control-Allow-Origin * always;"
    ),
    "CORS twice": Planted(
        "proxy.static-files", "add_header", f"{GOOD} add_header Access-Control-Allow-Origin $scheme://x always;"
    ),
    "preflights of its own": Planted(
        "proxy.cors",
        "add_header",
        f"{GOOD} if ($request_method = OPTIONS) {{ add_header Access-Control-Allow-Origin *; return 204; }}",
    ),
}


class FaultyNginx(Nginx):
    """nginx with one location in front of one server."""

    def __init__(self, upstream_port: int, planted: Planted) -> None:
        super().__init__(upstream_port)
        text = self._config_path.read_text()
        plain = f"location / {{ proxy_pass http://{HOST}:{upstream_port}; }}"
        assert plain in text
        to = "" if "proxy_pass" in planted.location else f"proxy_pass http://{HOST}:{upstream_port}/;"
        location = f"location {planted.path} {{ {planted.location} {to} }}"
        beside = planted.beside.replace("UPSTREAM", f"{HOST}:{upstream_port}")
        http = planted.http.replace("DIRECTORY", str(self.directory))
        text = text.replace(plain, f"{location} {beside}").replace("access_log off;", f"access_log off; {http}")
        self._config_path.write_text(text)


Examine = Callable[[Planted], Report]


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    return {"BELFRY_HEARTBEAT_SECONDS": "10"}


@pytest.fixture
def examine(belfry: Belfry) -> Iterator[Examine]:
    started: list[FaultyNginx] = []

    def run(planted: Planted) -> Report:
        nginx = FaultyNginx(belfry.port, planted)
        started.append(nginx)
        url = f"{nginx.start().url}{planted.path}".rstrip("/")
        checks = [check for check in DOCTOR if check.name in {planted.found_by, "proxy.host"} or not planted.found_by]
        options = replace(OPTIONS, patience=patient(NEVER_PATIENCE)) if planted.found_by else OPTIONS
        return Suite(url, credentials(belfry), options, checks).run(lambda _result: None)

    yield run
    for nginx in started:
        nginx.destroy()


def credentials(belfry: Belfry) -> SignedCredentials:
    keyring = Keyring(load(belfry.settings_environment))

    def sign(user: str, scopes: list[str], seconds: int, **grants: Any) -> str:
        return keyring.sign(user, scopes, time.time(), seconds, **{"token_id": user, **grants})

    return SignedCredentials(sign)


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


WELCOMES = {
    "a redirect": (
        f"{GOOD} return 301 https://elsewhere.example/login;",
        "redirects to https://elsewhere.example/login",
        "nginx: no return 301",
    ),
    "a sign-in of the proxy": (f'{GOOD} auth_basic "closed"; auth_basic_user_file /dev/null;', "401", "no auth_basic"),
    "another site": (
        f"{GOOD} default_type text/html; return 200 '<title>Shop</title>';", "is not answered by Belfry", "Shop"
    ),
    "no server": (f"{GOOD} proxy_pass http://{HOST}:1;", "502", "compare its upstream with BELFRY_BIND"),
}  # fmt: skip


@pytest.mark.parametrize(("location", "told", "fix"), WELCOMES.values(), ids=WELCOMES)
def test_a_proxy_that_answers_everything_by_itself_is_told_once(
    location: str, told: str, fix: str, examine: Examine
) -> None:
    with pytest.raises(UnreachableError) as failure:
        examine(Planted("proxy.host", "", location))
    assert told in str(failure.value)
    assert fix in str(failure.value)


def test_a_stripped_authorization_is_told_apart_from_a_bad_token(examine: Examine) -> None:
    with pytest.raises(UnreachableError) as failure:
        examine(Planted("proxy.host", "", f'{GOOD} proxy_set_header Authorization "";'))
    assert "token_missing" in str(failure.value)
    assert "nginx: proxy_set_header Authorization $http_authorization;" in str(failure.value)


class EncryptedNginx(FaultyNginx):
    """The same with TLS. It says nothing of TLS to the server."""

    def __init__(self, upstream_port: int, certificate: Certificate) -> None:
        super().__init__(upstream_port, Planted("", ""))
        keys = f"ssl_certificate {certificate.path}; ssl_certificate_key {certificate.key_path};"
        plain = f"listen {HOST}:{self.port};"
        self._config_path.write_text(
            self._config_path.read_text().replace(plain, f"listen {HOST}:{self.port} ssl; {keys}")
        )
        self.url = f"https://{HOST}:{self.port}"


def reach(url: str) -> str:
    """Return what a run that can't begin says."""
    with pytest.raises(UnreachableError) as failure:
        Suite(url, GivenCredentials([]), OPTIONS, []).run(lambda _result: None)
    return str(failure.value)


def test_tls_that_ends_wrongly_is_told_with_the_line_that_mends_it(
    belfry: Belfry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "listen 443 ssl;" in reach(belfry.url.replace("http:", "https:"))
    with ExitStack() as stack:
        authority = Authority(stack)
        nginx = EncryptedNginx(belfry.port, authority.certify("belfry", HOST))
        stack.callback(nginx.destroy)
        nginx.start()
        assert "fullchain.pem" in (told := reach(nginx.url))
        assert "unable to get local issuer certificate" in told
        assert "give the address with https://" in reach(nginx.url.replace("https:", "http:"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
        checks = [check for check in DOCTOR if check.name == "proxy.forwarded-proto"]
        found = failures(Suite(nginx.url, credentials(belfry), OPTIONS, checks).run(lambda _result: None))
        assert "nginx: proxy_set_header X-Forwarded-Proto $scheme;" in found["proxy.forwarded-proto"]


@pytest.mark.parametrize(("seconds", "told"), [(-3_600, "the server's is +3"), (3_600, "the server's is -3")])
def test_a_clock_that_is_wrong_is_told_with_the_difference(
    belfry: Belfry, monkeypatch: pytest.MonkeyPatch, seconds: int, told: str
) -> None:
    here = time.time() + seconds
    monkeypatch.setattr(answers, "now", lambda: here)
    checks = [check for check in DOCTOR if check.name == "proxy.clock"]
    line = failures(Suite(belfry.url, credentials(belfry), OPTIONS, checks).run(lambda _result: None))["proxy.clock"]
    assert told in line
    assert "NTP" in line
