"""A session of an agent of pydantic-ai."""

from __future__ import annotations

import asyncio

from asked import ADDRESS, CALLS, ENDLESS, HELLO, KEY, MODEL, TOO_LONG, stops, tell
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=ADDRESS, api_key=KEY)))
called = []


@agent.tool_plain
def find(q: str) -> str:
    """Find something."""
    called.append(["find", {"q": q}])
    return HELLO  # at which the model ends


async def main() -> None:
    async with agent.run_stream(HELLO) as stream:
        streamed = await stream.get_output()
    answer = await agent.run(HELLO)
    after_call = (await agent.run(CALLS)).output
    calls = [*called]
    async with agent.run_stream(CALLS) as stream:
        streamed_after_call = await stream.get_output()
    try:
        await agent.run(TOO_LONG)
    except ModelHTTPError as error:
        refusal = [error.status_code, str(error)]
    began = ""
    async with agent.run_stream(ENDLESS) as stream:
        async for text in stream.stream_text(delta=True, debounce_by=None):
            began += text
            if len(began) > len("one two"):
                break
    tell(
        streamed=streamed,
        whole=answer.output,
        tokens=answer.usage.total_tokens,
        calls=calls,
        streamed_calls=called[len(calls) :],
        after_call=[after_call, streamed_after_call],
        refusal=refusal,
        began=began,
        stopped=stops(),
    )


asyncio.run(main())
