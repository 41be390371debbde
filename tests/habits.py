"""Habits of upstreams: what some really send, and what a client of Belfry must get for it.

Each row is one habit. It is tried as a stream, as a whole answer and as a run.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

EVENTS = "text/event-stream"
JSON = "application/json"
HELLO = "Hello wörld"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@dataclass(frozen=True)
class Habit:
    """What an upstream sends, and the outcome.

    `code` is empty for an answer that is complete, else the code or message of the error that the client gets.
    `tokens` are those that count; None: an estimate that says so. `status` is that of a refusal of a whole answer.
    """

    name: str
    body: bytes
    type: str = EVENTS
    text: str = HELLO
    reason: str = ""  # a part of the error's message
    code: str = ""
    status: int = 502
    calls: list[tuple[str, str]] = field(default_factory=list)
    tokens: int | None = 5
    asked: int = 1
    finish: str = "stop"
    head: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # the connection breaks behind the body
    hangs: bool = False  # nothing follows, and the connection stays
    choices: int = 1  # that the client asks for
    more: dict[str, Any] = field(default_factory=dict)  # members of the run's state

    @property
    def fails(self) -> bool:
        return bool(self.code or self.reason)


def chunk(delta: dict[str, Any], reason: Any = None, **others: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return json.dumps({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **others})


HEL = chunk({"role": "assistant", "content": "Hello"})
LO = chunk({"content": " wörld"})
STOP = chunk({}, "stop")
COUNT = json.dumps({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
GOOD = (HEL, LO, STOP, COUNT, "[DONE]")


def sse(*datas: str, end: str = "\n\n", lead: str = "data: ") -> bytes:
    return "".join([f"{lead}{data}{end}" for data in datas]).encode(errors="surrogatepass")


def whole(content: Any = HELLO, *, usage: Any = USAGE, reason: Any = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return json.dumps(body | ({"usage": usage} if usage is not None else {})).encode()


def counted(usage: Any) -> bytes:
    """A good stream that tells this usage."""
    return sse(HEL, LO, STOP, json.dumps({"choices": [], "usage": usage}), "[DONE]")


def calling(*parts: Any) -> bytes:
    return sse(*[chunk({"tool_calls": [part]}) for part in parts], chunk({}, "tool_calls"), COUNT, "[DONE]")


def call(name: Any = None, arguments: Any = None, **members: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {**members, "function": {key: value for key, value in function.items() if value is not None}}


def failing(*datas: str, raw: bytes = b"") -> bytes:
    """A stream that begins well, and goes on with this."""
    return sse(HEL) + sse(*datas) + raw


TOOLS = [("find", '{"q":"x"}'), ("look", '{"y":1}')]
FAILED: dict[str, Any] = {"text": "Hello", "code": "upstream_failed", "tokens": None}
ERROR = {"message": "Out of memory", "type": "server_error", "code": 500}
CALLED: dict[str, Any] = {"text": "", "finish": "tool_calls"}

NOISE = [
    Habit("plain", sse(*GOOD)),
    Habit("CRLF", sse(*GOOD, end="\r\n\r\n")),
    Habit("CR", sse(*GOOD, end="\r\r")),
    Habit("a single line end between events", sse(*GOOD, end="\n")),
    Habit("no blank behind the colon", sse(*GOOD, lead="data:")),
    Habit("a BOM", b"\xef\xbb\xbf" + sse(*GOOD)),
    Habit("blanks behind [DONE]", sse(*GOOD[:-1], "[DONE]  ")),
    Habit("[DONE] in quotes", sse(*GOOD[:-1], '"[DONE]"')),
    Habit("empty data to keep it alive", sse("", HEL, "", LO, "", STOP, COUNT, "[DONE]")),
    Habit("data without a colon", b"data\n\n" + sse(*GOOD)),
    Habit("comments", b": OPENROUTER PROCESSING\n\n" * 3 + sse(*GOOD)),
    Habit("a ping event with text", b"event: ping\ndata: pong\n\n" + sse(*GOOD)),
    Habit("a ping event with an object", b'event: ping\ndata: {"type":"ping"}\n\n' + sse(*GOOD)),
    Habit("a ping event with broken JSON", b"event: ping\ndata: {\n\n" + sse(*GOOD)),
    Habit("a ping without an event's name", sse('{"type":"ping"}', *GOOD)),
    Habit("a text in the midst", sse(HEL, "keep-alive", LO, STOP, COUNT, "[DONE]")),
    Habit("an empty object", sse(HEL, "{}", LO, STOP, COUNT, "[DONE]")),
    Habit("null and a number", sse("null", "7", *GOOD)),
    Habit("named events", sse(*GOOD, lead="event: message\nid: 7\nretry: 10\ndata: ")),
    Habit("events of another name", sse(*GOOD, lead="event: completion.chunk\ndata: ")),
    Habit("no last line end", sse(*GOOD)[:-2]),
    Habit("no [DONE]", sse(*GOOD[:-1])),
    Habit("no [DONE] and no end", sse(*GOOD[:-1]), hangs=True),
    Habit("no usage, no [DONE] and no end", sse(HEL, LO, STOP), hangs=True, tokens=None),
    Habit("[DONE] without a reason", sse(HEL, LO, COUNT, "[DONE]"), finish=""),
    Habit("a cut behind the reason", sse(HEL, LO, STOP, COUNT), cut=True),
    Habit("an object on several lines", sse('{"choices": [{"delta":\ndata: {"content": "Hello wörld"}}\ndata: ]}', *GOOD[2:])),
    Habit("objects without a field's name", "\n".join(GOOD[:-1]).encode()),
    Habit("objects line by line, called NDJSON", "\n".join(GOOD[:-1]).encode(), "application/x-ndjson"),
    Habit("objects line by line, called JSON", "\n".join(GOOD[:-1]).encode(), JSON),
    Habit("a stream that is called JSON", sse(*GOOD), JSON),
    Habit("a stream of no type", sse(*GOOD), ""),
    Habit("a stream of plain text", sse(*GOOD), "text/plain; charset=utf-8"),
    Habit("gzip", gzip.compress(sse(*GOOD)), headers={"Content-Encoding": "gzip"}),
    Habit("gzip that nobody tells", gzip.compress(sse(*GOOD))),
    Habit("gzip that is none", sse(*GOOD), headers={"Content-Encoding": "gzip"}),
    Habit("deflate", zlib.compress(sse(*GOOD)), headers={"Content-Encoding": "deflate"}),
    Habit("br that is none", sse(*GOOD), headers={"Content-Encoding": "br"}),
    Habit("a header that no server may send", sse(*GOOD), headers={"X-Request-Id": "a\x01b"}),
    Habit("a header of 70,000 bytes", sse(*GOOD), headers={"X-Request-Id": "x" * 70_000}),
    Habit("150 headers that pass", sse(*GOOD), headers={f"X-RateLimit-{number}": "x" for number in range(150)}),
    Habit("150 headers", sse(*GOOD), headers={f"X-Header-{number}": "x" for number in range(150)}),
    Habit("NaN in a chunk", sse(HEL, chunk({"content": " wörld"}, score=float("nan")), *GOOD[2:])),
    Habit("Infinity in a chunk", sse(HEL, chunk({"content": " wörld"}, score=float("-inf")), *GOOD[2:])),
    Habit("a number too large for a float", sse(HEL, LO[:-1] + ', "score": 1e999}', *GOOD[2:])),
    Habit("a lone surrogate", sse(HEL, chunk({"content": " w\ud800rld"}), *GOOD[2:]), text="Hello w?rld"),
    Habit("a raw tab in a text", sse(HEL, '{"choices":[{"delta":{"content":"\t"}}]}', *GOOD[2:]), text="Hello\t"),
    Habit("content in parts", sse(chunk({"content": [{"type": "text", "text": HELLO}]}), *GOOD[2:])),
    Habit("the words of common keys", sse(chunk({"content": "ollama EMPTY k token"}), *GOOD[2:]), text="ollama EMPTY k token"),
    Habit("a choice without an index", sse(json.dumps({"choices": [{"delta": {"content": HELLO}}]}), *GOOD[2:])),
    Habit("length", sse(HEL, LO, chunk({}, "length"), COUNT, "[DONE]"), finish="length"),
    Habit("content_filter", sse(HEL, LO, chunk({}, "content_filter"), COUNT, "[DONE]"), finish="content_filter"),
    Habit("a refusal", sse(chunk({"refusal": "No."}), *GOOD[2:]), text="", more={"refusal": "No."}),
    Habit("reasoning_content", sse(chunk({"reasoning_content": "Hm"}), *GOOD), more={"reasoning": "Hm"}),
    Habit("reasoning", sse(chunk({"reasoning": "Hm"}), *GOOD), more={"reasoning": "Hm"}),
    Habit("the field's name twice", sse(*GOOD, lead="data: data: ")),
    Habit("one list of chunks", f"[{','.join(GOOD[:-1])}]".encode(), JSON),
    Habit("MiniMax's text once more behind its chunks", sse(HEL, LO, whole().decode(), "[DONE]")),
    Habit("Perplexity's text so far beside each delta", sse(chunk({"content": HELLO}), json.dumps({
        "object": "chat.completion.done", "usage": USAGE,
        "choices": [{"index": 0, "delta": {}, "message": {"role": "assistant", "content": HELLO}, "finish_reason": "stop"}],
    }))),
    Habit("Azure's filters", sse('{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}', *GOOD[:3], json.dumps(
        {"choices": [{"index": 0, "delta": {}, "content_filter_results": {}, "finish_reason": None}]},
    ), *GOOD[3:])),
    Habit("a place in a queue", sse('{"object":"chat.completion.chunk","choices":[],"message":"You are third"}', *GOOD)),
    Habit("members that are null", sse(chunk({"role": None, "content": None, "tool_calls": None, "function_call": None}), *GOOD)),
    Habit("choices null beside usage", sse(HEL, LO, STOP, json.dumps({"choices": None, "usage": USAGE}), "[DONE]")),
    Habit("errors that are none", sse(chunk({"content": HELLO}, error=None), chunk({}, "stop", error=None), COUNT, "[DONE]")),
    Habit("Cohere's finish reason", sse(HEL, LO, chunk({}, "COMPLETE"), COUNT, "[DONE]"), finish="COMPLETE"),
    Habit("a BOM before a later event", sse(HEL) + b"\xef\xbb\xbf" + sse(*GOOD[1:])),
    Habit("two BOMs", b"\xef\xbb\xbf" * 2 + sse(*GOOD)),
    Habit("a blank before the field", sse(*GOOD, lead=" data: ")),
    Habit("the field's name in capitals", sse(*GOOD, lead="DATA: ")),
    Habit("a blank before the colon", sse(*GOOD, lead="data : ")),
    Habit("mixed line ends", f"data: {HEL}\r\n\ndata: {LO}\n\rdata: {STOP}\r\rdata: {COUNT}\n\ndata: [DONE]\r\n".encode()),
    Habit("[DONE] without a field's name", sse(*GOOD[:-1]) + b"[DONE]\n\n"),
    Habit("objects line by line and then [DONE]", "\n".join(GOOD).encode(), "application/x-ndjson"),
    Habit("a JSON text sequence", "".join([f"\x1e{data}\n" for data in GOOD[:-1]]).encode(), "application/json-seq"),
    Habit("words in brackets to keep it alive", sse("[KEEPALIVE]", HEL, "[WAIT]", LO, STOP, COUNT, "[DONE].")),
    Habit("a torn object whose second half is missing", sse(HEL, LO[:30], STOP), **(FAILED | {"code": "upstream_malformed"})),
    Habit("a torn object whose second half is missing, and then a bare object", sse(HEL, LO[:30]) + f"{STOP}\n\n".encode(), **(FAILED | {"code": "upstream_malformed"})),
    Habit("an object that is torn into two events", sse(HEL, LO[:30], LO[30:], *GOOD[2:])),
    Habit("an object on several lines, of which only one has the field's name", b"".join(
        [b"data: %b\n\n" % json.dumps(json.loads(data), indent=1).encode() for data in GOOD[:-1]],
    )),
    Habit("two objects in one event", sse(HEL + LO, *GOOD[2:])),
    Habit("nan and -inf", sse(HEL, LO[:-1] + ', "nan": "nan", "a": nan, "b": [-inf, +Infinity]}', *GOOD[2:])),
    Habit("choices null at the beginning", sse('{"choices":null}', *GOOD)),
    Habit("no choices", sse('{"id":"c1","object":"chat.completion.chunk"}', HEL, LO, STOP, json.dumps({"usage": USAGE}), "[DONE]")),
    Habit("one choice that is in no list", sse(json.dumps({"choices": {"delta": {"content": HELLO}, "finish_reason": "stop"}}), COUNT, "[DONE]")),
    Habit("null among the choices", sse('{"choices":[null]}', *GOOD)),
    Habit("a delta that is null", sse(HEL, LO, '{"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}', COUNT, "[DONE]")),
    Habit("a delta that is a text", sse(json.dumps({"choices": [{"index": 0, "delta": HELLO}]}), *GOOD[2:])),
    Habit("an index that is a text", sse(json.dumps({"choices": [{"index": "0", "delta": {"content": HELLO}}]}), *GOOD[2:])),
    Habit("only the index 1", sse(*[data.replace('"index": 0', '"index": 1') for data in GOOD])),
    Habit("the text of the legacy API", sse(json.dumps({"choices": [{"index": 0, "text": HELLO, "finish_reason": "stop"}]}), COUNT, "[DONE]")),
    Habit("messages in the place of deltas", sse(*[
        json.dumps({"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": reason}]})
        for content, reason in [("Hello", None), (" wörld", None), ("", "stop")]
    ], COUNT, "[DONE]")),
    Habit("other keep-alives", sse('{"type":"keep_alive"}', HEL, '{"event":"ping"}', LO, STOP, COUNT, "[DONE]")),
    Habit("a note of another kind", sse('{"status":"loading","progress":0.5}', *GOOD)),
    Habit("a usage that is cut", sse(HEL, LO, STOP) + b'data: {"choices":[],"us', tokens=None),
    Habit("finishReason", sse(HEL, LO, json.dumps({"choices": [{"delta": {}, "finishReason": "STOP"}]}), COUNT), finish="STOP"),
    Habit("stop_reason", sse(HEL, LO, json.dumps({"choices": [{"delta": {}, "stop_reason": "end_turn"}]}), COUNT), finish="end_turn"),
    Habit("a finish reason that is false", sse(HEL, LO, chunk({}, reason=False), *GOOD[2:])),
    *[
        Habit(f"reasoning as {name}", sse(chunk({name: first}), chunk({name: second}), *GOOD), more={"reasoning": "Hm, so"})
        for name, first, second in [
            ("thinking", "Hm,", " so"),
            ("thought", "Hm,", " so"),
            ("reasoning_details", [{"type": "reasoning.text", "text": "Hm,"}], [{"type": "reasoning.summary", "summary": " so"}]),
            ("thinking_blocks", [{"type": "thinking", "thinking": "Hm,"}], [{"type": "thinking", "thinking": " so"}]),
        ]
    ],
    Habit("reasoning as a part of the content", sse(chunk(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": HELLO}]},
    ), *GOOD[2:]), more={"reasoning": "Hm"}),
    Habit("MiniMax's status of success", sse(HEL, LO, chunk({}, "stop", base_resp={"status_code": 0, "status_msg": ""}), COUNT, "[DONE]")),
]  # fmt: skip

WHOLES = [
    Habit("one JSON", whole(), JSON),
    Habit("one JSON, called a stream", whole(), EVENTS),
    Habit("one JSON on many lines, called a stream", json.dumps(json.loads(whole()), indent=1).encode(), EVENTS),
    Habit("one JSON of no type", whole(), ""),
    Habit("one JSON with a BOM", b"\xef\xbb\xbf" + whole(), JSON),
    Habit("one JSON behind blanks", b"\n\n  " + whole(), JSON),
    Habit("one JSON in gzip", gzip.compress(whole()), JSON, headers={"Content-Encoding": "gzip"}),
    Habit("one JSON in one event", sse(whole().decode(), "[DONE]")),
    Habit("one JSON with NaN", whole(usage={**USAGE, "cost": float("nan")}), JSON),
    Habit("one JSON with -Infinity", whole(usage={**USAGE, "cost": float("-inf")}), JSON),
    Habit("one JSON without usage", whole(usage=None), JSON, tokens=None),
    Habit("one JSON without total_tokens", whole(usage={"prompt_tokens": 3, "completion_tokens": 2}), JSON),
    Habit("one JSON with calls", whole(None, reason="tool_calls", tool_calls=[
        {"id": "a", "type": "function", **call("find", '{"q":"x"}')},
        {"id": "b", "type": "function", **call("look", {"y": 1})},
    ]), JSON, calls=TOOLS, **CALLED),
    Habit("200 with an error", b'{"error":{"message":"Out of memory"}}', JSON, "", "Out of memory", tokens=0),
    Habit("200 with an error and its status", b'{"error":{"message":"Slow down","code":429}}', JSON, "", "Slow down", status=429, tokens=0),
    Habit("200 with a flat error", b'{"object":"error","message":"Out of memory","code":400}', JSON, "", "Out of memory", status=400, tokens=0),
    Habit("200 with a detail", b'{"detail":"Out of memory"}', JSON, "", "Out of memory", tokens=0),
    Habit("200 with HTML", b"<html><head><title>Sign in</title></head><body>x</body></html>", "text/html", "", "Sign in", tokens=0),
    Habit("200 with plain text", b"Bad gateway", "text/plain", "", "Bad gateway", tokens=0),
    Habit("200 with nothing", b"", JSON, "", code="upstream_truncated", tokens=0),
    Habit("200 with nothing in a stream", b"", EVENTS, "", code="upstream_truncated", tokens=0),
    Habit("200 with [DONE] alone", sse("[DONE]"), EVENTS, "", code="upstream_truncated", tokens=0),
    Habit("200 with comments alone", b": hm\n\n", EVENTS, "", code="upstream_truncated", tokens=0),
    Habit("a whole that is cut", whole()[:-20], JSON, "", code="upstream_truncated", tokens=0, cut=True),
    Habit("a whole that ends too soon", whole()[:-20], JSON, "", code="upstream_truncated", tokens=0),
    Habit("200 with MiniMax's status", b'{"choices":null,"base_resp":{"status_code":1008,"status_msg":"No balance"}}', JSON, "", "No balance", tokens=0),
    Habit("200 with a code of its own", b'{"code":1001,"msg":"No balance"}', JSON, "", "No balance", tokens=0),
    Habit("Ollama's own API", b'{"model":"m","message":{"role":"assistant","content":"Hello"},"done":true}', JSON, "", "Hello", "upstream_malformed", tokens=0),
    Habit("Cloudflare's own API", sse('{"response":"Hello"}', "[DONE]"), EVENTS, "", "Hello", "upstream_malformed", tokens=0),
    Habit("br", b"\x0b\x02\x80junk", JSON, "", "content coding 'br'", "upstream_malformed", tokens=0, headers={"Content-Encoding": "br"}),
    Habit("more headers than anybody takes", sse(*GOOD), EVENTS, "", "1000 headers", "upstream_malformed", tokens=0, headers={f"X-{number}": "x" for number in range(1_001)}),
    Habit("a list", b"[1]", JSON, "", code="upstream_malformed", tokens=0),
]  # fmt: skip

FAILURES = [
    Habit("an error in mid-stream", failing(json.dumps({"error": ERROR})), reason="Out of memory", status=500, **FAILED),
    Habit("an error and then [DONE]", failing(json.dumps({"error": ERROR}), "[DONE]"), reason="Out of memory", status=500, **FAILED),
    Habit("an error as text", failing('{"error":"Out of memory"}'), reason="Out of memory", **FAILED),
    Habit("vLLM's error", failing('{"object":"error","message":"EngineCore died","code":500}', "[DONE]"), reason="EngineCore", status=500, **FAILED),
    Habit("an error event", failing(raw=b'event: error\ndata: {"message":"Overloaded"}\n\n'), reason="Overloaded", **FAILED),
    Habit("an error event of text", failing(raw=b"event: error\ndata: Overloaded\n\n"), reason="Overloaded", **FAILED),
    Habit("Anthropic's error", failing('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'), reason="Overloaded", **FAILED),
    Habit("FastAPI's error", failing('{"detail":"Internal Server Error"}'), reason="Internal Server Error", **FAILED),
    Habit("a message with a status", failing('{"message":"Gone","status":503}'), reason="Gone", status=503, **FAILED),
    Habit("Gemini's list", failing('[{"error":{"code":503,"message":"Overloaded","status":"UNAVAILABLE"}}]'), reason="Overloaded", status=503, **FAILED),
    Habit("an error without a field's name", failing(raw=b'{"error":{"message":"Out of memory"}}\n'), reason="Out of memory", **FAILED),
    Habit("OpenRouter's error in a choice", failing(chunk({"content": ""}, "error", error={"code": 502, "message": "Provider disconnected"})), reason="Provider", **FAILED),
    Habit("a reason that is error", failing(chunk({}, "error"), "[DONE]"), reason="error", **FAILED),
    Habit("MiniMax's status in mid-stream", failing('{"choices":null,"base_resp":{"status_code":1008,"status_msg":"No balance"}}', "[DONE]"), reason="No balance", **FAILED),
    Habit("Baidu's error", failing('{"error_code":336501,"error_msg":"Limit reached","id":"x"}', "[DONE]"), reason="Limit reached", **FAILED),
    Habit("a code of its own", failing('{"code":1001,"msg":"No balance"}', "[DONE]"), reason="No balance", **FAILED | {"code": ""}),
    *[
        Habit(f"the reason {reason}", failing(chunk({}, reason), "[DONE]"), reason=reason, **FAILED)
        for reason in ("insufficient_system_resource", "network_error", "abort")
    ],
    Habit("a text in the place of the rest", failing("Traceback: boom", "[DONE]"), reason="boom", **FAILED),
    Habit("OpenRouter's raw reason", failing(json.dumps({"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"context too long"}}'}}})), reason="context too long", **FAILED),
    Habit("the end without a reason", sse(HEL), text="Hello", code="upstream_truncated", tokens=None),
    Habit("a cut", sse(HEL), text="Hello", code="upstream_truncated", tokens=None, cut=True),
    Habit('the reason "null" and the end', sse(HEL, chunk({}, "null")), text="Hello", code="upstream_truncated", tokens=None),
    Habit("broken JSON", failing('{"choices": ['), text="Hello", code="upstream_malformed", tokens=None),
    Habit("one choice of two, and the end", sse(HEL, LO, STOP), code="upstream_truncated", tokens=None, choices=2),
    Habit("silence", sse(HEL), text="Hello", code="upstream_timeout", status=504, tokens=None, hangs=True),
]  # fmt: skip

USAGES = [
    Habit("usage without a total", counted({"prompt_tokens": 3, "completion_tokens": 2})),
    Habit("input and output tokens", counted({"input_tokens": 3, "output_tokens": 2})),
    Habit("camel case", counted({"promptTokens": 3, "completionTokens": 2})),
    Habit("numbers as text", counted({"prompt_tokens": "3", "completion_tokens": "2"})),
    Habit("numbers with a fraction", counted({"total_tokens": 5.0})),
    Habit("a total of 0 beside the parts", counted({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 0})),
    Habit("a usage of nothing", counted({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), tokens=None),
    Habit("usage null", sse(HEL, LO, STOP, '{"choices":[],"usage":null}', "[DONE]"), tokens=None),
    Habit("usage in the last chunk", sse(HEL, LO, chunk({}, "stop", usage=USAGE), "[DONE]")),
    Habit("usage so far in each chunk", sse(chunk({"content": HELLO}, usage={"total_tokens": 4}), chunk({}, "stop", usage=USAGE), "[DONE]")),
    Habit("usage in a choice", sse(HEL, LO, json.dumps({"choices": [{"delta": {}, "finish_reason": "stop", "usage": USAGE}]}), "[DONE]")),
    Habit("Groq's usage", sse(HEL, LO, chunk({}, "stop", x_groq={"usage": USAGE}), "[DONE]")),
    Habit("Gemini's usage", sse(HEL, LO, chunk({}, "stop", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 2}), "[DONE]")),
    Habit("Anthropic's usage in two parts", sse(chunk({"content": HELLO}, usage={"input_tokens": 3}), chunk({}, "stop", usage={"output_tokens": 2}), "[DONE]")),
    Habit("a part of the reasoning in Gemini's usage", counted({"promptTokenCount": 3, "candidatesTokenCount": 1, "thoughtsTokenCount": 1})),
    Habit("numbers with a fraction as text", counted({"prompt_tokens": "3.0", "completion_tokens": "2"})),
    Habit("names with hyphens", counted({"prompt-tokens": 3, "completion-tokens": 2})),
    Habit("Cohere's units", counted({"billed_units": {"input_tokens": 3, "output_tokens": 2}})),
    Habit("watsonx's names", counted({"input_token_count": 3, "generated_token_count": 2})),
    Habit("a usage without any count", counted({"prompt_tokens": -3, "completion_tokens": None}), tokens=None),
    Habit("token_usage", sse(HEL, LO, chunk({}, "stop", token_usage=USAGE), "[DONE]")),
    Habit("usage in a delta", sse(HEL, LO, chunk({"usage": USAGE}, "stop"), "[DONE]")),
    Habit("an event with the usage", sse(HEL, LO, STOP) + b"event: usage\ndata: %b\n\n" % json.dumps({"usage": USAGE}).encode() + sse("[DONE]")),
    Habit("Ollama's counts in a chunk", sse(HEL, LO, chunk({}, "stop", prompt_eval_count=3, eval_count=2), "[DONE]")),
    Habit("one JSON with input and output tokens", whole(usage={"input_tokens": 3, "output_tokens": 2}), JSON),
    Habit("one JSON with counts below zero", whole(usage={"prompt_tokens": -3, "total_tokens": -5}), JSON, tokens=None),
    Habit("a cost of NaN", counted({**USAGE, "cost": float("nan")})),
    Habit("no usage", sse(HEL, LO, STOP, "[DONE]"), tokens=None),
]  # fmt: skip

CALLS = [
    Habit("calls by index", calling(
        call("find", "", index=0, id="a", type="function"), call(None, '{"q":', index=0), call(None, '"x"}', index=0),
        call("look", '{"y":1}', index=1, id="b"),
    ), calls=TOOLS, **CALLED),
    Habit("calls without an index", calling(
        call("find", '{"q":', id="a"), call(None, '"x"}'), call("look", '{"y":1}', id="b"),
    ), calls=TOOLS, **CALLED),
    Habit("calls that all have index 0", calling(
        call("find", '{"q":"x"}', index=0, id="a"), call("look", '{"y":1}', index=0, id="b"),
    ), calls=TOOLS, **CALLED),
    Habit("calls without index and id", calling(call("find", '{"q":"x"}'), call("look", '{"y":1}')), calls=TOOLS, **CALLED),
    Habit("the same call twice, without index and id", calling(call("find", "{}"), call("find", "{}")), calls=[("find", "{}")] * 2, **CALLED),
    Habit("a name in each part", calling(
        call("find", '{"q":', index=0, id="a"), call("find", '"x"}', index=0, id="a"), call("look", '{"y":', index=1, id="b"),
        call("look", "1}", index=1),
    ), calls=TOOLS, **CALLED),
    Habit("an empty name and id in later parts", calling(
        call("find", '{"q":', index=0, id="a"), call("", '"x"}', index=0, id=""), call("look", '{"y":1}', index=1, id="b"),
    ), calls=TOOLS, **CALLED),
    Habit("arguments as an object", calling(call("find", {"q": "x"}, index=0, id="a"), call("look", {"y": 1}, index=1, id="b")), calls=TOOLS, **CALLED),
    Habit("indexes as text, in turn", calling(
        call("find", '{"q":', index="0", id="a"), call("look", '{"y":', index="1", id="b"),
        call(None, '"x"}', index="0"), call(None, "1}", index="1"),
    ), calls=TOOLS, **CALLED),
    Habit("indexes from 1", calling(call("find", '{"q":"x"}', index=1, id="a"), call("look", '{"y":1}', index=2, id="b")), calls=TOOLS, **CALLED),
    Habit("indexes that are null", calling(
        call("find", '{"q":', index=None, id="a"), call(None, '"x"}', index=None), call("look", '{"y":1}', index=None, id="b"),
    ), calls=TOOLS, **CALLED),
    Habit("the same id for two calls", calling(
        call("find", '{"q":"x"}', index=0, id="call"), call("look", '{"y":1}', index=1, id="call"),
    ), calls=TOOLS, **CALLED),
    Habit("a new id in each part", calling(
        call("find", '{"q":', index=0, id="a1"), call(None, '"x"}', index=0, id="a2"), call("look", '{"y":1}', index=1, id="b1"),
    ), calls=TOOLS, **CALLED),
    Habit("calls in turn that all have index 0", calling(
        call("find", '{"q":', index=0, id="a"), call("look", '{"y":', index=0, id="b"),
        call(None, '"x"}', index=0, id="a"), call(None, "1}", index=0, id="b"),
    ), calls=TOOLS, **CALLED),
    Habit("names in pieces", calling(
        call("fi", None, index=0, id="a"), call("nd", '{"q":"x"}', index=0), call("lo", "", index=1, id="b"), call("look", '{"y":1}', index=1),
    ), calls=TOOLS, **CALLED),
    Habit("calls without the object of the function", calling(
        {"index": 0, "id": "a", "name": "find", "arguments": '{"q":"x"}'}, {"index": 1, "id": "b", "name": "look", "arguments": '{"y":1}'},
    ), calls=TOOLS, **CALLED),
    Habit("calls in no list", sse(
        chunk({"tool_calls": call("find", '{"q":"x"}', index=0, id="a")}), chunk({"tool_calls": call("look", '{"y":1}', index=1, id="b")}),
        chunk({}, "tool_calls"), COUNT, "[DONE]",
    ), calls=TOOLS, **CALLED),
    Habit("a function that is null", calling({"index": 0, "id": "a", "type": "function", "function": None}, call("find", "{}", index=0)), calls=[("find", "{}")], **CALLED),
    Habit("null arguments", calling(call("find", "{}", index=0, id="a"), {"index": 0, "function": {"arguments": None}}), calls=[("find", "{}")], **CALLED),
]  # fmt: skip

LEGACY_CALL = [
    Habit("the legacy function_call", sse(
        chunk({"function_call": {"name": "find", "arguments": ""}}), chunk({"function_call": {"name": "find", "arguments": '{"q":'}}),
        chunk({"function_call": {"arguments": '"x"}'}}), chunk({}, "function_call"), COUNT, "[DONE]",
    ), text="", calls=TOOLS[:1], finish="function_call"),
    Habit("the legacy function_call in one JSON", whole(None, reason="function_call", function_call={"name": "find", "arguments": '{"q":"x"}'}), JSON, text="", calls=TOOLS[:1], finish="function_call"),
]  # fmt: skip

REFUSALS = [
    Habit(name, body, JSON, "", reason, status=status, head=status, tokens=0)
    for name, body, reason, status in [
        ("OpenAI's refusal", b'{"error":{"message":"No such model","code":"model_not_found"}}', "No such model", 404),
        ("Ollama's", b'{"error":"model \\"x\\" not found"}', 'model "x" not found', 404),
        ("vLLM's", b'{"object":"error","message":"Too long","type":"BadRequestError","code":400}', "Too long", 400),
        ("FastAPI's", b'{"detail":"Not authenticated here"}', "Not authenticated here", 403),
        ("FastAPI's list", b'{"detail":[{"loc":["body","n"],"msg":"too small","type":"v"}]}', "body.n: too small", 422),
        ("a flat message", b'{"message":"Quota is over"}', "Quota is over", 402),
        ("Gemini's list", b'[{"error":{"code":400,"message":"Bad key","status":"INVALID_ARGUMENT"}}]', "Bad key", 400),
        ("Azure's filter", b'{"error":{"message":"Filtered","code":"content_filter","innererror":{"code":"RAI"}}}', "Filtered", 400),
        ("OpenRouter's provider", b'{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"tools missing"}}}', "tools missing", 400),
        ("errors", b'{"success":false,"errors":[{"code":7003,"message":"No route"}]}', "No route", 400),
        ("HTML", b"<html><title>403 Forbidden</title></html>", "403 Forbidden", 403),
        ("nothing", b"", "400", 400),
        ("a kind beside a sentence", b'{"timestamp":1,"status":404,"error":"Not Found","message":"No such route"}', "Not Found: No such route", 404),
        ("an error that is true", b'{"error":true,"reason":"No such tool"}', "No such tool", 400),
        ("another spelling", b'{"Message":"Access denied"}', "Access denied", 403),
        ("a fault", b'{"fault":{"faultstring":"Over quota","detail":{"errorcode":"x"}}}', "Over quota", 402),
        ("a reason within data", b'{"data":{"error":{"message":"No such tool"}}}', "No such tool", 400),
        ("Azure's inner error alone", b'{"error":{"code":"x","innererror":{"message":"Too hot"}}}', "Too hot", 400),
        ("an event stream", b'event: error\ndata: {"message":"Too hot"}\n\n', "Too hot", 400),
        ("not implemented", b'{"error":{"message":"Not here"}}', "Not here", 501),
    ]
]  # fmt: skip

HABITS = [*NOISE, *WHOLES, *FAILURES, *USAGES, *CALLS, *LEGACY_CALL, *REFUSALS]
