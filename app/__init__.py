"""Belfry: a self-hosted push server for specific users.

gunicorn's master imports this package before anything is patched, so the factory is imported when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from .core.settings import Settings

__version__ = "0.1.0"


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application. Opens nothing and starts nothing.

    Reads the environment unless `settings` are given. Raises `SettingsError` where they can't be used.
    """
    from . import factory  # noqa: PLC0415 - in a worker, after it was patched

    return factory.create_app(settings)
