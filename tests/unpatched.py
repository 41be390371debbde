"""`python -m tests.unpatched yes|no`: what a patched worker has, with or without `app.server.preload`.

Prints JSON: who holds what of the standard library that gevent replaces, what of that is replaced, and the libraries
that were loaded after patching.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from gevent import monkey


def main(preloads: bool) -> None:
    load_as_the_master()
    if preloads:
        from app.server import preload

        preload.load()
        gc.unfreeze()  # so that everything is found below
    monkey.patch_all()
    before = set(sys.modules)
    from app import factory

    own = factory.__name__.partition(".")[0]
    gc.collect()
    loaded = [name for name in set(sys.modules) - before if name.partition(".")[0] != own]
    print(json.dumps({"held": sorted(set(holders())), "replaced": sorted(replaced()), "loaded": sorted(loaded)}))


def load_as_the_master() -> None:
    """What gunicorn's master imports by itself and for gunicorn.conf.py, worker and logger."""
    import gunicorn.app.wsgiapp

    import app.core.settings
    import app.server.logger
    import app.server.worker

    del gunicorn, app


def holders() -> Iterator[str]:
    """Who refers to an original: modules and classes by name, the rest (defaults, closures, objects) by type."""
    originals = {id(item): f"{module}.{name}" for module, name, item in saved() if callable(item)}
    locks = tuple({type(monkey.get_original("_thread", name)()) for name in ("allocate_lock", "RLock")})
    names = {id(vars(module)): name for name, module in sys.modules.items()}
    for holder in gc.get_objects():
        for held in gc.get_referents(holder):
            what = originals.get(id(held)) or ("a native lock" if isinstance(held, locks) else None)
            if what and holder is not originals:
                yield f"{names.get(id(holder)) or name_of(holder)} holds {what}"


def name_of(holder: object) -> str:
    named = holder if isinstance(holder, type) else type(holder)
    return f"{named.__module__}.{named.__qualname__}"


def replaced() -> Iterator[str]:
    for module, name, item in saved():
        if getattr(sys.modules[module], name, None) is not item:
            yield f"{module}.{name}"


def saved() -> Iterator[tuple[str, str, Any]]:
    """Module, name and original of whatever gevent replaced. It keeps a note of its own among them."""
    by_module = import_module("gevent.monkey._state").saved
    for module in sorted(by_module.keys() & sys.modules.keys()):
        for name, item in by_module[module].items():
            yield module, name, item


if __name__ == "__main__":
    main(sys.argv[1] == "yes")
