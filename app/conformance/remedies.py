"""What repairs a fault between client and Belfry, as a line of configuration for the proxy.

A proxy is recognised by the headers and pages of its answers. If it is not recognised, the lines for all known proxies
are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NGINX, CADDY, TRAEFIK, HAPROXY, ALB, CLOUDFLARE = "nginx", "Caddy", "Traefik", "HAProxy", "ALB", "Cloudflare"
PROXIES: Final = (NGINX, CADDY, TRAEFIK, HAPROXY, ALB, CLOUDFLARE)
# The outermost proxy comes first. Cloudflare and an ALB say who they are, also in front of another proxy.
_SIGNS: Final = (
    ("cloudflare", CLOUDFLARE),
    ("awselb", ALB),
    ("nginx", NGINX),
    ("openresty", NGINX),
    ("caddy", CADDY),
    ("traefik", TRAEFIK),
    ("haproxy", HAPROXY),
)

REMEDIES: Final[Mapping[str, Mapping[str, str]]] = {
    "buffering": {
        NGINX: "proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering",
        CADDY: "flush_interval -1 in reverse_proxy",
        TRAEFIK: "remove the buffering middleware",
        HAPROXY: "no option http-buffer-request; remove filters that hold responses",
        ALB: "an ALB does not buffer: look at the proxy behind it; a Lambda target buffers whole answers",
        CLOUDFLARE: "no Workers or APO that read the body for /stream; Auto Minify and Rocket Loader off",
    },
    "read_timeout": {
        NGINX: "proxy_read_timeout 75s; in the location of /stream and /completions",
        CADDY: "read_timeout 75s in the transport of reverse_proxy, or none",
        TRAEFIK: "respondingTimeouts.writeTimeout=0 and idleTimeout=75s at the entry point",
        HAPROXY: "timeout server 75s and timeout client 75s",
        ALB: "load balancer attribute idle_timeout.timeout_seconds=75",
        CLOUDFLARE: "BELFRY_HEARTBEAT_SECONDS below its limit of 100 s",
    },
    "compression": {
        NGINX: "gzip off; in the location of /stream, or take text/event-stream out of gzip_types",
        CADDY: "encode with a matcher that leaves text/event-stream out",
        TRAEFIK: "compress.excludedContentTypes=text/event-stream",
        HAPROXY: "take text/event-stream out of compression type",
        ALB: "an ALB does not compress: look at the proxy or CDN around it",
        CLOUDFLARE: "a Compression Rule that disables compression for /stream",
    },
    "last_event_id": {
        NGINX: "proxy_set_header Last-Event-ID $http_last_event_id;",
        CADDY: "remove header_up -Last-Event-ID",
        TRAEFIK: "remove Last-Event-ID from customRequestHeaders",
        HAPROXY: "remove http-request del-header Last-Event-ID",
        ALB: "an ALB passes it on; CloudFront needs it in the origin request policy",
        CLOUDFLARE: "remove the Request Header Transform Rule for Last-Event-ID",
    },
    "authorization": {
        NGINX: "proxy_set_header Authorization $http_authorization;",
        CADDY: "remove header_up -Authorization, and basic_auth in front",
        TRAEFIK: "removeHeader=false in basicAuth, and no Authorization in customRequestHeaders",
        HAPROXY: "remove http-request del-header Authorization",
        ALB: "no authenticate-oidc or authenticate-cognito action for these paths",
        CLOUDFLARE: "remove the Request Header Transform Rule for Authorization",
    },
    "host": {
        NGINX: "proxy_set_header Host $http_host;",
        CADDY: "remove header_up Host",
        TRAEFIK: "passHostHeader=true at the service",
        HAPROXY: "remove http-request set-header Host",
        ALB: "load balancer attribute routing.http.preserve_host_header.enabled=true",
        CLOUDFLARE: "remove the Host Header override of the Origin Rule",
    },
    "forwarded_proto": {
        NGINX: "proxy_set_header X-Forwarded-Proto $scheme; and the proxy's address in BELFRY_TRUSTED_PROXIES",
        CADDY: "the proxy's address in BELFRY_TRUSTED_PROXIES; Caddy sets X-Forwarded-Proto by itself",
        TRAEFIK: "the proxy's address in BELFRY_TRUSTED_PROXIES; Traefik sets X-Forwarded-Proto by itself",
        HAPROXY: "http-request set-header X-Forwarded-Proto https, and its address in BELFRY_TRUSTED_PROXIES",
        ALB: "the subnets of the ALB in BELFRY_TRUSTED_PROXIES; an ALB sets X-Forwarded-Proto by itself",
        CLOUDFLARE: "its networks in BELFRY_TRUSTED_PROXIES; an inner proxy must keep its X-Forwarded-Proto",
    },
    "body_size": {
        NGINX: "client_max_body_size 32m;",
        CADDY: "max_size 32MB in request_body",
        TRAEFIK: "buffering.maxRequestBodyBytes=33554432, or no buffering middleware",
        HAPROXY: "remove the http-request deny on req.body_size",
        ALB: "an AWS WAF rule SizeRestrictions_BODY that counts instead of blocking",
        CLOUDFLARE: "its limit is 100 MB in the free plan: look at the WAF rules and at the proxy behind",
    },
    "connections": {
        NGINX: "a higher limit_conn, or none in the location of /stream",
        CADDY: "a higher limit per client",
        TRAEFIK: "a higher inFlightReq.amount",
        HAPROXY: "higher maxconn, and no limit on src_conn_cur",
        ALB: "more healthy targets in the target group, each with enough file descriptors",
        CLOUDFLARE: "no rate limiting rule that matches /stream",
    },
    "upstream": dict.fromkeys(
        PROXIES, "the proxy does not reach Belfry, or waited too long: compare its upstream with BELFRY_BIND"
    ),
    "cache_control": {
        NGINX: "remove expires, proxy_hide_header Cache-Control and add_header Cache-Control for /stream",
        CADDY: "remove header Cache-Control for /stream",
        TRAEFIK: "remove Cache-Control from customResponseHeaders",
        HAPROXY: "remove http-response set-header Cache-Control",
        ALB: "an ALB does not change it; CloudFront: remove it from the response headers policy",
        CLOUDFLARE: "Browser Cache TTL: respect existing headers",
    },
    "sub_path": {
        NGINX: "proxy_set_header X-Forwarded-Prefix with the path (from a trusted proxy), or BELFRY_PATH_PREFIX",
        CADDY: "header_up X-Forwarded-Prefix with the path (from a trusted proxy), or BELFRY_PATH_PREFIX",
        TRAEFIK: "stripPrefix, which sends X-Forwarded-Prefix (from a trusted proxy), or BELFRY_PATH_PREFIX",
        HAPROXY: "http-request set-header X-Forwarded-Prefix (from a trusted proxy), or BELFRY_PATH_PREFIX",
        ALB: "BELFRY_PATH_PREFIX with the path: an ALB passes it on",
        CLOUDFLARE: "BELFRY_PATH_PREFIX with the path",
    },
    "error_pages": {
        NGINX: "proxy_intercept_errors off; (on belongs into the locations of streams only, see deploy/nginx.conf)",
        CADDY: "remove handle_response and handle_errors for Belfry's answers",
        TRAEFIK: "remove the errors middleware",
        HAPROXY: "remove errorfile, http-error and http-response return for Belfry's answers",
        ALB: "no fixed-response rule for these paths",
        CLOUDFLARE: "no Custom Error Rule for these paths",
    },
    "methods": {
        NGINX: "remove limit_except and if ($request_method …)",
        CADDY: "remove the method matcher in front of reverse_proxy",
        TRAEFIK: "remove Method(…) from the router's rule, and accessControlAllow… from the headers middleware",
        HAPROXY: "remove the http-request deny on method",
        ALB: "no http-request-method condition in the listener's rules; no such AWS WAF rule",
        CLOUDFLARE: "no WAF rule on http.request.method",
    },
    "cache": {
        NGINX: "proxy_cache off; and no proxy_hide_header or proxy_ignore_headers Cache-Control",
        CADDY: "remove the cache handler, and header Cache-Control",
        TRAEFIK: "remove the cache plugin, and Cache-Control from customResponseHeaders",
        HAPROXY: "remove http-request cache-use, and http-response set-header Cache-Control",
        ALB: "an ALB does not cache; CloudFront: the managed policy CachingDisabled",
        CLOUDFLARE: "no Cache Rule that makes these paths eligible for cache",
    },
    "query": {
        NGINX: "proxy_pass without a variable path, or with $is_args$args behind it",
        CADDY: "a rewrite that keeps the query: {uri} or {path}?{query}",
        TRAEFIK: "a replacePathRegex that leaves the query alone, or none",
        HAPROXY: "http-request set-path instead of set-uri, and no set-query",
        ALB: "a redirect or rewrite rule with #{query}",
        CLOUDFLARE: "no URL Rewrite Rule for the query; CloudFront: all query strings in the origin request policy",
    },
    "request_rate": {
        NGINX: "a higher limit_req, with burst=100 nodelay, or none: Belfry has limits of its own",
        CADDY: "a higher rate_limit",
        TRAEFIK: "a higher rateLimit.average and burst",
        HAPROXY: "a higher limit on http_req_rate in the stick table's rule",
        ALB: "a higher limit in the rate-based rule of AWS WAF",
        CLOUDFLARE: "a higher limit in the rate limiting rule",
    },
    "head_size": {
        NGINX: "large_client_header_buffers 4 32k;",
        CADDY: "max_header_size 32KB in servers",
        TRAEFIK: "maxHeaderBytes=32768 at the entry point",
        HAPROXY: "tune.bufsize 49152 in global",
        ALB: "its limit of 16 kB a line can't be raised: fewer topics in a token, or a ticket",
        CLOUDFLARE: "its limit can't be raised: fewer topics in a token, or a ticket",
    },
    "content_filter": {
        NGINX: "modsecurity off; in the location of /publish, or an exception in its rules",
        CADDY: "an exception for /publish in coraza_waf",
        TRAEFIK: "an exception for /publish in the WAF plugin",
        HAPROXY: "an exception for /publish in the WAF filter",
        ALB: "AWS WAF: a scope-down statement that leaves /publish out of CrossSiteScripting_BODY and SQLi_BODY",
        CLOUDFLARE: "a WAF exception (skip) for /publish",
    },
    "chunked": {
        NGINX: "proxy_http_version 1.1; and chunked_transfer_encoding on;",
        CADDY: "request_buffers 32MB in reverse_proxy if another proxy behind wants a length",
        TRAEFIK: "buffering.maxRequestBodyBytes if another proxy behind wants a length",
        HAPROXY: "remove the http-request deny on transfer-encoding",
        ALB: "an ALB passes it on: look at the proxy behind",
        CLOUDFLARE: "it passes it on: look at the proxy behind",
    },
    "static_files": {
        NGINX: "no location for /static/ or \\.js$ in front of Belfry's, and no types that lack application/javascript",
        CADDY: "no file_server for /static/ in front of reverse_proxy",
        TRAEFIK: "a router rule that sends /static/ to Belfry too",
        HAPROXY: "a use_backend rule that sends /static/ to Belfry too",
        ALB: "a listener rule that sends /static/* to Belfry too",
        CLOUDFLARE: "no rule or Worker for /static/",
    },
    "cors": {
        NGINX: "remove add_header and proxy_hide_header Access-Control-…, and set BELFRY_CORS_ORIGINS",
        CADDY: "remove header Access-Control-…, and set BELFRY_CORS_ORIGINS",
        TRAEFIK: "remove accessControlAllow… from the headers middleware, and set BELFRY_CORS_ORIGINS",
        HAPROXY: "remove http-response set-header Access-Control-…, and set BELFRY_CORS_ORIGINS",
        ALB: "remove the listener attributes routing.http.response.access_control_…, and set BELFRY_CORS_ORIGINS",
        CLOUDFLARE: "no Response Header Transform Rule for Access-Control-…, and set BELFRY_CORS_ORIGINS",
    },
    "clock": dict.fromkeys(PROXIES, "NTP on the server and on this machine (timedatectl set-ntp true)"),
    "redirect": {
        NGINX: "no return 301, no auth_request and no auth_basic for Belfry's paths",
        CADDY: "no redir and no forward_auth for Belfry's paths",
        TRAEFIK: "no redirectScheme and no forwardAuth middleware for Belfry's paths",
        HAPROXY: "no http-request redirect for Belfry's paths",
        ALB: "no redirect and no authenticate action for Belfry's paths",
        CLOUDFLARE: "no Redirect Rule and no Access application for Belfry's paths",
    },
    "plain_http": {
        NGINX: "listen 443 ssl; with ssl_certificate and ssl_certificate_key",
        CADDY: "an address without http:// and without :80",
        TRAEFIK: "tls=true at the router of this entry point",
        HAPROXY: "bind :443 ssl crt PATH",
        ALB: "an HTTPS listener with a certificate of ACM",
        CLOUDFLARE: "SSL mode Full (strict) and the proxied (orange) record",
    },
    "certificate": {
        NGINX: "ssl_certificate with the whole chain (fullchain.pem) for this name, renewed, then nginx -s reload",
        CADDY: "the name as the site's address, reachable on ports 80 and 443 so that Caddy can renew",
        TRAEFIK: "tls.certResolver at the router, with Host(…) of this name",
        HAPROXY: "bind … crt with certificate, chain and key in one file, for this name",
        ALB: "a certificate of ACM for this name at the HTTPS listener",
        CLOUDFLARE: "an edge certificate that covers this name",
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
    if "CF-RAY" in headers:
        return CLOUDFLARE
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
