"""Finds the short fields of a `multipart/form-data` body (RFC 7578) without copying the files in it.

The body itself passes to the upstream unchanged. Each step searches for the next boundary, so reading takes time in
proportion to the length.
"""

from __future__ import annotations

from typing import Final

from ..errors import BelfryError

MAX_PARTS: Final = 1_000
HEAD_MAX_BYTES: Final = 4_096  # of the head of one part
VALUE_MAX_BYTES: Final = 65_536  # a longer part is not a field that Belfry reads
BOUNDARY_MAX_CHARS: Final = 70  # RFC 2046, 5.1.1
_END: Final = b"\r\n"


def fields_of(content_type: str, body: bytes) -> dict[str, list[str]]:
    """Return the values of each field that is not a file, by name. Raises `BelfryError` `invalid_completion`."""
    boundary = _boundary(content_type)
    found: dict[str, list[str]] = {}
    start, end = _next(body, boundary, 0)
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", end):
            return found
        start, following = _next(body, boundary, end)
        _read(body, end, start, found)
        end = following
    raise _invalid(f"at most {MAX_PARTS} parts", "more")


def with_field(content_type: str, body: bytes, name: str, value: str) -> bytes:
    """Return the body with one more field before all others."""
    boundary = _boundary(content_type)
    _, end = _next(body, boundary, 0)
    field = f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    return boundary + field + boundary + body[end:]


def _boundary(content_type: str) -> bytes:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        boundary = value.strip().strip('"')
        if name.strip().lower() == "boundary" and 0 < len(boundary) <= BOUNDARY_MAX_CHARS:
            return b"--" + boundary.encode(errors="replace")
    raise _invalid(f"a boundary of 1 to {BOUNDARY_MAX_CHARS} characters in Content-Type", "none")


def _next(body: bytes, boundary: bytes, at: int) -> tuple[int, int]:
    """Return the start of the next line with the boundary, including the line end before it, and the boundary's end."""
    if at == 0 and body.startswith(boundary):
        return 0, len(boundary)
    line = _END + boundary
    while (start := body.find(line, at)) >= 0:
        at = start + len(line)
        if body[at : at + 2] in (b"--", _END) or body[at : at + 1] in (b" ", b"\t"):
            return start, at
    raise _invalid("the line with the last boundary", "a form that ends before it")


def _read(body: bytes, start: int, end: int, found: dict[str, list[str]]) -> None:
    """Add the field of the part from `start` to `end` to `found`."""
    blank = body.find(_END * 2, start, min(end, start + HEAD_MAX_BYTES))
    begins = blank + len(_END * 2)
    if blank < 0 or end - begins > VALUE_MAX_BYTES:
        return
    for line in body[start:blank].split(_END):
        name, _, text = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            parameters = _parameters(text.decode(errors="replace"))
            if "name" in parameters and "filename" not in parameters:
                found.setdefault(parameters["name"], []).append(body[begins:end].decode(errors="replace"))


def _parameters(text: str) -> dict[str, str]:
    pairs = [parameter.partition("=") for parameter in text.split(";")[1:]]
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _invalid(expected: str, got: str) -> BelfryError:
    return BelfryError("invalid_completion", f"multipart/form-data: expected {expected}, got {got}.")
