"""Publish to Belfry from a service: `Belfry` for blocking code; `AsyncBelfry` in `belfry_client.aio` for asyncio."""

from .answers import Delivery, Presence, Receipt, Result
from .client import Belfry
from .errors import BelfryError, RefusedError, UnavailableError
from .events import Event
from .retries import Retries
from .tokens import publisher_token, user_token

__all__ = [
    "Belfry",
    "BelfryError",
    "Delivery",
    "Event",
    "Presence",
    "Receipt",
    "RefusedError",
    "Result",
    "Retries",
    "UnavailableError",
    "publisher_token",
    "user_token",
]
