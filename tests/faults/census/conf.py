"""gunicorn.conf.py for a worker that is counted: SIGUSR2 has it write what it holds to the file $CENSUS.

What is remembered of users who left has a bound, in the thousands. Here it is small, and so reached soon.
"""

import gc
import json
import os
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import MethodType
from typing import Any

REMEMBERED = 64

exec(compile(Path("gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"))


def post_worker_init(worker: Any) -> None:
    from app.core.identity import tokens
    from app.live.insight import recorder

    tokens.CACHE_SIZE = recorder.NOTED_MAX = REMEMBERED
    signal.signal(signal.SIGUSR2, lambda _number, _frame: _write(worker))


def _write(worker: Any) -> None:
    path = Path(os.environ["CENSUS"])
    path.with_suffix(".new").write_text(json.dumps(_count(worker)))
    path.with_suffix(".new").rename(path)


def _count(worker: Any) -> dict[str, int]:
    import gevent
    import greenlet

    everything = _everything()
    streams = worker._streams
    return {
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "greenlets": sum(isinstance(each, greenlet.greenlet) and not each.dead for each in everything),
        "watchers": gevent.get_hub().loop.activecnt,
        "streams": len(streams),
        "logs": len(streams._hub),
        "parked": len(streams.poller) if streams.poller else 0,
        "unrecorded": _unrecorded(everything),
        "objects": len(everything),
        "entries": sum(len(each) for each in everything if isinstance(each, dict | list | set | deque)),
    }


def _everything() -> Sequence[Any]:
    """All that the collector knows, also what the worker has hidden from it."""
    gc.unfreeze()
    gc.collect()
    found = gc.get_objects()
    gc.freeze()
    return found


def _unrecorded(everything: Sequence[Any]) -> int:
    """What waits to be written within a second, after the fact."""
    from app.live.insight.recorder import Recorder

    bound = [each.__self__ for each in everything if isinstance(each, MethodType)]
    return sum(len(each._waiting) for each in {id(each): each for each in bound if type(each) is Recorder}.values())
