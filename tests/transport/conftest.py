"""The store's fixtures serve the connections below it as well."""

from tests.store.conftest import client, connection, settings

__all__ = ["client", "connection", "settings"]
