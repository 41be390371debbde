"""What `/static/` sends: compressed where the browser takes it, and open to pages of other origins.

The files hold nothing of anybody: whoever embeds the feed loads them from here.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.security import safe_join

COMPRESSED_TYPES = {"text/javascript", "text/css", "image/svg+xml"}
CACHED_FILES = 32


def install(app: Flask) -> None:
    """Send `app`'s static files this way."""
    folder = Path(app.static_folder or "")

    @app.after_request
    def improve(response: Response) -> Response:
        if request.endpoint == "static" and response.status_code < 400:
            response.headers["Access-Control-Allow-Origin"] = "*"
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            # In its shortest spelling, as Flask found the file: the way given may lead through folders that are not.
            found = safe_join(str(folder), (request.view_args or {})["filename"])
            if found is not None:
                _compress(response, Path(found))
        return response


def _compress(response: Response, path: Path) -> None:
    if response.mimetype not in COMPRESSED_TYPES:
        return
    response.vary.add("Accept-Encoding")
    whole = response.status_code == 200 and request.method == "GET" and "Range" not in request.headers
    if whole and request.accept_encodings["gzip"]:
        response.close()  # the plain file
        response.direct_passthrough = False
        response.set_data(_gzipped(path, path.stat().st_mtime_ns))
        response.headers["Content-Encoding"] = "gzip"
        response.headers.pop("Accept-Ranges", None)


@lru_cache(CACHED_FILES)
def _gzipped(path: Path, _changed_ns: int) -> bytes:
    """The file's content, compressed once for each of its versions."""
    return gzip.compress(path.read_bytes(), mtime=0)
