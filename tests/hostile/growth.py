"""Whether the cost of reading an input grows faster than the input.

Processor time of this thread is compared, of which other processes take none, and the least of several rounds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

SIZES = (4_096, 16_384, 65_536)
# A quadratic reader costs 16 times as much for an input that is four times as long, a linear one 4 times.
GROWTH_MAX = 9.0
ROUNDS = 3
# Below this a reader of 64 KB is cheap enough, whatever its growth: what a whole request may cost.
CHEAP_SECONDS = 0.02

ATOMS = (
    *"?&=;,. \t\"'\\%.-_:/[]{}()<>*+~^|@!#0aZ\x00\x1b\x7f\n\r",
    *("é", "\u2028", "\U0001f600", "\ud800", "\u0301\u0316"),
    *("??=", "?a", "&a=", "a=b;", 'a="', "a=b&", "a,", ", ", ",,", ";q=0.", "..", "//", "/.", "../", "\r\n", "\n\n"),
    *("eyJ", "eyJ-", "eyJaaaaaaa-", "eyJa.", "eyJaaaaaaaa.a.", "Bearer ", "Bearer\t ", "Cookie", "Set-Cookie: "),
    *("token", "ticket= ", "password'", "secret :", "belfry_session=", "__Host-", "%41", "%C3%A9", "%u", "%0", "\\u"),
    *("1.", "1-", "::", "[[", "{}", '{"a":', '[{"a":', '"a":1,', "[1,", '""', "1e", "-0", "for=", "for=a,", "a:1,"),
    *("127.0.0.1,", "[::1]:1,", "-----BEGIN PUBLIC KEY-----", "-----BEGIN ", "data: x\n", "id: ", "event", "\n:"),
    *("--", "--\r\n", "*/*,", "gzip;q=1,", "en-US,"),
)


def adversaries(size: int) -> Iterator[tuple[str, str]]:
    """Inputs of about `size` characters, each with a name: one atom repeated, bare and between two others."""
    for atom in ATOMS:
        long = atom * (size // len(atom))
        yield repr(atom), long
        yield f"{atom!r} in a frame", f'/?x{long}x="'


def seconds(read: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The processor time of the quickest of `rounds`. An exception is an answer like another."""
    return min([_once(read) for _ in range(rounds)])


def _once(read: Callable[[], object]) -> float:
    started = time.thread_time()
    with contextlib.suppress(Exception):  # a refusal is an answer like another; what is judged is its cost
        read()
    return time.thread_time() - started


def excess(read: Callable[[str], object]) -> list[str]:
    """The inputs on which `read` costs more than it may, one line each."""
    found = []
    for inputs in zip(*map(adversaries, SIZES), strict=True):
        name = inputs[0][0]
        for (_, short), (_, long) in pairwise(inputs):
            cost, before = _costs(read, short, long)
            if cost > CHEAP_SECONDS and cost > GROWTH_MAX * before:
                found.append(f"{name}: {before * 1e3:.1f} ms for {len(short)}, {cost * 1e3:.1f} ms for {len(long)}")
                break  # the next size would take this test minutes
    return found


def _costs(read: Callable[[str], object], short: str, long: str) -> tuple[float, float]:
    """What both cost, the longer one first; one round is enough where that was cheap."""
    cost = _once(partial(read, long))
    if cost <= CHEAP_SECONDS:
        return cost, 0.0
    return min(cost, seconds(partial(read, long))), seconds(partial(read, short))
