"""The reference of the HTTP interface, from the same descriptions as `/openapi.json`."""

from __future__ import annotations

import re
from typing import Final

from jinja2 import Environment, FileSystemLoader

from app.factory import TEMPLATES
from app.web.api import openapi
from app.web.api.described import described
from app.web.api.operations import OPERATIONS

TEMPLATE: Final = "openapi/operations.html"
HEAD: Final = """# HTTP reference

Every call of the HTTP interface, with its parameters, bodies, answers, examples and refusals. [HTTP API](../http.md)
explains how the calls work together. A running server has the same as `/openapi.json`, for generators of clients.

"""


def page() -> str:
    """Return the page as Markdown with HTML in it."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    html = environment.get_template(TEMPLATE).render(openapi.shown())
    return HEAD + "```{raw} html\n" + re.sub(r"\n\s*\n+", "\n", html) + "\n```\n"


def entries(address: str) -> list[dict[str, str]]:
    """Return the calls as entries of the search index; `address` is that of the page."""
    return [
        {
            "title": f"{operation.method} {operation.path}",
            "page": "HTTP reference",
            "address": f"{address}#{described(operation).id}",
            "text": f"{operation.summary}.",
        }
        for operation in OPERATIONS
    ]
