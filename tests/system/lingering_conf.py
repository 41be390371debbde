"""gunicorn.conf.py for workers that wait longer than a second for open connections when they stop; see `LINGERING`."""

from pathlib import Path
from typing import Any

exec(compile(Path("gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"))


def post_worker_init(_worker: Any) -> None:
    from app.server import worker

    worker.LINGER_SECONDS = 60.0
