"""The ids that identify a request in the logs of several services: `X-Request-Id`, and W3C's `traceparent`.

The answer to a request repeats its ids. Malformed ids are ignored, as Trace Context (section 3.2.2.3) requires: a
client must not be able to put any text into headers and logs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...server.sockets import Fields

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@,-]{1,128}")
# Trace Context, section 3.2: version, trace id, parent id, flags. Ids of zeros and the version ff are invalid.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_KNOWN: Final = (
    ("HTTP_X_REQUEST_ID", "X-Request-Id", REQUEST_ID),
    ("HTTP_TRACEPARENT", "traceparent", _TRACEPARENT),
)
KEYS: Final = tuple([key for key, _, _ in _KNOWN])


def fields(environ: WSGIEnvironment) -> Fields:
    """Return the header fields that repeat a request's ids."""
    return [(name, environ[key]) for key, name, form in _KNOWN if key in environ and form.fullmatch(environ[key])]


def told(environ: WSGIEnvironment) -> str:
    """Return the ids for a log line, with a space before each; empty if there are none."""
    return "".join([f" {name}={value}" for name, value in fields(environ)])
