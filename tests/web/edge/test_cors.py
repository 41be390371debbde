"""Other origins: those on the list may call with credentials, everybody else gets no header to go by."""

from __future__ import annotations

import pytest

from app.core.settings import SettingsError, load
from app.web.edge.auth import HOST_COOKIE
from app.web.edge.cors import REQUEST_HEADERS
from tests.web.identity_app import Site, open_site

APP = "https://app.example"


@pytest.fixture
def site() -> Site:
    return open_site(cors_origins=f"{APP}, https://other.example:8443")


def test_an_allowed_origin_may_read_the_answer_with_credentials(site: Site) -> None:
    headers = site.client.get("/whoami", headers={**site.bearer(), "Origin": APP}).headers
    assert headers["Access-Control-Allow-Origin"] == APP
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in headers["Vary"]


def test_a_refusal_can_be_read_too(site: Site) -> None:
    answer = site.client.get("/whoami", headers={"Origin": APP})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, APP)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://app.example.evil", "http://app.example", "https://app.example/"]
)
def test_another_origin_gets_nothing_but_is_told_apart_by_caches(site: Site, origin: str) -> None:
    headers = site.client.get("/whoami", headers={**site.bearer(), "Origin": origin}).headers
    assert "Access-Control-Allow-Origin" not in headers
    assert "Origin" in headers["Vary"]


def preflight(site: Site, origin: str, headers: str = "authorization,last-event-id") -> dict[str, str]:
    answer = site.client.options(
        "/whoami",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": headers,
        },
    )
    assert answer.status_code == 204
    return {name.lower(): value for name, value in answer.headers.items()}


def test_a_preflight_allows_the_headers_that_clients_of_streams_send(site: Site) -> None:
    headers = preflight(site, APP)
    assert {"authorization", "last-event-id", "cache-control"} <= set(
        headers["access-control-allow-headers"].split(", ")
    )
    assert headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize(
    "added",
    [
        "hx-request,hx-request-type,hx-current-url,hx-source",
        "sentry-trace,baggage",
        "traceparent,tracestate",
        "x-datadog-trace-id,x-datadog-parent-id,x-datadog-origin,x-datadog-sampling-priority",
        "x-stainless-lang,x-stainless-package-version,x-stainless-retry-count,x-stainless-timeout,openai-organization",
        "idempotency-key",
        "newrelic,x-newrelic-id,elastic-apm-traceparent,uber-trace-id,request-id,request-context,x-amzn-trace-id",
        "ot-tracer-traceid,ot-tracer-spanid,x-ot-span-context,x-ms-client-request-id,adrum,adrum_1,x-b3-traceid,tracecontext",
        "x-highlight-request,x-posthog-session-id,x-rum-session,x-openreplay-session-token,x-client-trace-id,grpc-trace-bin",
        "x-turbo-request-id,turbo-frame,x-inertia,x-up-version,datastar-request,x-wap-session-id,x-transaction-id",
        "x-cloud-trace-context,x-dtpc,x-instana-t,sw8,x-honeycomb-trace,x-request-id,x-correlation-id,x-xsrf-token",
    ],
)
def test_a_preflight_allows_the_headers_that_libraries_add(site: Site, added: str) -> None:
    allowed = preflight(site, APP, f"authorization,{added}")["access-control-allow-headers"].split(", ")
    assert {"authorization", *added.split(",")} <= set(allowed)


def test_a_preflight_allows_no_header_that_means_something_here(site: Site) -> None:
    asked = "x-forwarded-for,x-forwarded-proto,x-forwarded-prefix,x-real-ip,x-remote-user,x-http-method-override,cookie"
    asked += ",x-original-url,x-accel-redirect,proxy-authorization,hx-request\tx,hx-" + "a" * 100 + ",trace-" + "a" * 99
    assert preflight(site, APP, asked)["access-control-allow-headers"] == REQUEST_HEADERS


def test_a_preflight_of_a_stranger_allows_nothing(site: Site) -> None:
    assert not [name for name in preflight(site, "https://evil.example") if name.startswith("access-control")]


def test_without_the_setting_no_origin_is_allowed() -> None:
    site = open_site()
    headers = site.client.get("/whoami", headers={**site.bearer(), "Origin": APP}).headers
    assert not [name for name in headers if name[0].startswith("Access-Control")]


def test_an_allowed_origin_s_pages_may_use_the_session(site: Site) -> None:
    site.start_session()
    assert site.client.get_cookie(HOST_COOKIE)
    allowed = {"Origin": APP, "Sec-Fetch-Site": "same-site"}
    assert site.client.post("/whoami", headers=allowed).status_code == 200
    assert site.client.post("/whoami", headers={**allowed, "Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "text", ["*", "https://*.example", "app.example", "https://app.example/", "https://[::1", "https://[1:2]"]
)
def test_only_exact_origins_can_be_allowed(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^BELFRY_CORS_ORIGINS"):
        load({"BELFRY_CORS_ORIGINS": text})


@pytest.mark.parametrize(
    "text", ["file://x", "javascript://x", "https://a.example:65536", "null", "capacitor://", "://x"]
)
def test_what_no_browser_sends_as_an_origin_can_not_be_allowed(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^BELFRY_CORS_ORIGINS"):
        load({"BELFRY_CORS_ORIGINS": text})


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("capacitor://localhost", "capacitor://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://abcdefghijklmnopabcdefghijklmnop"),
        ("moz-extension://3e2c-11", "moz-extension://3e2c-11"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:080", "http://localhost"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("HTTPS://App.Example.com", "https://app.example.com"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
        ("http://[2001:db8:0:0:1:0:0:1]", "http://[2001:db8::1:0:0:1]"),
        ("http://[::ffff:1.2.3.4]:3000", "http://[::ffff:102:304]:3000"),
    ],
)
def test_an_origin_matches_as_browsers_write_it(text: str, origin: str) -> None:
    site = open_site(cors_origins=f"https://other.example, {text}")
    assert preflight(site, origin)["access-control-allow-origin"] == origin
