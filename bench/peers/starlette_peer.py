"""What a Python team would write today: starlette, sse-starlette and redis.asyncio, one pub/sub connection each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import redis.asyncio as redis
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

store = redis.Redis(port=int(os.environ["PEER_REDIS_PORT"]), max_connections=20_000)


async def subscribe(request: Request) -> EventSourceResponse:
    user = request.path_params["user"]

    async def events() -> AsyncIterator[dict[str, str]]:
        channel = store.pubsub()
        await channel.subscribe(f"u:{user}")
        try:
            async for message in channel.listen():
                if message["type"] == "message":
                    yield {"data": message["data"].decode()}
        finally:
            await channel.aclose()

    return EventSourceResponse(events())


async def publish(request: Request) -> JSONResponse:
    await store.publish(f"u:{request.path_params['user']}", await request.body())
    return JSONResponse({"ok": 1})


app = Starlette(routes=[Route("/sub/{user}", subscribe), Route("/pub/{user}", publish, methods=["POST"])])
