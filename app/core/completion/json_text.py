"""JSON: reads what upstreams write, with tolerance, and writes JSON that every parser accepts.

Python's `json` reads and writes `NaN`, `Infinity` and lone surrogates. RFC 8259 has no such numbers, and a text with a
lone surrogate can't be encoded in UTF-8.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import jiter

BOM: Final = "\ufeff"
_INT_MAX_DIGITS: Final = 4_000  # int() refuses more than 4,300 digits
# An escaped surrogate without its other half. A match may also be a harmless `\\ud800`. Then the text is only checked
# once more.
_HALF: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
# A string, or a name of a number that is not finite. A string without an end is read only once.
_NOT_FINITE: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[-+]?\b(?:nan|inf(?:inity)?)\b', re.IGNORECASE | re.DOTALL)
# Between the tokens of JSON, any line end may be a space.
_LINE_ENDS: Final = str.maketrans("\r\n", "  ")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < _INT_MAX_DIGITS else float(digits)


_STRICT: Final = json.JSONDecoder(parse_constant=_refuse)
_TOLERANT: Final = json.JSONDecoder(strict=False, parse_constant=lambda _: None, parse_int=_whole_number)
_WRITER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def text_in(body: bytes) -> str:
    """Return the text of JSON in UTF-8, UTF-16 or UTF-32, which its first bytes show. Other bytes become U+FFFD."""
    return body.decode(json.detect_encoding(body), errors="replace").lstrip(BOM)


def read(text: str) -> tuple[Any, str]:
    """Return the value of a JSON text, and the text on one line for passing on. Valid JSON stays unchanged.

    Raises ValueError.
    """
    # No number in it can be too long. Most chunks are this short.
    if len(text) < _INT_MAX_DIGITS:
        try:
            return jiter.from_json(text.encode(), allow_inf_nan=False, cache_mode="keys"), _on_one_line(text)
        except ValueError:  # jiter refuses more than Python does
            pass
    try:
        value = _STRICT.decode(text)
    except (ValueError, RecursionError):
        value = _tolerantly(text)
        return value, written(value)
    if "\\u" in text and _HALF.search(text) and not _is_unicode(value):
        text = written(value)
        return json.loads(text), text
    return value, _on_one_line(text)


def _on_one_line(text: str) -> str:
    return text.translate(_LINE_ENDS) if "\n" in text or "\r" in text else text


def _tolerantly(text: str) -> Any:
    """Return the value of JSON with a BOM, `NaN`, `Infinity`, raw control characters or very long numbers.

    Raises ValueError.
    """
    text = text.lstrip(BOM)
    try:
        try:
            value = _TOLERANT.decode(text)
        except ValueError:
            # Programs in C write `nan` and `-inf`.
            named = _NOT_FINITE.sub(lambda found: found[0] if found[0][0] == '"' else "null", text)
            if named == text:
                raise
            value = _TOLERANT.decode(named)
        return cleaned(value)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def written(value: Any) -> str:
    """Return `value` as compact JSON that every parser accepts. NaN and Infinity become `null`, lone surrogates `?`."""
    try:
        text = _WRITER.encode(value)
    except ValueError:
        text = _WRITER.encode(_finite(value))
    return text.encode(errors="replace").decode()


def cleaned(value: Any) -> Any:
    """Return `value` as it is after `written` and parsing."""
    return json.loads(written(value))


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
