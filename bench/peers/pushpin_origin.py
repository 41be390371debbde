"""What stands behind Pushpin: it answers each GET with the order to hold it open on the channel of its path.

python -m bench.peers.pushpin_origin PORT
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gevent.pywsgi import WSGIServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def hold(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """GRIP: https://pushpin.org/docs/protocols/grip/."""
    channel = environ["PATH_INFO"].rpartition("/")[2]
    fields = [("Content-Type", "text/event-stream"), ("Grip-Hold", "stream"), ("Grip-Channel", channel)]
    start_response("200 OK", fields)
    return [b":\n\n"]


if __name__ == "__main__":
    WSGIServer(("127.0.0.1", int(sys.argv[1])), hold, log=None, backlog=4096).serve_forever()
