"""A session of LangChain's ChatOpenAI."""

from __future__ import annotations

import openai
from asked import ADDRESS, CALLS, ENDLESS, HELLO, KEY, MODEL, TOO_LONG, stops, tell
from langchain_openai import ChatOpenAI


def find(q: str) -> str:
    """Find something."""
    return q


model = ChatOpenAI(model=MODEL, base_url=ADDRESS, api_key=KEY, max_retries=0)
streamed = "".join([chunk.content for chunk in model.stream(HELLO)])
answer = model.invoke(HELLO)
calls = model.bind_tools([find]).invoke(CALLS).tool_calls
streamed_calls = None
for chunk in model.bind_tools([find]).stream(CALLS):
    streamed_calls = chunk if streamed_calls is None else streamed_calls + chunk
try:
    model.invoke(TOO_LONG)
except openai.APIStatusError as error:
    refusal = [error.status_code, str(error)]
stream = model.stream(ENDLESS)
began = [next(stream).content for _ in range(3)]
stream.close()
tell(
    streamed=streamed,
    whole=answer.content,
    tokens=answer.usage_metadata["total_tokens"],
    calls=[[call["name"], call["args"]] for call in calls],
    streamed_calls=[[call["name"], call["args"]] for call in streamed_calls.tool_calls],
    refusal=refusal,
    began="".join(began),
    stopped=stops(),
)
