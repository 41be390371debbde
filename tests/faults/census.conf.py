"""gunicorn.conf.py for a worker that is counted: SIGUSR2 has it write what it holds to the file $CENSUS."""

import gc
import json
import os
import signal
from pathlib import Path
from typing import Any

exec(compile(Path("gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"))


def post_worker_init(worker: Any) -> None:
    signal.signal(signal.SIGUSR2, lambda _number, _frame: _write(worker))


def _write(worker: Any) -> None:
    path = Path(os.environ["CENSUS"])
    path.with_suffix(".new").write_text(json.dumps(_count(worker)))
    path.with_suffix(".new").rename(path)


def _count(worker: Any) -> dict[str, int]:
    import gevent
    import greenlet

    gc.collect()
    everything = gc.get_objects()
    streams = worker._streams
    return {
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "greenlets": sum(isinstance(each, greenlet.greenlet) and not each.dead for each in everything),
        "watchers": gevent.get_hub().loop.activecnt,
        "streams": len(streams),
        "logs": len(streams._hub),
        "parked": len(streams.poller) if streams.poller else 0,
        "objects": len(everything),
    }
