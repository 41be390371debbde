"""A session of LlamaIndex' OpenAILike, by chat and by the legacy completions that are its default."""

from __future__ import annotations

import gc

import openai
from asked import ADDRESS, CALLS, ENDLESS, HELLO, KEY, MODEL, TOO_LONG, stops, tell
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


def find(q: str) -> str:
    """Find something."""
    return q


def said(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


given = {"model": MODEL, "api_base": ADDRESS, "api_key": KEY, "max_retries": 0}
legacy = OpenAILike(**given)
model = OpenAILike(**given, is_chat_model=True, is_function_calling_model=True)
streamed = "".join([part.delta or "" for part in model.stream_chat(said(HELLO))])
answer = model.chat(said(HELLO))
tool = FunctionTool.from_defaults(find)
calls = model.get_tool_calls_from_response(model.chat_with_tools([tool], CALLS))
*_, last = model.stream_chat_with_tools([tool], CALLS)
streamed_calls = model.get_tool_calls_from_response(last)
try:
    model.chat(said(TOO_LONG))
except openai.APIStatusError as error:
    refusal = [error.status_code, str(error)]
stream = model.stream_chat(said(ENDLESS))
began = [next(stream).delta or "" for _ in range(3)]
stream.close()
del stream
gc.collect()  # LlamaIndex closes the connection when the garbage collector finds its response
tell(
    streamed=streamed,
    whole=answer.message.content,
    tokens=answer.raw.usage.total_tokens,
    legacy=legacy.complete(HELLO).text,
    legacy_streamed="".join([part.delta or "" for part in legacy.stream_complete(HELLO)]),
    calls=[[call.tool_name, call.tool_kwargs] for call in calls],
    streamed_calls=[[call.tool_name, call.tool_kwargs] for call in streamed_calls],
    refusal=refusal,
    began="".join(began),
    stopped=stops(),
)
