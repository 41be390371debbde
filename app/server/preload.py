"""What the workers share: the libraries, loaded once in gunicorn's master before it forks.

It saves 29 of 156 MB with two workers before the first connection (shared pages counted once, medians of three
interleaved rounds).

Memory is shared until somebody writes to it. A library that takes a function or a class out of a module (`sleep`,
`SSLContext`) has to find gevent's there, so they are patched first. Of Belfry nothing is loaded here: a fork would
copy its random numbers, and map the files of its counters a second time.
"""

from __future__ import annotations

import gc
import signal
import time
from importlib import import_module

import gevent
from gevent import monkey

# As `patch_all`, which each worker calls, but for `os`, `signal` and `subprocess`: the arbiter forks, and hears of
# its children's ends, without gevent.
PATCHES = (
    monkey.patch_thread,
    monkey.patch_socket,
    monkey.patch_ssl,
    monkey.patch_select,
    monkey.patch_queue,
    monkey.patch_time,
)
# What a worker imports, a test holds that; each brings what it needs itself.
LIBRARIES = (
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "flask",
    "jiter",
    "jwt",
    "prometheus_client.multiprocess",
    "pydantic.dataclasses",
    "pydantic.type_adapter",
    "redis",
    "requests",
)


def load() -> None:
    """Patch, load, and let the collector never write to what was loaded. Opens nothing and starts nothing."""
    for patch in PATCHES:
        patch()
    for library in LIBRARIES:
        import_module(library)
    # No loop that every worker would get a copy of: urllib3 tries a socket when it is imported, and the arbiter's naps
    # would be gevent's. The loop's end leaves SIGCHLD to the system; the arbiter, which has no child yet, gets it back.
    gevent.get_hub().destroy(destroy_loop=True)
    signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
    vars(time)["sleep"] = monkey.get_original("time", "sleep")
    gc.collect()
    gc.freeze()
