"""The files of `/static/`: compressed if the browser accepts it, and available to pages of other origins.

The files contain no personal data. Every page that embeds the feed loads them from here.

The scripts in `modules/` have URLs with their version, a digest of all of them, so that browsers keep them for a year.
The entry `belfry.js` names that version in its imports, and browsers check it for changes. Comments and indentation are
removed. The lines stay, so that an error shows the line of the source.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path
from typing import Final

from flask import Flask, Response, abort, request, url_for
from werkzeug.security import safe_join

ENTRY: Final = "belfry.js"
PUSH_WORKER: Final = "belfry-push.js"  # a service worker, which browsers fetch again to look for changes
MODULES: Final = "modules"
ELEMENT: Final = "element.js"
COMMENTED: Final = (
    ENTRY,
    PUSH_WORKER,
    f"{MODULES}/",
    "pages/",
)  # our own scripts; other scripts are sent with their licences
VERSIONED: Final = re.compile(rf"{MODULES}/(?P<version>[0-9a-f]{{12}})/(?P<name>\w+\.js)")
IMPORT: Final = re.compile(r'^import [^(]*? from "\./(\w+\.js)";$', re.MULTILINE)
# Our scripts write comments only in these ways. A test compares the code before and after.
DOC_COMMENT: Final = re.compile(r"/\*\*[^*]*\*/ ?")
END_COMMENT: Final = re.compile(r"(?<=[;{}\[(,>]) // [^'\"`]*$")
SHEET: Final = "belfry.css"
STYLE_COMMENT: Final = re.compile(r"/\*.*?\*/|^[ \t]+", re.DOTALL | re.MULTILINE)
COMPRESSED_TYPES: Final = {"text/javascript", "text/css", "image/svg+xml"}
KEPT_FILES: Final = 64
FOR_EVER: Final = "max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the form in which it is sent."""

    content: bytes
    mimetype: str
    etag: str


class Assets:
    """The files in the folder `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def version(self) -> str:
        """Return a digest of all modules. It is computed again when a module changes."""
        files = sorted((self._root / MODULES).glob("*.js"))
        return _digest(tuple((path, path.stat().st_mtime_ns) for path in files))

    def element(self) -> list[str]:
        """Return the names, below `/static/`, of the module with the elements and of the modules that it imports."""
        version = self.version()
        names = [ELEMENT]
        for name in names:
            asset = self.find(f"{MODULES}/{name}")
            imported = IMPORT.findall(asset.content.decode()) if asset else []
            names += [other for other in dict.fromkeys(imported) if other not in names]
        return [f"{MODULES}/{version}/{name}" for name in names]

    def find(self, name: str) -> Asset | None:
        """Return the file `name` if it is a text that can be compressed, otherwise None."""
        path = Path(safe_join(str(self._root), name) or "")
        mimetype = guess_type(name)[0] or ""
        is_file = os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises for a name that is too long for a file
        if mimetype not in COMPRESSED_TYPES or not is_file:
            return None
        name = path.relative_to(self._root).as_posix()  # in its shortest spelling
        version = self.version() if name == ENTRY else ""
        return _read(path, path.stat().st_mtime_ns, mimetype, version, has_comments=name.startswith(COMMENTED))


def install(app: Flask) -> None:
    """Make `app` send its static files through this module."""
    assets = Assets(Path(app.static_folder or ""))
    app.view_functions["static"] = _view(app, assets)
    app.after_request(compress_page)

    @app.context_processor
    def preloads() -> dict[str, Callable[[], list[str]]]:
        return {"element_modules": lambda: [url_for("static", filename=name) for name in assets.element()]}


def compress_page(response: Response) -> Response:
    """Compress a page if the browser accepts it.

    No page contains a secret whose length a stranger could measure in this way.
    """
    is_plain = not response.is_streamed and "Content-Encoding" not in response.headers
    if response.mimetype == "text/html" and is_plain and request.accept_encodings["gzip"]:
        response.set_data(gzip.compress(response.get_data(), mtime=0))
        response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
    return response


def without_comments(script: str) -> str:
    """Return `script` without comments, indentation and empty lines."""
    kept = []
    inside = False
    for line in script.split("\n"):
        text = line.strip()
        begins = text.startswith("/**") and "*/" not in text
        dropped = inside or begins or text.startswith("//")
        inside = (inside or begins) and not text.endswith("*/")
        code = "" if dropped else END_COMMENT.sub("", DOC_COMMENT.sub("", text))
        if code:
            kept.append(f"{code}\n")
    return "".join(kept)


def _view(app: Flask, assets: Assets) -> Callable[[str], Response]:
    def send(filename: str) -> Response:
        versioned = VERSIONED.fullmatch(filename)
        asset = assets.find(f"{MODULES}/{versioned['name']}" if versioned else filename)
        if asset is None:
            return abort(404) if versioned else _open(app.send_static_file(filename))
        # After an update, a browser may request modules of the old version. It gets the new ones, uncached.
        is_current = versioned is not None and versioned["version"] == assets.version()
        response = _lasting(asset) if is_current else _checked(asset)
        if filename == PUSH_WORKER:  # otherwise it could serve only the pages below /static/
            response.headers["Service-Worker-Allowed"] = f"{request.root_path}/"
        return response

    return send


def _lasting(asset: Asset) -> Response:
    """Return the answer at a URL that always has this content.

    It has few headers, because a page loads many modules.
    """
    response = _body(asset)
    response.headers["Cache-Control"] = FOR_EVER
    return response


def _checked(asset: Asset) -> Response:
    """Return the answer at a URL whose content may change. Browsers ask each time whether it did."""
    response = _open(_body(asset))
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(asset.etag)
    response.make_conditional(request)
    return response


def _open(response: Response) -> Response:
    """Let pages of other origins load the answer in every mode."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _body(asset: Asset) -> Response:
    response = Response(asset.content, content_type=asset.mimetype)
    response.headers["Access-Control-Allow-Origin"] = "*"  # browsers always fetch modules by CORS
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"] and "Range" not in request.headers:
        response.set_data(_compressed(asset))
        response.headers["Content-Encoding"] = "gzip"
    return response


@lru_cache(KEPT_FILES)
def _read(path: Path, _changed_ns: int, mimetype: str, version: str, *, has_comments: bool) -> Asset:
    """Return the file at `path`, which is read once for each of its versions.

    `version` is the version of the modules that it imports, if it imports any.
    """
    content = path.read_bytes()
    if path.name == SHEET:
        content = STYLE_COMMENT.sub("", content.decode()).encode()
    if has_comments:
        content = without_comments(content.decode()).encode()
    if version:
        content = content.replace(f'"./{MODULES}/'.encode(), f'"./{MODULES}/{version}/'.encode())
    return Asset(content, mimetype, hashlib.sha256(content).hexdigest()[:20])


@lru_cache(KEPT_FILES)
def _compressed(asset: Asset) -> bytes:
    return gzip.compress(asset.content, mtime=0)


@lru_cache(4)
def _digest(files: tuple[tuple[Path, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _changed_ns in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
