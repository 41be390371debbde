"""A small model server that replaces a real one: it implements OpenAI's chat API and answers word by word.

Its answers say that it is a stand-in. The first word of a prompt can make it fail in each way that a real upstream can,
see `FAULTS`. So the demo works without an account, and users can try every failure. It imports nothing of the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

HOST = "127.0.0.1"
MODEL = "standin"  # it answers to any other name as well
WORDS_PER_SECOND = 25.0
SLOW_SECONDS = 3.0
STALL_SECONDS = 3_600.0
BODY_LIMIT = 268_435_456

TEXT = (
    "I am Belfry's stand-in for a language model: no model runs here, and no account is needed. "
    "You said: “{prompt}”.\n\n"
    "What you see is **streamed word by word** through the same relay that serves a real upstream. Reload the page, "
    "open it on another device, or cut the network: the answer goes on where you were.\n\n"
    "Begin a prompt with one of these to see a failure: {faults}."
)


class Reply:
    """The answer to one client, in HTTP/1.1. A stream is sent in chunks."""

    def __init__(self, writer: asyncio.StreamWriter, model: str) -> None:
        self._writer = writer
        self._head = {"id": f"standin-{time.time_ns()}", "created": int(time.time()), "model": model}

    async def refuse(self, status: int, message: str, *headers: str) -> None:
        """Send an error in OpenAI's shape."""
        await self._whole(f"{status} Refused", {"error": {"message": message, "type": "standin_error"}}, headers)

    async def answer(self, text: str) -> None:
        """Send the whole answer at once."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = {**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(text)}
        await self._whole("200 OK", body, ())

    async def models(self) -> None:
        """Send the list of its one model."""
        model = {"id": MODEL, "object": "model", "created": self._head["created"], "owned_by": "belfry"}
        await self._whole("200 OK", {"object": "list", "data": [model]}, ())

    def begin(self) -> None:
        """Send the head of a stream, and the chunk with the role."""
        self._writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        self.chunk({"role": "assistant", "content": ""})

    def chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        self.data(json.dumps({**self._head, "object": "chat.completion.chunk", "choices": [choice]}))

    async def end(self, text: str) -> None:
        self.chunk({}, "stop")
        self.data(json.dumps({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(text)}))
        self.data("[DONE]")
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def data(self, data: str) -> None:
        block = f"data: {data}\n\n".encode()
        self._writer.write(b"%x\r\n%b\r\n" % (len(block), block))

    def cut(self) -> None:
        """Break the connection in the middle of the answer."""
        self._writer.transport.abort()

    async def words(self, words: Iterator[str], per_second: float = WORDS_PER_SECOND) -> None:
        for word in words:
            self.chunk({"content": word})
            await self._writer.drain()
            await asyncio.sleep(1 / per_second)

    async def _whole(self, status: str, body: dict[str, Any], headers: tuple[str, ...]) -> None:
        text = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(text)}", *headers]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + text)
        await self._writer.drain()


async def _slow(reply: Reply, text: str) -> None:
    await asyncio.sleep(SLOW_SECONDS)
    await _well(reply, text)


async def _stall(reply: Reply, text: str) -> None:
    reply.begin()
    await reply.words(_some(text))
    await asyncio.sleep(STALL_SECONDS)


async def _cut(reply: Reply, text: str) -> None:
    reply.begin()
    await reply.words(_some(text))
    reply.cut()


async def _malformed(reply: Reply, text: str) -> None:
    reply.begin()
    await reply.words(_some(text))
    reply.data('{"choices": [')
    await reply.end(text)


async def _error(reply: Reply, text: str) -> None:
    reply.begin()
    await reply.words(_some(text))
    reply.data(json.dumps({"error": {"message": "The stand-in was told to fail.", "type": "server_error"}}))
    await reply.end(text)


async def _too_many(reply: Reply, _text: str) -> None:
    await reply.refuse(429, "The stand-in was told to refuse.", "Retry-After: 30")


async def _broken(reply: Reply, _text: str) -> None:
    await reply.refuse(500, "The stand-in was told to break.")


async def _long(reply: Reply, _text: str) -> None:
    """Send an answer that is long enough to reload the page, stop it, or cut the network."""
    text = " ".join(f"word {number}" for number in range(1, 1_001))
    await _well(reply, text)


async def _well(reply: Reply, text: str) -> None:
    reply.begin()
    await reply.words(_words(text))
    await reply.end(text)


Behaviour = Callable[[Reply, str], Awaitable[None]]

FAULTS: dict[str, Behaviour] = {
    "/slow": _slow,
    "/stall": _stall,
    "/cut": _cut,
    "/malformed": _malformed,
    "/error": _error,
    "/429": _too_many,
    "/500": _broken,
    "/long": _long,
}


def main(port: int) -> None:
    """Serve on the loopback interface until stopped."""
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_converse, HOST, port)
    async with server:
        await server.serve_forever()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection, request after request."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            if head.startswith(b"GET "):
                await Reply(writer, MODEL).models()
            else:
                await _respond(writer, body)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client is gone
    finally:
        writer.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return min(int(value), BODY_LIMIT)
    return 0


async def _respond(writer: asyncio.StreamWriter, body: bytes) -> None:
    try:
        asked = json.loads(body)
        prompt = str(asked["messages"][-1].get("content") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        await Reply(writer, MODEL).refuse(400, "Expected a model and messages.")
        return
    reply = Reply(writer, str(asked.get("model")))
    text = TEXT.format(prompt=prompt[:400], faults=", ".join(FAULTS))
    behaviour = FAULTS.get(prompt.split(" ", maxsplit=1)[0].strip().lower(), _well)
    if asked.get("stream") or behaviour in (_too_many, _broken):
        await behaviour(reply, text)
    else:
        await reply.answer(text)


def _words(text: str) -> Iterator[str]:
    """Yield the words, each with the space before it."""
    start = 0
    for at, char in enumerate(text):
        if char == " " and at > start:
            yield text[start:at]
            start = at
    yield text[start:]


def _some(text: str) -> Iterator[str]:
    """Yield the first words, so that the client sees some text before the failure."""
    return _words(" ".join(text.split(" ")[:8]))


def _usage(text: str) -> dict[str, int]:
    count = len(text.split())
    return {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}


if __name__ == "__main__":
    main(int(sys.argv[1]))
