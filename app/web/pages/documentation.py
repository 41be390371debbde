"""`/docs/`: the site of the documentation, which `./run docs` builds. The wheel contains it.

The files contain no personal data. Browsers ask each time whether a file changed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.security import safe_join

from ...core.errors import BelfryError
from .assets import COMPRESSED_TYPES, Asset

SITE: Final = Path(__file__).parents[2] / "site"
NOT_BUILT: Final = "This checkout has no built documentation. Run `./run docs` in it once, then load this page again."
COMPRESSED: Final = COMPRESSED_TYPES | {"text/html", "application/json"}
FILE_OF_A_FOLDER: Final = "index.html"
KEPT_FILES: Final = 128


def blueprint(site: Path = SITE) -> Blueprint:
    """Return the views of the site in the folder `site`."""
    views = Blueprint("documentation", __name__)

    @views.get("/docs/")
    def start() -> ResponseReturnValue:
        return _send(site, FILE_OF_A_FOLDER)

    @views.get("/docs/<path:page>")
    def show(page: str) -> ResponseReturnValue:
        if not page.endswith("/") and _is_file(_path(site, f"{page}/{FILE_OF_A_FOLDER}")):
            return redirect(f"{request.root_path}/docs/{page}/", code=308)  # links of a page are relative to its folder
        return _send(site, f"{page}{FILE_OF_A_FOLDER}" if page.endswith("/") else page)

    return views


def _send(site: Path, name: str) -> Response:
    path = _path(site, name)
    if not _is_file(path):
        is_built = _is_file(site / FILE_OF_A_FOLDER)
        raise BelfryError("not_found", "" if is_built else NOT_BUILT)
    asset = _read(path, path.stat().st_mtime_ns)
    response = Response(asset.content, content_type=_content_type(asset.mimetype))
    response.headers["Cache-Control"] = "no-cache"
    if asset.mimetype in COMPRESSED:
        response.vary.add("Accept-Encoding")
        if request.accept_encodings["gzip"] and "Range" not in request.headers:
            response.set_data(_compressed(asset))
            response.headers["Content-Encoding"] = "gzip"
    response.set_etag(asset.etag)
    response.make_conditional(request)
    return response


def _path(site: Path, name: str) -> Path:
    return Path(safe_join(str(site), name) or "")


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises for a name that is too long for a file


@lru_cache(KEPT_FILES)
def _read(path: Path, _changed_ns: int) -> Asset:
    content = path.read_bytes()
    mimetype = guess_type(path.name)[0] or "text/plain"
    return Asset(content, mimetype, hashlib.sha256(content).hexdigest()[:20])


@lru_cache(KEPT_FILES)
def _compressed(asset: Asset) -> bytes:
    return gzip.compress(asset.content, mtime=0)


def _content_type(mimetype: str) -> str:
    return f"{mimetype}; charset=utf-8" if mimetype.startswith("text/") else mimetype
