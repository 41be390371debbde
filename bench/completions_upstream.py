"""An OpenAI-compatible upstream for measurements: streams as many chunks as it is asked for, each with its time.

    python -m bench.completions_upstream PORT

The prompt is two numbers: chunks, and chunks per second (0: as fast as it goes).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS_PER_TURN = 20


def _block(delta: dict[str, Any], finish_reason: str | None = None, **fields: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    chunk = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    return f"data: {json.dumps({**chunk, 'choices': choices, **fields})}\n\n".encode()


BEFORE, AFTER = _block({"content": "MARK"}).split(b"MARK")
ROLE, STOP, DONE = _block({"role": "assistant", "content": ""}), _block({}, "stop"), b"data: [DONE]\n\n"


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            asked = json.loads(await reader.readexactly(_length(head)))
            chunks, rate = asked["messages"][-1]["content"].split()
            await _answer(writer, int(chunks), float(rate))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client is gone
    finally:
        writer.close()


def _length(head: bytes) -> int:
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


async def _answer(writer: asyncio.StreamWriter, chunks: int, rate: float) -> None:
    def put(block: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(block), block))

    writer.write(HEAD)
    put(ROLE)
    for number in range(chunks):
        put(b"%b@@%d@@ %b" % (BEFORE, time.monotonic_ns(), AFTER))
        if rate:
            await asyncio.sleep(1 / rate)
        elif number % CHUNKS_PER_TURN == 0:
            await writer.drain()
    put(STOP)
    put(DONE)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_converse, "127.0.0.1", port, backlog=4_096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
