"""The client for asyncio, on `httpx`: `pip install belfry-client[async]`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Self

import httpx

from . import answers, wire
from .answers import Presence, Receipt, Result
from .errors import BelfryError, UnavailableError
from .events import Decoder, Event
from .retries import LATER, Retries
from .wire import Message, Token


class AsyncBelfry:
    """As `belfry_client.Belfry`, for asyncio. Use one in one event loop, and close it."""

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        retries: Retries | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._token = token
        self._retries = retries or Retries()
        self._sleep = sleep
        timeout = httpx.Timeout(wire.ANSWER_SECONDS, connect=wire.CONNECT_SECONDS)
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def publish(self, message: Message) -> Receipt:
        return answers.receipt((await self._ask("POST", "/publish", json=wire.with_id(message))).json())

    async def publish_many(self, messages: Iterable[Message]) -> list[Result]:
        return [result for batch in wire.batches(messages) for result in await self._publish_batch(batch)]

    async def retract(self, message_id: str) -> list[str]:
        retracted: list[str] = (await self._ask("DELETE", wire.path_of(message_id))).json()["retracted"]
        return retracted

    async def status(self, message_id: str) -> dict[str, Any]:
        told: dict[str, Any] = (await self._ask("GET", wire.path_of(message_id))).json()
        return told

    async def presence(self, users: Iterable[str]) -> dict[str, Presence]:
        found: dict[str, Presence] = {}
        for group in wire.groups(users):
            found |= answers.presence((await self._ask("GET", "/presence", params={"user": list(group)})).json())
        return found

    async def stream(self, last_event_id: str = "", *, topics: Iterable[str] = ()) -> AsyncGenerator[Event]:
        """As `Belfry.stream`. Close the generator (`contextlib.aclosing`) to leave before its end."""
        cursor, failures, delay = last_event_id, 0, wire.RETRY_SECONDS
        while True:
            try:
                async with aclosing(self._events(cursor, topics)) as events:
                    async for event in events:
                        failures = 0
                        cursor = event.id or cursor
                        delay = delay if event.retry_ms is None else event.retry_ms / 1_000
                        yield event
                        if event.is_final:
                            return
                await self._sleep(delay)
            except UnavailableError:
                failures += 1
                again = self._retries.delay(failures)
                if again is None:
                    raise
                await self._sleep(max(again, delay))

    async def _events(self, cursor: str, topics: Iterable[str]) -> AsyncGenerator[Event]:
        decoder = Decoder()
        headers = {**self._headers(), **({"Last-Event-ID": cursor} if cursor else {})}
        timeout = httpx.Timeout(wire.SILENCE_SECONDS, connect=wire.CONNECT_SECONDS)
        sent: dict[str, Any] = {"headers": headers, "params": {"topic": list(topics)}, "timeout": timeout}
        connected = False
        try:
            async with self._http.stream("GET", "/stream", **sent) as answer:
                if answer.status_code in LATER:
                    raise UnavailableError(f"{self._http.base_url} answered {answer.status_code}")
                if answer.status_code != httpx.codes.OK:
                    raise wire.refusal(answer.status_code, (await answer.aread()).decode())
                connected = True
                async for received in answer.aiter_raw():
                    for event in decoder.feed(received):
                        yield event
        except httpx.TransportError as error:
            if not connected:
                raise UnavailableError(f"no answer from {self._http.base_url}: {error}") from error

    async def _publish_batch(self, batch: list[tuple[str, bytes]]) -> list[Result]:
        under_way = wire.Undelivered(batch)
        for failures in range(1, self._retries.tries + 1):
            lines = b"".join([line for _, line in under_way.batch])
            answer = await self._ask("POST", "/publish", content=lines, headers={"Content-Type": wire.NDJSON})
            again = self._retries.delay(failures)
            if not under_way.take(wire.results(answer.text, under_way.batch)) or again is None:
                break
            await self._sleep(again)
        return under_way.results

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        failures = 0
        headers = options.pop("headers", {})
        while True:
            try:
                answer = await self._http.request(method, path, headers={**self._headers(), **headers}, **options)
                failure: BelfryError = wire.refusal(answer.status_code, answer.text)
                if answer.is_success:
                    return answer
                if answer.status_code not in LATER:
                    raise failure
                after = answer.headers.get("Retry-After")
            except httpx.TransportError as error:
                failure, after = UnavailableError(f"no answer from {self._http.base_url}: {error}"), None
            failures += 1
            delay = self._retries.delay(failures, after)
            if delay is None:
                raise UnavailableError(f"gave up after {failures} tries: {failure}") from failure
            await self._sleep(delay)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": wire.bearer(self._token), "Accept-Encoding": "identity"}
