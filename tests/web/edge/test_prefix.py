"""Below which path a proxy serves Belfry: who may say so, and what becomes of the path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.test import create_environ

from app.core.settings import Settings
from app.web.api.operations import OPERATIONS
from app.web.edge.prefix import OWN_PATHS, Prefix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STRANGER = "203.0.113.9"


def seen(path: str, header: str | None = None, remote: str = "10.0.0.1", **settings: Any) -> tuple[str, str]:
    """The prefix and the path that the application behind the middleware sees."""
    found: list[WSGIEnvironment] = []

    def application(environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
        found.append(environ)
        return []

    environ = create_environ(path, headers={} if header is None else {"X-Forwarded-Prefix": header})
    environ["REMOTE_ADDR"] = remote
    Prefix(application, Settings(**settings))(environ, lambda *_: lambda _body: None)
    return found[0]["SCRIPT_NAME"], found[0]["PATH_INFO"]


@pytest.mark.parametrize(
    ("path", "below"),
    [
        *[
            ("/feed", "/feed"),
            ("/push/feed", "/feed"),
            ("/push/", "/"),
            ("/push", "/"),
            ("/pushy", "/pushy"),
            ("/", "/"),
        ],
        *[("/push/key", "/push/key"), ("/push/push/key", "/push/key"), ("/push/keys", "/keys")],
    ],
)
def test_the_setting_counts_whether_the_proxy_passes_the_prefix_on_or_not(path: str, below: str) -> None:
    assert seen(path, path_prefix="/push") == ("/push", below)
    assert seen(path, "/other", path_prefix="/push/", trusted_proxies="10.0.0.0/8") == ("/push", below)


def test_every_path_of_belfry_below_push_is_known_as_its_own() -> None:
    own = {operation.path for operation in OPERATIONS if operation.path.startswith("/push/")}
    assert own == OWN_PATHS


@pytest.mark.parametrize("header", ["/push", "/push/", " /push "])
def test_the_header_of_a_trusted_proxy_counts(header: str) -> None:
    assert seen("/feed", header, trusted_proxies="10.0.0.0/8") == ("/push", "/feed")
    assert seen("/feed", header, remote="") == ("/push", "/feed"), "the peer of a unix socket is trusted"
    assert seen("/feed", header, remote="127.0.0.1", demo=True) == ("/push", "/feed")


@pytest.mark.parametrize("path", ["/x/metrics", "/x", "/x/", "/x/x/metrics"])
def test_the_header_never_changes_which_path_is_served(path: str) -> None:
    """A stranger sends it through a trusted proxy that refuses `/metrics` and does not know the header."""
    assert seen(path, "/x", trusted_proxies="10.0.0.0/8") == ("/x", path)
    assert seen(path, "/x", remote="") == ("/x", path)
    assert seen(path, "/x", remote="127.0.0.1", demo=True) == ("/x", path)


def test_the_header_of_a_stranger_does_not_count() -> None:
    assert seen("/feed", "/push", STRANGER, trusted_proxies="10.0.0.0/8") == ("", "/feed")
    assert seen("/feed", "/push", STRANGER) == ("", "/feed")


@pytest.mark.parametrize("header", ["//evil.example", "push", "/", "/a/../b", "/a b", '/a"', "/" + "a" * 99])
def test_a_header_that_can_be_no_prefix_does_not_count(header: str) -> None:
    assert seen("/feed", header, remote="") == ("", "/feed")


def test_without_a_setting_and_a_header_nothing_changes() -> None:
    assert seen("/push/feed") == ("", "/push/feed")
