"""The address that the server listens on: parses `BELFRY_BIND`, tries it before the start and asks it after the start.

Standard library only: the launcher and the command line use it without the server's own packages.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from dataclasses import dataclass, replace

_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]\s/]*)):(?P<port>[0-9]{1,5})")
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # listening everywhere; reached from here at …
_ANSWER_SECONDS = 2.0
DEFAULT_BIND = "127.0.0.1:8000"  # as in core/settings.py, which would take a tenth of a second to load


class AddressError(ValueError):
    """An address that can't be listened on; its text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class BindAddress:
    """A host and a port, or the `path` of a unix socket (then the host is empty and the port 0)."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, bind: str) -> BindAddress:
        """Read `host:port`, `[v6]:port` or `unix:path`. Raises `AddressError`."""
        if bind.startswith("unix:"):
            return cls("", 0, bind.removeprefix("unix:"))
        found = _HOST_AND_PORT.fullmatch(bind)
        if not found or int(found["port"]) > 65_535:
            raise AddressError(f"BELFRY_BIND must be host:port, [v6]:port or unix:path, got {bind!r}")
        return cls(found["v6"] or found["host"] or "", int(found["port"]))

    @property
    def bind(self) -> str:
        """The way gunicorn writes it."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it; a unix socket has a proxy in front, so only its path is told."""
        return self.bind if self.path else f"http://{replace(self, host=_ANY.get(self.host, self.host)).bind}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def claim(self) -> BindAddress:
        """This address with port 0 replaced by a free one. Raises `AddressError` if nothing could listen here now."""
        if self.path:
            return self
        try:
            # SO_REUSEADDR as gunicorn sets it: without, a server that just ended would still seem to be there.
            with socket.create_server((self.host, self.port), family=self._family) as listener:
                return replace(self, port=listener.getsockname()[1])
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]  # create_server() adds the address once more
            hint = "stop what listens there, or set BELFRY_BIND to another address"
            raise AddressError(f"can't listen on {self.bind} ({reason}): {hint}") from None

    def answers(self) -> bool:
        """Whether `GET /health/live` is answered with 200 right now."""
        try:
            with self._connect() as connection:
                connection.sendall(b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return connection.recv(64).split(b" ")[1:2] == [b"200"]
        except OSError:
            return False

    @property
    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def _connect(self) -> socket.socket:
        if not self.path:
            return socket.create_connection((_ANY.get(self.host, self.host), self.port), timeout=_ANSWER_SECONDS)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(self.path)
        return connection


def main() -> int:
    """The health check of a container: 0 if the server at BELFRY_BIND answers. Port 0 has no answer."""
    try:
        address = BindAddress.parse(os.environ.get("BELFRY_BIND") or DEFAULT_BIND)
    except AddressError as error:
        print(f"belfry: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    return 0 if address.answers() else 1


if __name__ == "__main__":
    sys.exit(main())
