"""`python -m belfry_push.server -c …` is gunicorn that takes no modules from the current folder.

gunicorn puts that folder first on the path. A checkout needs this; an installed Belfry starts in any folder, and a
`redis.py` there would take the place of the library.
"""

from __future__ import annotations

import os

from gunicorn.app.wsgiapp import WSGIApplication


class Server(WSGIApplication):
    """gunicorn's own program without the folder on the path."""

    def chdir(self) -> None:
        os.chdir(self.cfg.chdir)


if __name__ == "__main__":
    Server("%(prog)s [OPTIONS]").run()
