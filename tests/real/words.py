"""A language model of a few words for llama.cpp, as a GGUF file. The prompt's last character decides what it answers.

Each token has one that follows it. A token's embedding is a unit vector that stands for its follower, the attention and
the feed-forward network add nothing, and the output layer turns the vector into the follower. The format is that of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

TEXT: Final = "Hello wörld"
CALL: Final = ("find", '{"q": "x"}')
HELLO, ENDLESS, CALLS = "!", "?", "#"  # the last character of a prompt, and so what is answered

_STATES: Final = 64  # the width of the model: more than there are followers
_FEED_FORWARD: Final = 32
_CERTAINTY: Final = 64.0  # so that no temperature chooses another token
_CONTEXT_TOKENS: Final = 131_072
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6  # kinds of tokens
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9  # kinds of values
_PACKED: Final = {_U32: "<I", _I32: "<i", _F32: "<f", _BOOL: "<?"}
_END: Final = "</s>"
_CALL_TEXT: Final = f'<tool_call>\n{{"name": "{CALL[0]}", "arguments": {CALL[1]}}}\n</tool_call>'
_FOLLOWERS: Final = {
    HELLO: "Hello",
    "Hello": " wörld",
    ENDLESS: "one ",
    "one ": "two ",
    "two ": "three ",
    "three ": "one ",
    CALLS: _CALL_TEXT,
}
# By this template llama.cpp learns how the model calls tools.
_TEMPLATE: Final = r"""
{%- if tools %}{{- '# Tools\n<tools>' }}{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\n</tools>\n' }}{%- endif %}
{%- for message in messages %}
{%- if message.tool_calls %}{%- for call in message.tool_calls %}
{{- '<tool_call>\n{"name": "' }}{{- call.function.name }}{{- '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}
{%- else %}{{- message.content }}{%- endif %}{%- endfor %}
""".strip()

_Value = str | int | float | bool


class _Tensor(NamedTuple):
    name: str
    shape: list[int]  # the innermost dimension first
    values: array[float]


def write(path: Path) -> None:
    """Write the model there."""
    words = [word for word in dict.fromkeys([*_FOLLOWERS, *_FOLLOWERS.values()]) if len(word) > 1]
    tokens = ["<unk>", "<s>", _END, *[f"<0x{byte:02X}>" for byte in range(256)], *words]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_USER_DEFINED] * len(words)]
    tensors = _tensors(tokens)
    members = _members(tokens, kinds)
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(members)), *members]
    data = b""
    for name, shape, values in tensors:
        sizes = struct.pack(f"<{len(shape)}Q", *shape)
        head += [_text(name), struct.pack("<I", len(shape)), sizes, struct.pack("<IQ", 0, len(data))]
        data += values.tobytes()  # each has a multiple of 32 bytes, as the format asks
    text = b"".join(head)
    path.write_bytes(text + bytes(-len(text) % 32) + data)


def _tensors(tokens: Sequence[str]) -> list[_Tensor]:
    numbers = {token: number for number, token in enumerate(tokens)}
    numbers |= {character: 3 + ord(character) for character in _FOLLOWERS if len(character) == 1}
    followers = {numbers[token]: numbers[follower] for token, follower in _FOLLOWERS.items()}
    states = sorted({numbers[_END], *followers.values()})
    embeddings, outputs = _zeros(len(tokens)), _zeros(len(tokens))
    for token in range(len(tokens)):
        embeddings[token * _STATES + states.index(followers.get(token, numbers[_END]))] = 1.0
    for state, follower in enumerate(states):
        outputs[follower * _STATES + state] = _CERTAINTY
    ones = array("f", [1.0] * _STATES)
    square, wide = _zeros(_STATES), _zeros(_FEED_FORWARD)
    return [
        _Tensor("token_embd.weight", [_STATES, len(tokens)], embeddings),
        _Tensor("output_norm.weight", [_STATES], ones),
        _Tensor("output.weight", [_STATES, len(tokens)], outputs),
        *[_Tensor(f"blk.0.{name}_norm.weight", [_STATES], ones) for name in ("attn", "ffn")],
        *[_Tensor(f"blk.0.attn_{name}.weight", [_STATES, _STATES], square) for name in ("q", "k", "v", "output")],
        *[_Tensor(f"blk.0.ffn_{name}.weight", [_STATES, _FEED_FORWARD], wide) for name in ("gate", "up")],
        _Tensor("blk.0.ffn_down.weight", [_FEED_FORWARD, _STATES], wide),
    ]


def _zeros(rows: int) -> array[float]:
    return array("f", bytes(4 * rows * _STATES))


def _members(tokens: Sequence[str], kinds: Sequence[int]) -> list[bytes]:
    numbers: Mapping[str, int] = {
        "general.alignment": 32,
        "llama.context_length": _CONTEXT_TOKENS,
        "llama.embedding_length": _STATES,
        "llama.block_count": 1,
        "llama.feed_forward_length": _FEED_FORWARD,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": _STATES // 2,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    return [
        _member("general.architecture", _STRING, "llama"),
        _member("llama.attention.layer_norm_rms_epsilon", _F32, 1e-5),
        *[_member(name, _U32, value) for name, value in numbers.items()],
        _member("tokenizer.ggml.model", _STRING, "llama"),
        _list("tokenizer.ggml.tokens", _STRING, tokens),
        _list("tokenizer.ggml.scores", _F32, [0.0] * len(tokens)),
        _list("tokenizer.ggml.token_type", _I32, kinds),
        _member("tokenizer.ggml.add_bos_token", _BOOL, False),
        _member("tokenizer.ggml.add_space_prefix", _BOOL, False),
        _member("tokenizer.chat_template", _STRING, _TEMPLATE),
    ]


def _member(name: str, kind: int, value: _Value) -> bytes:
    return _text(name) + struct.pack("<I", kind) + _packed(kind, value)


def _list(name: str, kind: int, values: Sequence[_Value]) -> bytes:
    head = _text(name) + struct.pack("<IIQ", _ARRAY, kind, len(values))
    return head + b"".join([_packed(kind, value) for value in values])


def _packed(kind: int, value: _Value) -> bytes:
    return _text(str(value)) if kind == _STRING else struct.pack(_PACKED[kind], value)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded
