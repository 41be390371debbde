"""How gunicorn serves Belfry. The master reads this before anything is patched, so nothing here may open a socket.

gunicorn takes its settings from the names of this module: `gunicorn.conf.py` in a checkout has the same names, and an
installed Belfry is served with `-c python:belfry_push.server.configuration`.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..core.settings import SettingsError, changed, check_identity, check_store, load
from ..core.upstreams import Upstreams
from . import preload

_PACKAGE = __name__.partition(".")[0]
_VERSION = vars(sys.modules[_PACKAGE])["__version__"]  # an import would take the factory for a layer below
# Settings that can't be served are told once, in one line, before any worker starts.
try:
    _settings = load(os.environ)
    check_identity(_settings)
    check_store(_settings)
    Upstreams(_settings)
except SettingsError as error:
    sys.exit(f"belfry: {error}")
_METRICS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name for it


def _cores() -> int:
    """The cores this process may use, if the system tells. For a container's CPU share, set WEB_CONCURRENCY."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


wsgi_app = f"{_PACKAGE}:create_app()"
worker_class = f"{_PACKAGE}.server.worker.BelfryWorker"
bind = _settings.bind
workers = int(os.environ.get("WEB_CONCURRENCY") or _cores())

# A connection waits here while its worker is busy accepting others: 10,000 browsers come back at once after a restart.
backlog = 4096
# Open requests per worker. Parked streams don't count; this only has to be out of the way of waiting long polls.
worker_connections = 10_000
# Longer than a proxy keeps its idle upstream connections (nginx: 60 s), so that the proxy closes first.
keepalive = 75

# Streams leave within `drain_seconds` of SIGTERM, completions a second later, a worker with a client that takes nothing
# another second later, and what it counted is reported in one more. The arbiter kills at this limit. The
# `lame_duck_seconds` come before all that.
graceful_timeout = math.ceil(_settings.lame_duck_seconds + _settings.drain_seconds) + 3
# Never recycled: a worker that is would hold its streams for a whole graceful period. Of what is loaded before the fork
# preload.py decides: the libraries, never the application, which opens what a fork would share.
max_requests = 0
preload_app = False
# On by default at a path that a second Belfry of the same user would share.
control_socket_disable = True

# No header may set SCRIPT_NAME or PATH_INFO, since a proxy may pass on a header of the client.
forwarder_headers = ""
# A long token in a header, or eight long topics in the query, percent-encoded.
limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190
# All of a head together: BELFRY_MAX_HEAD_BYTES, see request.py.

# The heartbeat file in memory: on a slow disk, touching it would block the worker.
_memory = "/dev/shm"  # noqa: S108 - gunicorn makes the file there under a name of its own, and unlinks it at once
worker_tmp_dir = _memory if Path(_memory).is_dir() and os.access(_memory, os.W_OK) else None

# Which proxies may say that a request came over TLS: the same as may say from where.
if _settings.proxies:
    forwarded_allow_ips = ",".join(map(str, _settings.proxies))
# Masks credentials, also in an access log that somebody switches on.
logger_class = f"{_PACKAGE}.server.logger.MaskingLogger"

# One line per request costs more than many a request here; /metrics counts them. gunicorn's own notes go to stderr.
accesslog = None


def on_starting(_arbiter: object) -> None:
    """Before the first worker: raise the descriptor limit for many streams, and create the folder of the metrics."""
    _lift_descriptor_limit()
    os.environ[_METRICS] = tempfile.mkdtemp(prefix="belfry-metrics-", dir=worker_tmp_dir)


def when_ready(arbiter: Any) -> None:
    """After the arbiter has its listeners and its queue of signals, before the first worker; not again on a reload."""
    preload.load()
    told = " ".join([f"{name}={value}" for name, value in changed(_settings).items()])
    store = re.sub(r"//[^/@]*@", "//", _settings.redis_url)  # without user and password
    arbiter.log.info(
        "Belfry %s serves on %s with %s workers, Python %s; store: %s; settings that differ from their defaults: %s",
        _VERSION,
        bind,
        arbiter.cfg.workers,
        platform.python_version(),
        store,
        told or "none",
    )


def pre_fork(_arbiter: object, worker: Any) -> None:
    """A file exists until this worker serves. The workers that it replaces serve as long as the file exists."""
    worker.booting = Path(os.environ[_METRICS], f"booting-{worker.age}")
    worker.booting.touch()


def child_exit(_arbiter: object, worker: Any) -> None:
    """Keep the counters of a dead worker, and remove its gauges."""
    worker.booting.unlink(missing_ok=True)
    for path in Path(os.environ[_METRICS]).glob(f"gauge_live*_{worker.pid}.db"):
        path.unlink(missing_ok=True)


def on_exit(_arbiter: object) -> None:
    shutil.rmtree(os.environ[_METRICS], ignore_errors=True)


def _lift_descriptor_limit() -> None:
    """Raise the limit to the system's maximum. Every stream takes a descriptor, and the default is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS names no limit and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
