"""The server under test, for one check: requests on connections of its own, without following redirects."""

from __future__ import annotations

from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter

CONNECT_SECONDS: Final = 5.0
CONNECTIONS: Final = 64  # more than any check has open


class Deployment:
    """Asks `url` and waits at most `patience` seconds for each answer. Keeps no cookies. Not for several threads."""

    def __init__(self, url: str, patience: float) -> None:
        self.url = url
        self.patience = patience
        self._session = requests.Session()
        for scheme in ("http://", "https://"):  # beyond its size, urllib3 warns the user of the command line
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def close(self) -> None:
        self._session.close()

    def ask(self, method: str, path: str, token: str = "", *, seconds: float = 0, **options: Any) -> requests.Response:
        """One answer, whatever it says. Raises `requests.RequestException` when none comes.

        `seconds` is how long it may take beside the usual.
        """
        options.setdefault("timeout", (CONNECT_SECONDS, self.patience + seconds))
        streamed = options.pop("stream", False)
        answer = self._session.request(
            method, self.url + path, auth=_authorize(token), allow_redirects=False, stream=True, **options
        )
        if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            if not streamed:  # it was to be refused, and has no end that could be read to
                answer.close()
        else:
            _ = answer.content  # read to its end, the connection serves the next request
        return answer


def _authorize(token: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """This is `auth` and not a header, because requests lets an entry of ~/.netrc replace a header."""

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        if request.headers.get("Accept-Encoding") != "gzip":
            request.headers["Accept-Encoding"] = "identity"
        return request

    return authorize
