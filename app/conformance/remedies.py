"""What repairs a fault between client and Belfry, as a line of configuration for the proxy.

A proxy is recognised by the headers and pages of its answers. If it is not recognised, the lines for all known proxies
are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NGINX, CADDY, TRAEFIK, HAPROXY = "nginx", "Caddy", "Traefik", "HAProxy"
_SIGNS: Final = (("nginx", NGINX), ("openresty", NGINX), ("caddy", CADDY), ("traefik", TRAEFIK), ("haproxy", HAPROXY))

REMEDIES: Final[Mapping[str, Mapping[str, str]]] = {
    "buffering": {
        NGINX: "proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering",
        CADDY: "flush_interval -1 in reverse_proxy",
        TRAEFIK: "remove the buffering middleware",
        HAPROXY: "no option http-buffer-request; remove filters that hold responses",
    },
    "read_timeout": {
        NGINX: "proxy_read_timeout 75s; in the location of /stream and /completions",
        CADDY: "read_timeout 75s in the transport of reverse_proxy, or none",
        TRAEFIK: "respondingTimeouts.writeTimeout=0 and idleTimeout=75s at the entry point",
        HAPROXY: "timeout server 75s and timeout client 75s",
    },
    "compression": {
        NGINX: "gzip off; in the location of /stream, or take text/event-stream out of gzip_types",
        CADDY: "encode with a matcher that leaves text/event-stream out",
        TRAEFIK: "compress.excludedContentTypes=text/event-stream",
        HAPROXY: "take text/event-stream out of compression type",
    },
    "last_event_id": {
        NGINX: "proxy_set_header Last-Event-ID $http_last_event_id;",
        CADDY: "remove header_up -Last-Event-ID",
        TRAEFIK: "remove Last-Event-ID from customRequestHeaders",
        HAPROXY: "remove http-request del-header Last-Event-ID",
    },
    "authorization": {
        NGINX: "proxy_set_header Authorization $http_authorization;",
        CADDY: "remove header_up -Authorization, and basic_auth in front",
        TRAEFIK: "removeHeader=false in basicAuth, and no Authorization in customRequestHeaders",
        HAPROXY: "remove http-request del-header Authorization",
    },
    "host": {
        NGINX: "proxy_set_header Host $http_host;",
        CADDY: "remove header_up Host",
        TRAEFIK: "passHostHeader=true at the service",
        HAPROXY: "remove http-request set-header Host",
    },
    "forwarded_proto": {
        NGINX: "proxy_set_header X-Forwarded-Proto $scheme; and the proxy's address in BELFRY_TRUSTED_PROXIES",
        CADDY: "the proxy's address in BELFRY_TRUSTED_PROXIES; Caddy sets X-Forwarded-Proto by itself",
        TRAEFIK: "the proxy's address in BELFRY_TRUSTED_PROXIES; Traefik sets X-Forwarded-Proto by itself",
        HAPROXY: "http-request set-header X-Forwarded-Proto https, and its address in BELFRY_TRUSTED_PROXIES",
    },
    "body_size": {
        NGINX: "client_max_body_size 32m;",
        CADDY: "max_size 32MB in request_body",
        TRAEFIK: "buffering.maxRequestBodyBytes=33554432, or no buffering middleware",
        HAPROXY: "remove the http-request deny on req.body_size",
    },
    "connections": {
        NGINX: "a higher limit_conn, or none in the location of /stream",
        CADDY: "a higher limit per client",
        TRAEFIK: "a higher inFlightReq.amount",
        HAPROXY: "higher maxconn, and no limit on src_conn_cur",
    },
    "upstream": dict.fromkeys(
        (NGINX, CADDY, TRAEFIK, HAPROXY),
        "the proxy does not reach Belfry, or waited too long: compare its upstream with BELFRY_BIND",
    ),
    "cache_control": {
        NGINX: "remove expires, proxy_hide_header Cache-Control and add_header Cache-Control for /stream",
        CADDY: "remove header Cache-Control for /stream",
        TRAEFIK: "remove Cache-Control from customResponseHeaders",
        HAPROXY: "remove http-response set-header Cache-Control",
    },
    "sub_path": {
        NGINX: "proxy_set_header X-Forwarded-Prefix with the path (from a trusted proxy), or BELFRY_PATH_PREFIX",
        CADDY: "header_up X-Forwarded-Prefix with the path (from a trusted proxy), or BELFRY_PATH_PREFIX",
        TRAEFIK: "stripPrefix, which sends X-Forwarded-Prefix (from a trusted proxy), or BELFRY_PATH_PREFIX",
        HAPROXY: "http-request set-header X-Forwarded-Prefix (from a trusted proxy), or BELFRY_PATH_PREFIX",
    },
}
# Checks that look at the same things for other reasons.
_BY_CHECK: Final = {
    "stream.headers": "cache_control",
    "stream.uncompressed": "compression",
    "stream.at-once": "buffering",
    "stream.first-bytes": "buffering",
}


def proxy_of(headers: Mapping[str, str]) -> str:
    """The proxy that an answer came through; empty if none says so."""
    said = f"{headers.get('Server', '')} {headers.get('Via', '')}".lower()
    return next((name for sign, name in _SIGNS if sign in said), "")


def remedy(fault: str, proxy: str = "") -> str:
    """What mends a fault: the line for `proxy`, or for each of them."""
    lines = REMEDIES[fault]
    if proxy:
        return f"{proxy}: {lines[proxy]}"
    if len(set(lines.values())) == 1:
        return next(iter(lines.values()))
    return "; ".join([f"{name}: {line}" for name, line in lines.items()])


def fault_of(check: str) -> str:
    """The fault on the way that a failure of the named check mostly comes from; empty if it has many causes."""
    return _BY_CHECK.get(check, "")
