"""The server's address: parses `BELFRY_BIND`, checks that it is free, and asks the running server whether it answers.

Standard library only: the launcher and the command line use it without the server's own packages.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from dataclasses import dataclass, replace

_V6 = r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._-]+)?"  # a zone is a name or a number of an interface
_HOST_AND_PORT = re.compile(rf"(?:\[(?P<v6>{_V6})\]|(?P<host>[^:\[\]\s/]*)):(?P<port>[0-9]{{1,5}})")
# An address that listens on all interfaces → the address to reach it from this machine.
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_ANSWER_SECONDS = 2.0
# As in core/settings.py, which would take a tenth of a second to load.
DEFAULT_BIND = "127.0.0.1:8000"


class AddressError(ValueError):
    """An address that can't be listened on. Its text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class BindAddress:
    """A host and a port, or the `path` of a unix socket. With a path, the host is empty and the port 0."""

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
        """The address as gunicorn writes it."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for a browser on this machine.

        For a unix socket, only its path, because a proxy is in front of it.
        """
        return self.bind if self.path else f"http://{replace(self, host=_ANY.get(self.host, self.host)).bind}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def claim(self) -> BindAddress:
        """Return this address with port 0 replaced by a free port.

        Raises `AddressError` if nothing can listen here now.
        """
        if self.path:
            return self
        try:
            # gunicorn sets SO_REUSEADDR too. Without it, a server that has just ended would still seem to use the
            # address.
            with socket.create_server((self.host, self.port), family=self._family) as listener:
                return replace(self, port=listener.getsockname()[1])
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]  # create_server() repeats the address in its text
            hint = "stop what listens there, or set BELFRY_BIND to another address"
            raise AddressError(f"can't listen on {self.bind} ({reason}): {hint}") from None

    def answers(self) -> bool:
        """Return whether `GET /health/live` is answered with 200 right now."""
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
    """Run the health check of a container. Return 0 if the server at BELFRY_BIND answers.

    A server on port 0 can't be checked.
    """
    try:
        address = BindAddress.parse(os.environ.get("BELFRY_BIND") or DEFAULT_BIND)
    except AddressError as error:
        print(f"belfry: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    return 0 if address.answers() else 1


if __name__ == "__main__":
    sys.exit(main())
