"""The devices of each user that subscribed to Web Push. All are in one slot, so one script changes each list.

A browser has one subscription for all who sign in to it one after the other. So a device belongs to the user who
subscribed last, and nobody else's messages are pushed to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from ...core.identity.tokens import Claims
from ...core.push.encryption import DeviceKeys
from ...core.settings import Settings
from ...core.wire.frames import compact_bytes
from ...transport.connection import Command, Commands, Script
from ..keys import Keys

SUBSCRIBE, UNSUBSCRIBE = Script("push_subscribe"), Script("push_unsubscribe")
SCRIPTS = (SUBSCRIBE, UNSUBSCRIBE)

NAME_BYTES: Final = 16


class Device(NamedTuple):
    """One subscription. `credential` has the user, and names the token and session with which it was made.

    `since` is when it subscribed first, in Unix seconds. `stored` is what the store holds.
    """

    name: str
    endpoint: str
    keys: tuple[str, str]
    credential: Claims
    since: float
    stored: bytes = b""

    @property
    def device_keys(self) -> DeviceKeys:
        return DeviceKeys.parse(*self.keys)


def name_of(endpoint: str) -> str:
    """Return the name of the device with this endpoint."""
    return blake2b(endpoint.encode(), digest_size=NAME_BYTES).hexdigest()


def longest_seconds(settings: Settings) -> int:
    """Return for how many seconds a device is kept. A device must not outlive the memory of a revocation."""
    return min(settings.push_subscription_seconds, settings.revocation_seconds)


class Subscriptions:
    """Reads and changes the devices of all users. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._keys = Keys(settings.redis_prefix, settings.redis_db)
        self._seconds = longest_seconds(settings)
        self._most = settings.max_push_subscriptions

    def add(self, endpoint: str, keys: tuple[str, str], claims: Claims, now: float, seconds: int) -> None:
        """Add a device of the user, for `seconds` at most. If the user has too many, the oldest ones go."""
        name, user = name_of(endpoint), claims.user
        credential = {
            "token": claims.token_id, "issued": claims.issued_at, "session": claims.session, "key": claims.key,
        }  # fmt: skip
        value = compact_bytes({"endpoint": endpoint, "keys": keys, **credential})[1:]
        arguments = name, _owner(user), value, min(seconds, self._seconds), self._seconds, self._most, f"{now:.3f}"
        (surplus,) = self._commands.run([SUBSCRIBE.call(self._keys_of(name, user), *arguments)])
        self._remove(user, [each.decode() for each in surplus])

    def remove(self, endpoint: str, user: str) -> None:
        """Remove a device, if it is the user's."""
        self._remove(user, [name_of(endpoint)])

    def end(self, device: Device) -> None:
        """Remove a device, unless it has subscribed again since it was read."""
        user = device.credential.user
        keys = self._keys_of(device.name, user)
        self._commands.run([UNSUBSCRIBE.call(keys, device.name, _owner(user), device.stored)])

    def of_user(self, user: str) -> list[Device]:
        """Return the user's devices."""
        (names,) = self._commands.run([("ZRANGE", self._keys.push_devices(user), 0, -1)])
        if not names:
            return []
        (found,) = self._commands.run([("MGET", *[self._keys.push_device(name.decode()) for name in names])])
        owner = _owner(user)
        pairs = zip(names, found, strict=True)
        return [_device(name.decode(), user, stored) for name, stored in pairs if stored and stored.startswith(owner)]

    def end_session(self, user: str, session: str, replaced_by: str = "") -> None:
        """Remove the devices that were added with this session, or hand them over to the one that replaces it."""
        found = [device for device in self.of_user(user) if device.credential.session == session]
        if not replaced_by:
            self._remove(user, [device.name for device in found])
        elif found:
            self._commands.run([self._moved(device, replaced_by) for device in found])

    def _moved(self, device: Device, session: str) -> Command:
        owner, _, stored = device.stored.partition(b"\n")
        value = owner + b"\n" + compact_bytes({**json.loads(stored), "session": session})
        return ("SET", self._keys.push_device(device.name), value, "XX", "KEEPTTL")

    def forget(self, user: str) -> None:
        """Remove all devices of the user."""
        (names,) = self._commands.run([("ZRANGE", self._keys.push_devices(user), 0, -1)])
        self._remove(user, [name.decode() for name in names])

    def _remove(self, user: str, names: Sequence[str]) -> None:
        owner = _owner(user)
        if names:
            self._commands.run([UNSUBSCRIBE.call(self._keys_of(name, user), name, owner, "") for name in names])

    def _keys_of(self, name: str, user: str) -> tuple[str, str]:
        return self._keys.push_device(name), self._keys.push_devices(user)


def _owner(user: str) -> bytes:
    return f"{user}\n".encode()


def _device(name: str, user: str, stored: bytes) -> Device:
    said = json.loads(stored.partition(b"\n")[2])
    claims = Claims(user, frozenset(), (), None, 0.0, said["token"], said["issued"], said["session"], said["key"])
    p256dh, auth = said["keys"]
    return Device(name, said["endpoint"], (p256dh, auth), claims, said["since"], stored)
