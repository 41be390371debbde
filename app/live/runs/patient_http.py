"""HTTP to upstreams that skips interim answers: 102 Processing, 103 Early Hints and others (RFC 9110, 15.2).

`http.client` skips only 100 and takes any other for the answer.
"""

from __future__ import annotations

import http.client
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter

SWITCHING = 101  # the last answer in HTTP, though nobody asked for another protocol
INTERIM = range(100, 200)
INTERIM_MAX = 100  # more of them are no answer


class _Response(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(INTERIM_MAX):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not public
            if status not in INTERIM or status == SWITCHING:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine(f"more than {INTERIM_MAX} interim answers")


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _SecureConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class PatientAdapter(HTTPAdapter):
    """`requests`' adapter with such connections, also by way of a proxy."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": _Pool, "https": _SecurePool}
