"""The ids by which a request is found in the logs of several services: `X-Request-Id`, and W3C's `traceparent`.

A request that brings one gets it back with its answer. What is not well-formed is ignored, as Trace Context (section
3.2.2.3) asks for: a client must not choose freely what stands in headers and logs.
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
    """The header fields that give a request's ids back."""
    return [(name, environ[key]) for key, name, form in _KNOWN if key in environ and form.fullmatch(environ[key])]


def told(environ: WSGIEnvironment) -> str:
    """The ids as they stand in a log line, with a space before them; empty where there are none."""
    return "".join([f" {name}={value}" for name, value in fields(environ)])
