"""Rate and connection limits. These checks need limits so low that a run reaches them."""

from __future__ import annotations

import json
from typing import Final

import requests

from ..check import Group
from ..probe import Probe
from ..stream import Stream
from ..verdict import FailedError, SkippedError, expect, expect_problem, expect_status

GROUP: Final = Group("limits")
MOST_A_MINUTE: Final = 200
TRIES: Final = 64  # each worker counts for itself, and any of them may answer
STEP: Final = 10
MOST_CONNECTIONS: Final = 30


@GROUP.check("publish")
def publishing(probe: Probe) -> str:
    """A publisher is told how far it may go, and beyond that how long to wait."""
    if not probe.credentials.separate:
        raise SkippedError("needs the secret: it would use up what the token's user may send")
    for _ in range(TRIES):
        answer = probe.publish(probe.message(0))
        if answer.status_code == 429:
            return _expect_wait(answer)
        expect_status(answer, 200, 201)
        limit, left = _number(answer, "RateLimit-Limit"), _number(answer, "RateLimit-Remaining")
        if limit > MOST_A_MINUTE:
            raise SkippedError(f"not checked: limit above {MOST_A_MINUTE} a minute")
        # The same message over and over counts, but is sent to nobody.
        probe.batch([json.dumps(probe.message(0))] * max(1, left))
    raise FailedError(f"429 beyond {limit} messages a minute", f"none after {TRIES} times as many")


@GROUP.check("feed", "publish")
def connections(probe: Probe) -> str:
    """The oldest of too many connections ends, is told not to come back, and makes room for the newest."""
    if not probe.credentials.separate:
        raise SkippedError("needs the secret: it would end connections of the token's user")
    streams: list[Stream] = []
    for number in range(MOST_CONNECTIONS // STEP):
        streams += [_opened(probe) for _ in range(STEP)]
        probe.send(number)
        replaced = [stream for stream in streams if not _hears(stream, number)]
        if replaced:
            expect(streams[-1] not in replaced, "the newest connection to stay", "a goodbye to it")
            for stream in replaced:
                stream.expect_goodbye("replaced")
            return f"{len(streams) - len(replaced)} of {len(streams)} stayed"
    raise SkippedError(f"not checked: cap above {MOST_CONNECTIONS}")


def _opened(probe: Probe) -> Stream:
    stream = probe.stream()
    stream.ready()
    return stream


def _hears(stream: Stream, number: int) -> bool:
    """Whether the message comes; False where the connection was told to go before it."""
    block = stream.wait_until(
        lambda block: block.type == "goodbye" or stream.is_number(block, number), f"message {number} or a goodbye"
    )
    return block.type != "goodbye"


def _expect_wait(answer: requests.Response) -> str:
    expect_problem(answer, 429, "rate_limited")
    limit, left = _number(answer, "RateLimit-Limit"), _number(answer, "RateLimit-Remaining")
    expect(left < limit, "RateLimit-Remaining below RateLimit-Limit", left)
    expect(_number(answer, "RateLimit-Reset") > 0, "RateLimit-Reset in whole seconds", 0)
    expect(_number(answer, "Retry-After") > 0, "Retry-After in whole seconds", 0)
    return f"{limit} a minute"


def _number(answer: requests.Response, name: str) -> int:
    text = answer.headers.get(name, "none")
    expect(text.isdecimal(), f"{name}: a whole number", text)
    return int(text)
