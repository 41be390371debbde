"""The connections to one upstream, which stay open between requests, and what was learned about the upstream.

Each upstream has an HTTP session of its own, with its own certificates, proxy and headers.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import requests
import urllib3
from requests.utils import get_environ_proxies

from ...core.completion import CompletionRequest, Forwarded
from ...core.completion.advice import NAMES, seconds_until, verdict, wait_in
from ...core.completion.coding import decoded
from ...core.completion.failure import is_final, short, told_in
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...core.upstreams import HeaderFilter, Upstream, is_passable
from .body_bytes import reader_of
from .patient_http import PatientAdapter

IDLE_CONNECTIONS = 1_000  # kept to each upstream; one more is closed after its answer
ERROR_BODY_BYTES = 65_536
FIRST_ERROR, FIRST_FAILURE, LAST_STATUS = 400, 500, 599  # of HTTP; some servers invent others
ANSWER_HEADERS = 1_000  # http.client takes 100, which some gateways exceed
HEADER_LINE_BYTES = 262_144  # of one header; http.client takes 65,536
USER_AGENT: Final = "belfry"
BROKEN: Final = (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException)
CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OPTIONS = "stream_options"
_OPTIONS_SENT = re.compile(_OPTIONS + r"""[\\"']*\s*[:=]\s*\{""")  # in an error that repeats the request
_REJECTED = (
    r"(?:\b(?:unexpected|unknown)(?!\W+(?:internal\W+|server\W+)?(?:error|exception|end|eof|status|failure|condition))"
    r"|\bextra(?![a-z])|unrecogni[sz]ed|unsupported|not (?:permitted|allowed|supported|recogni[sz]ed))"
)
# Such a word before the repeated request, or next to the name of the options. The request itself may have the word too.
_OPTIONS_REJECTED = re.compile(
    rf"^[^{{]{{0,200}}{_REJECTED}|{_REJECTED}[^{{}}]{{0,120}}{_OPTIONS}|{_OPTIONS}[^{{}}]{{0,80}}{_REJECTED}",
    re.IGNORECASE,
)
_OWN_CREDENTIALS = {401, 407}  # ours are wrong, which is not the client's business
_RETRIED = {408, 409, 425, 429}
_NEVER_RETRIED = {501, 505}

logger = logging.getLogger("belfry.upstream")
# There is no public way to set these.
vars(http.client).update(_MAXHEADERS=ANSWER_HEADERS, _MAXLINE=HEADER_LINE_BYTES)


class UpstreamClients:
    """The clients of all upstreams. One per worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[int, UpstreamClient] = {}

    def of(self, upstream: Upstream) -> UpstreamClient:
        """The client of one upstream."""
        known = self._clients.get(id(upstream))
        if known is None:
            known = self._clients[id(upstream)] = UpstreamClient(upstream, self._settings)
        return known


class UpstreamClient:
    """Calls one upstream."""

    def __init__(self, upstream: Upstream, settings: Settings) -> None:
        self.upstream = upstream
        self.settings = settings
        self.limits = upstream.limits(settings)
        self.retries = settings.upstream_retries if upstream.retries is None else upstream.retries
        self.takes_options = upstream.stream_options  # None: not known yet
        up, back = upstream.request_headers, upstream.response_headers
        self._up = HeaderFilter(settings.request_headers if up is None else up)
        self._back = HeaderFilter(settings.response_headers if back is None else back)
        self.proxies = _proxies(upstream)
        self.certificates = _certificates(upstream)
        self._session = _session(self.proxies, self.certificates)

    @property
    def way(self) -> str:
        """By which way it is reached, for the log."""
        scheme = self.upstream.url.partition(":")[0]
        proxy = self.proxies.get(scheme) or self.proxies.get("all")
        parts = [f" by the proxy {proxy.rpartition('@')[2]}" if proxy else ""]
        parts += [f" with the certificates of {self.certificates}" if isinstance(self.certificates, str) else ""]
        return "".join(parts)

    def get(self, url: str, seconds: float) -> requests.Response:
        """What it has at an address of its own, not yet read."""
        return self._session.get(
            url,
            headers={**_OURS, **self.upstream.own_headers},
            timeout=(self.limits.connect, seconds),
            stream=True,
            allow_redirects=False,
        )

    def post_nothing(self, url: str, seconds: float) -> requests.Response:
        """What it answers to an empty object, not yet read."""
        return self._session.post(
            url,
            data=b"{}",
            headers={**_OURS, "Content-Type": "application/json", **self.upstream.own_headers},
            timeout=(self.limits.connect, seconds),
            stream=True,
            allow_redirects=False,
        )

    def complete(self, request: CompletionRequest, *, stream: bool) -> requests.Response:
        """Ask for a completion; the answer, not yet read, if it is a success.

        An upstream that refuses `stream_options` is asked again without them, once, and they are left out from then on.
        Raises `BelfryError` `upstream_unreachable`, or what the upstream's refusal comes to.
        """
        with_options = stream and self.takes_options is not False
        reply = self._ask(request, stream=stream, with_options=with_options)
        if _is_success(reply):
            if with_options:
                self.takes_options = True
            return reply
        refusal, reply = self._refusal(reply)
        if not (with_options and _may_mean_options(refusal, self.takes_options)):
            raise refusal
        logger.info("upstream %s is asked again without stream_options: %s", self.upstream.name, refusal.detail)
        reply = self._ask(request, stream=stream, with_options=False)
        if _is_success(reply):
            self.takes_options = False
            return reply
        raise self._refusal(reply)[0]

    def forward(self, request: Forwarded) -> requests.Response:
        """Pass a request on as it is; the answer, not yet read, if it is a success. Raises as `complete` does."""
        url = self.upstream.below(request.path)
        reply = self._post(url, request.body, request.content_type, request.headers.get("accept", "*/*"), request)
        if _is_success(reply):
            return reply
        raise self._refusal(reply)[0]

    def passed_back(self, reply: requests.Response) -> dict[str, str]:
        """The headers of its answer that go to the client."""
        return self._back.of({name.lower(): value for name, value in reply.headers.items()})

    def masked(self, error: BelfryError) -> BelfryError:
        """The error without the upstream's secrets."""
        error.detail = self.upstream.masked(error.detail)
        if "upstream" in error.extra:
            error.extra["upstream"] = self.upstream.masked_all(error.extra["upstream"])
        return error

    def _ask(self, request: CompletionRequest, *, stream: bool, with_options: bool) -> requests.Response:
        body = request.body(stream=stream, with_options=with_options)
        accept = "text/event-stream" if stream else "application/json"
        return self._post(self.upstream.completions_url, body, "application/json", accept, request)

    def _post(
        self, url: str, body: bytes, content_type: str, accept: str, request: CompletionRequest | Forwarded
    ) -> requests.Response:
        headers = {**_OURS, **self._up.of(request.headers), "Content-Type": content_type, "Accept": accept}
        try:
            return self._session.post(
                url,
                data=body,
                headers={**headers, **self.upstream.own_headers},
                timeout=(self.limits.connect, None),  # who waits for the answer has a deadline
                stream=True,
                allow_redirects=False,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, http.client.HTTPException) as error:
            wrong = _wrong_http(error)
            reason = self.upstream.masked(str(wrong or error))
            if wrong is not None:  # it answered, so the request may be paid for
                logger.warning("upstream %s does not answer in HTTP: %s", self.upstream.name, reason)
                told = f"The upstream's answer is not valid HTTP: {short(reason)}."
                raise BelfryError("upstream_malformed", told, retry=False) from None
            logger.warning("upstream %s can't be reached: %s", self.upstream.name, reason)
            raise BelfryError("upstream_unreachable") from None

    def _refusal(self, reply: requests.Response) -> tuple[BelfryError, requests.Response]:
        """What a client gets to hear of a refusal: the upstream's status, reason and advice."""
        with reply:
            text = _text(reply)
        told = told_in(text)
        status = reply.status_code
        reason = self.upstream.masked(str(told.get("message") or "(it gives no reason)"))
        logger.warning("upstream %s answered %d: %s%s", self.upstream.name, status, reason, self._hint(status, reply))
        error = self._told(status, told, reply)
        error.headers = {**self._back.of(_lower(reply)), **_advice(reply, told), **error.headers}
        return self.masked(error), reply

    def _told(self, status: int, told: dict[str, Any], reply: requests.Response) -> BelfryError:
        if status in _OWN_CREDENTIALS:
            detail = f"The upstream refused Belfry's own credentials with status {status}; Belfry's log has its reason."
            return BelfryError("upstream_failed", detail, headers={"x-should-retry": "false"}, retry=False)
        if not FIRST_ERROR <= status <= LAST_STATUS:
            target = short(reply.headers.get("Location", "").partition("?")[0])
            detail = f"The upstream answered with status {status}" + (f" and redirects to {target}." if target else ".")
            return BelfryError("upstream_failed", detail, headers={"x-should-retry": "false"}, retry=False)
        code = {429: "upstream_rate_limited"}.get(status, "upstream_refused" if status < 500 else "upstream_failed")
        detail = str(told.get("message") or f"The upstream answered with status {status}.")
        error = BelfryError(code, detail, retry=_is_retried(status, told, reply), upstream=told)
        error.status = status  # a client of OpenAI's API tells refusals apart by it
        if is_final(told) and NAMES[-1] not in reply.headers:
            error.headers[NAMES[-1]] = "false"  # OpenAI's clients repeat each 429 otherwise
        return error

    def _hint(self, status: int, reply: requests.Response) -> str:
        if status in {404, 405} and not self.upstream.has_version:
            return "; its address may lack /v1"
        target = reply.headers.get("Location", "")
        return f"; it redirects to {target.partition('?')[0]}: set its address to where it leads" if target else ""


_OURS = {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}


def _lower(reply: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.headers.items()}


def _advice(reply: requests.Response, told: dict[str, Any]) -> dict[str, str]:
    """When and whether to come again, which every client gets to know. The headers count before the body."""
    headers = _lower(reply)
    passed = {name: headers[name] for name in NAMES if is_passable(headers.get(name, "\n"))}
    asked = wait_in(told)
    return {"retry-after": asked, **passed} if asked else passed


def _text(reply: requests.Response) -> bytes:
    """The body of a refusal, or a sentence in its place if it can't be read."""
    try:
        return read_decoded(reply, ERROR_BODY_BYTES)
    except BelfryError as error:
        return f"Status {reply.status_code}. {error.detail}".encode()
    except BROKEN:
        return b""


def read_decoded(reply: requests.Response, limit: int) -> bytes:
    """At most about `limit` bytes of a body, decoded. Raises `BelfryError` `upstream_malformed`."""
    found = bytearray()
    pieces = iter(reader_of(reply), b"")
    for plain in decoded(pieces, reply.headers.get("Content-Encoding", "")):
        found += plain
        if len(found) >= limit:
            break
    return bytes(found[:limit])


def _is_success(reply: requests.Response) -> bool:
    return 200 <= reply.status_code < 300


def _wrong_http(error: BaseException | None) -> http.client.HTTPException | None:
    """The reason why an answer could not be read, if there was one. It is wrapped several times."""
    while error is not None:
        if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_retried(status: int, told: dict[str, Any], reply: requests.Response) -> bool:
    """Whether another try may help, as the upstream says or as its status does."""
    said = verdict(_lower(reply))
    if is_final(told) or said is False:
        return False
    return bool(said) or status in _RETRIED or (status >= 500 and status not in _NEVER_RETRIED)


def _may_mean_options(refusal: BelfryError, takes_options: bool | None) -> bool:
    """Whether a refusal may be about `stream_options`: it says so, or nobody knows yet whether they are taken."""
    said = f"{refusal.detail} {refusal.extra.get('upstream', '')}"
    if _OPTIONS in said or "include_usage" in said:  # a program that fails on them may answer 500
        repeats_request = refusal.status >= FIRST_FAILURE and _OPTIONS_SENT.search(said)
        if repeats_request and _OPTIONS_REJECTED.search(said):
            return True
        return refusal.status not in {403, 408, 429} and not repeats_request
    return refusal.status in {400, 422} and takes_options is None


def wait_of(error: BelfryError) -> float | None:
    """The seconds that an upstream asked to wait, if it did."""
    return seconds_until({name.lower(): value for name, value in error.headers.items()}, time.time())


def _session(proxies: dict[str, str], certificates: str | bool) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # ~/.netrc would take the key's place
    session.proxies.update(proxies)
    session.verify = certificates
    # An upstream's cookies would go from one user's request to another's.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = PatientAdapter(pool_maxsize=IDLE_CONNECTIONS)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _proxies(upstream: Upstream) -> dict[str, str]:
    """By scheme: the upstream's own proxy, or that of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`."""
    if upstream.proxy is not None:
        return {"http": upstream.proxy, "https": upstream.proxy} if upstream.proxy else {}
    found: dict[str, str] = get_environ_proxies(upstream.url)
    return {scheme: address for scheme, address in found.items() if scheme != "no"}


def _certificates(upstream: Upstream) -> str | bool:
    """The upstream's own certificates, or those of the usual environment variables, or certifi's."""
    return upstream.ca or next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), True)
