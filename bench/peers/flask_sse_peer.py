"""flask-sse as its README has it, but for two things without which it could not be measured.

Its pool holds more than a hundred connections, and an answer begins with a comment: otherwise not even its head would
leave before the first message, and nobody would count as connected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from flask import Flask, Response, request, stream_with_context
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = f"redis://127.0.0.1:{os.environ['PEER_REDIS_PORT']}?max_connections=20000"


@app.get("/sub/<user>")
def subscribe(user: str) -> Response:
    """As flask-sse's own view, with the channel in the path."""
    return app.response_class(stream_with_context(_events(user)), mimetype="text/event-stream")


def _events(user: str) -> Iterator[str]:
    yield ":\n\n"
    for message in sse.messages(channel=user):
        yield str(message)


@app.post("/pub/<user>")
def publish(user: str) -> dict[str, int]:
    sse.publish(request.get_json(force=True), channel=user)
    return {"ok": 1}
