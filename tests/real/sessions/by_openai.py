"""A session of OpenAI's own Python client, by chat and by responses."""

from __future__ import annotations

import json

import openai
from asked import ADDRESS, CALLS, ENDLESS, HELLO, KEY, MODEL, TOO_LONG, stops, tell

PARAMETERS = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOL = {"type": "function", "function": {"name": "find", "description": "Find something.", "parameters": PARAMETERS}}

client = openai.OpenAI(base_url=ADDRESS, api_key=KEY, max_retries=0)


def ask(text: str, **others: object) -> object:
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **others)


streamed = "".join([part.choices[0].delta.content or "" for part in ask(HELLO, stream=True)])
answer = ask(HELLO)
calls = ask(CALLS, tools=[TOOL]).choices[0].message.tool_calls
with client.chat.completions.stream(
    model=MODEL, messages=[{"role": "user", "content": CALLS}], tools=[TOOL]
) as put_together:
    streamed_calls = put_together.get_final_completion().choices[0].message.tool_calls
try:
    ask(TOO_LONG)
except openai.APIStatusError as error:
    refusal = [error.status_code, str(error)]
stream = ask(ENDLESS, stream=True)
began = ""
while len(began) < len("one two "):
    began += next(stream).choices[0].delta.content or ""
stream.close()
stopped = stops()

# A response in the background is left in the midst, resumed, and at last cancelled.
first = client.responses.create(model=MODEL, input=ENDLESS, background=True, stream=True)
seen, response_id = "", ""
for event in first:
    if event.type == "response.created":
        response_id = event.response.id
    if event.type == "response.output_text.delta":
        seen += event.delta
        last = event.sequence_number
        break
first.close()
resumed = client.responses.retrieve(response_id, stream=True, starting_after=last)
rest = ""
for event in resumed:
    if event.type == "response.output_text.delta":
        rest += event.delta
        if len(rest) > 1_000:
            break
resumed.close()
cancelled = client.responses.cancel(response_id)
text = cancelled.output_text
tell(
    streamed=streamed,
    whole=answer.choices[0].message.content,
    tokens=answer.usage.total_tokens,
    calls=[[call.function.name, json.loads(call.function.arguments)] for call in calls],
    streamed_calls=[[call.function.name, json.loads(call.function.arguments)] for call in streamed_calls],
    refusal=refusal,
    began=began,
    stopped=stopped,
    resumed=text.startswith(seen + rest) and len(rest) > 1_000,
    status=cancelled.status,
    cancelled=stops(),
)
