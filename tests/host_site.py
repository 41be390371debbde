"""Another team's site: a plain page on an origin of its own that embeds the bell, and a back end that mints tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en">
<title>Shop</title>
<link rel="icon" href="data:,">
<script type="module" src="{belfry}/static/belfry.js"></script>
<belfry-feed id="feed" token-url="/belfry-token" events="order"></belfry-feed>
<a href="/other">Elsewhere</a>
</html>"""
OTHER_PAGE = """<!doctype html>
<html lang="en">
<title>Elsewhere</title>
<link rel="icon" href="data:,">
<p>Elsewhere</p>
</html>"""
# The policy that docs/embedding.md gives for a strict page, and nothing more; `data:` is this test's own icon.
POLICY = (
    "default-src 'none'; script-src {belfry}; connect-src 'self' {belfry}; img-src data:; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass
class HostSite:
    """A running site. `belfry` is set once its address is known: Belfry must know the site's origin first."""

    url: str
    mint: Callable[[], str] = str
    belfry: str = ""
    asked: list[str] = field(default_factory=list)
    page: str = PAGE
    folder: Path | None = None  # of a built app, whose files take the pages' place
    failures: list[int] = field(default_factory=list)  # with these statuses the next questions for a token are answered

    def answer(self, path: str) -> tuple[int, str, dict[str, str]]:
        """The status, the body and the headers of the page at `path`."""
        if path == "/belfry-token":
            status = self.failures.pop(0) if self.failures else 200
            return status, self.mint() if status == 200 else "failed", {"Content-Type": "text/plain"}
        if self.folder:
            file = self.folder / (path.lstrip("/") or "index.html")
            return 200, file.read_text(), {"Content-Type": guess_type(file)[0] or ""}
        page = OTHER_PAGE if path == "/other" else self.page.format(belfry=self.belfry)
        policy = POLICY.format(belfry=self.belfry)
        return 200, page, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}


@contextmanager
def host_site() -> Iterator[HostSite]:
    """A site at a port of its own."""
    site = HostSite("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            status, body, headers = site.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server names it so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
