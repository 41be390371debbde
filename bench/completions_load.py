"""Concurrent completions: how many chunks a second, how late the first, how late each.

    python -m bench.completions_load '{"port": 8000, "streams": 9, "chunks": 500, "rate": 50, "way": "v1", "token": ""}'

`way`: `v1` posts to /v1/chat/completions and reads the answer; `runs` posts to /completions and reads the run's stream,
or, with an `id`, that run's alone.
The streams begin all at once, or spread over `ramp` seconds.
Prints one JSON object; times in ms. The chunks' marks are `bench.completions_upstream`'s.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

MARK = re.compile(rb"@@(\d+)@@")
READ_BYTES = 65_536


class Load:
    """One measurement: all streams at once."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.port: int = asked["port"]
        self.streams: int = asked["streams"]
        self.way: str = asked["way"]
        self.token: str = asked.get("token", "none")
        self.chunks: int = asked["chunks"]
        self.ramp: float = asked.get("ramp", 0.0)
        self.run_id: str = asked.get("id", "")
        self.prompt = f"{asked['chunks']} {asked['rate']}"
        self.first: list[float] = []
        self.late: list[float] = []
        self.ids: list[str] = []
        self.unfinished = 0

    async def run(self) -> dict[str, Any]:
        started = time.monotonic()
        apart = self.ramp / self.streams
        await asyncio.gather(*[self._stream(number * apart) for number in range(self.streams)])
        seconds = time.monotonic() - started
        return {
            "unfinished": self.unfinished,
            "seconds": seconds,
            "chunks": len(self.late),
            "per_s": round(len(self.late) / seconds),
            "first_p50": _percentile(self.first, 0.5),
            "p50": _percentile(self.late, 0.5),
            "p99": _percentile(self.late, 0.99),
            "worst": _percentile(self.late, 1),
            "ids": self.ids,
        }

    async def _stream(self, wait_seconds: float) -> None:
        await asyncio.sleep(wait_seconds)
        asked = time.monotonic_ns()
        body = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": self.prompt}]}
        if self.run_id:
            reader, writer = await self._send("GET", f"/completions/{self.run_id}/stream")
        elif self.way == "v1":
            reader, writer = await self._send("POST", "/v1/chat/completions", body)
        else:
            reader, writer = await self._send("POST", "/completions", body)
            run = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            writer.close()
            self.ids.append(run["id"])
            reader, writer = await self._send("GET", run["stream"])
        await self._read(reader, asked)
        writer.close()

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        text = json.dumps(body).encode() if body else b""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.token}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        writer.write(head.encode() + text)
        return reader, writer

    async def _read(self, reader: asyncio.StreamReader, asked: int) -> None:
        seen = 0
        rest = b""
        head = b""
        while received := await reader.read(READ_BYTES):
            now = time.monotonic_ns()
            rest += received
            head = head or received
            marks = list(MARK.finditer(rest))
            if marks:
                if not seen:
                    self.first.append((now - asked) / 1e6)
                seen += len(marks)
                self.late += [(now - int(mark[1])) / 1e6 for mark in marks]
                rest = rest[marks[-1].end() :]
            if b"[DONE]" in rest:
                break
        if seen != self.chunks:
            self.unfinished += 1
            print(f"{seen} of {self.chunks}: {head[:80]!r} … {rest[-200:]!r}", file=sys.stderr)


def _percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2) if ordered else -1.0


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Load(json.loads(sys.argv[1])).run())))
