"""Completions: streams that end. These checks run only if the run may ask a model, because that may cost money."""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

from ..check import Group
from ..credentials import PREFIX
from ..probe import Probe
from ..stream import Stream
from ..verdict import expect, expect_equal, expect_problem, expect_status, json_object

GROUP: Final = Group("completions")
DONE: Final = "[DONE]"
SECONDS: Final = 60.0  # that a model may take
MOST_TOKENS: Final = 32


@GROUP.check("complete", doctor=True)
def models(probe: Probe) -> None:
    """The upstreams are where the settings say, and tell which models they have."""
    answer = probe.ask("GET", "/v1/models", "complete")
    told = json_object(answer)
    expect(answer.status_code == 200, "a list of models", told.get("error") or told)  # empty where no upstream is set


@GROUP.check("complete")
def run(probe: Probe) -> None:
    """A run streams its answer, ends with [DONE], and is 204 once it was read to the end."""
    path = _start(probe)
    with _watch(probe, path) as stream:
        _read_to_done(stream)
    answer = probe.ask("GET", path, "complete", headers={"Last-Event-ID": stream.cursor})
    expect_status(answer, 204)


@GROUP.check("complete")
def resumed(probe: Probe) -> None:
    """Who comes back to a run gets the rest of it, and the whole from its start."""
    path = f"{_start(probe)}?snapshot=false"  # a snapshot holds several chunks in one event
    with _watch(probe, path) as stream:
        chunks = _read_to_done(stream)
    expect(len(chunks) > 1, "an answer of several chunks", len(chunks))
    with _watch(probe, path) as again:
        expect_equal(chunks, _read_to_done(again), "the chunks from the start,")
    ids = [block.id for block in stream.blocks if block.type == "message"]
    with _watch(probe, path, headers={"Last-Event-ID": ids[0]}) as again:
        expect_equal(chunks[1:], _read_to_done(again), "the chunks after the first,")


@GROUP.check("complete")
def others(probe: Probe) -> None:
    """Nobody finds another user's run."""
    path = _start(probe)
    token = probe.credentials.sign(probe.credentials.user(), "complete")
    expect_problem(probe.deployment.ask("GET", path.removesuffix("/stream"), token), 404, "not_found")
    with _watch(probe, path) as stream:
        _read_to_done(stream)


@GROUP.check("complete")
def openai(probe: Probe) -> None:
    """OpenAI's own address streams data alone, at which its clients don't stumble, up to [DONE]."""
    body = {**_prompt(probe), "stream": True}
    with probe.events(
        "/v1/chat/completions", probe.token("complete"), method="POST", json=body, seconds=SECONDS
    ) as stream:
        blocks = stream.read_to_end(SECONDS)
    fields = {field for block in blocks for field in block.fields}
    expect(fields <= {"", "data"}, "data and comments alone", sorted(fields))
    expect_equal(DONE, blocks[-1].data if blocks else "", "the last data")


def _prompt(probe: Probe) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Count from one to five, in words."}]
    return {"model": probe.model(), "messages": messages, "max_tokens": MOST_TOKENS}


def _start(probe: Probe) -> str:
    """Where the stream of a new run is."""
    answer = probe.ask(
        "POST", "/completions", "complete", json={**_prompt(probe), "id": f"{PREFIX}-{secrets.token_hex(8)}"}
    )
    expect_status(answer, 201)
    return str(json_object(answer)["stream"])


def _watch(probe: Probe, path: str, **options: Any) -> Stream:
    return probe.events(path, probe.token("complete"), seconds=SECONDS, **options)


def _read_to_done(stream: Stream) -> list[str]:
    """The chunks of an answer that has to be whole."""
    stream.wait_until(lambda block: block.data == DONE, DONE, SECONDS)
    failed = [block.data for block in stream.blocks if block.type in {"failed", "stopped"}]
    expect(not failed, "a whole answer", failed)
    chunks = [block.data for block in stream.blocks if block.type == "message" and block.data != DONE]
    expect(all("choices" in json.loads(chunk) for chunk in chunks), "chunks as OpenAI's API has them", chunks[:1])
    stream.read_to_end()
    return chunks
