"""What a scripted session is told, `<session> ADDRESS KEY UPSTREAM`, and what it tells: one JSON object."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from typing import Any, Final

ADDRESS, KEY, UPSTREAM = sys.argv[1:4]
MODEL: Final = "words"
HELLO, ENDLESS, CALLS = "hi!", "hi?", "hi#"
TOO_LONG: Final = "a" * 140_000 + HELLO
STOP_SECONDS: Final = 60.0


def stops() -> bool:
    """Whether the upstream stops working, having begun."""
    until = time.monotonic() + STOP_SECONDS
    while _is_busy():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _is_busy() -> bool:
    with urllib.request.urlopen(f"{UPSTREAM}/slots", timeout=10) as answer:
        return any(slot["is_processing"] for slot in json.load(answer))


def tell(**found: Any) -> None:
    print(json.dumps(found))
