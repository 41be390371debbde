"""The URL of the server for the commands, and the tokens that the commands sign for themselves."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any, Final

from ..client import Client
from ..core.endpoint import check_http
from ..core.identity.tokens import Keyring
from ..core.settings import PREFIX, Settings, SettingsError, load
from ..launch import demo, installation
from ..launch.address import BindAddress

OPERATOR: Final = "belfry-cli"  # the user that the commands act as, unless they read a feed
OWN_TOKEN_SECONDS: Final = 3_600  # of the tokens that the commands make for themselves


def client_of(user: str, scopes: list[str], **grants: Any) -> Client:
    """Return a client that signs its own tokens. It uses BELFRY_URL, or the address of the server on this machine."""
    settings = load(os.environ)
    url = server_url(settings)
    # Without a secret, this fails here and not in the middle of a stream.
    mint(settings, user, scopes, OWN_TOKEN_SECONDS, **grants)
    return Client(url, lambda: mint(settings, user, scopes, OWN_TOKEN_SECONDS, **grants))


def server_url(settings: Settings) -> str:
    """Return BELFRY_URL, or the URL of the server on this machine."""
    return checked_url(os.environ.get(f"{PREFIX}URL") or BindAddress.parse(settings.bind).url, f"{PREFIX}URL")


def checked_url(url: str, name: str = "URL") -> str:
    """Return `url` without slashes at its end. Raises `SettingsError` unless a request to it is possible."""
    try:
        check_http(url)
    except ValueError as error:
        raise SettingsError(f"{name} must be the server's http or https address: {error}") from None
    return url.rstrip("/")


def mint(settings: Settings, user: str, scopes: list[str], seconds: int, **grants: Any) -> str:
    """Return a token, signed with the configured secret or the demo's. Raises `SettingsError` if there is neither."""
    keyring = Keyring(settings.model_copy(update={"secret": secret(settings)}))
    return keyring.sign(user, scopes, time.time(), seconds, **{"token_id": secrets.token_hex(16), **grants})


def secret(settings: Settings) -> str:
    """Return the configured secret, or the one in the demo's data directory.

    Raises `SettingsError` if there is none.
    """
    path = installation.data_directory(settings.data_dir, os.environ) / demo.SECRET_FILE
    try:
        return settings.secret or path.read_text(encoding="ascii").strip()
    except OSError:
        raise SettingsError(f"no secret to sign with: set {PREFIX}SECRET, or start the demo server first") from None
