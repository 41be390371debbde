"""How gunicorn serves Belfry with a trace in each worker: `python -m gunicorn -c bench/traced.py`.

At its end, a worker writes its pauses to the file that the environment variable `BENCH_TRACE` names. With
`BENCH_TRACE_CPU`, their length is the worker's processor time.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from app.server.configuration import *  # noqa: F403 - gunicorn reads the names of this module
from bench.loop_trace import LoopTrace


def post_worker_init(worker: Any) -> None:
    """Start the trace. gunicorn calls this in each worker before it serves."""
    worker.loop_trace = LoopTrace(time.thread_time if os.environ.get("BENCH_TRACE_CPU") else time.monotonic)
    worker.loop_trace.start()


def worker_exit(_arbiter: object, worker: Any) -> None:
    """Write the pauses. gunicorn calls this in each worker at its end."""
    worker.loop_trace.stop()
    Path(os.environ["BENCH_TRACE"]).write_text(json.dumps(worker.loop_trace.pauses), encoding="ascii")
