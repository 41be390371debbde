"""`/openapi.json`: the operations as OpenAPI 3.1. `/docs`: the same as a page, which loads nothing from a CDN."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request

from ...core.errors import CATALOGUE
from ..edge.auth import HOST_COOKIE
from .described import Contents, described
from .operations import OPERATIONS, PROBLEM, Access, Operation
from .schemas import SCHEMAS, ref

# The refusals of every operation that needs a credential.
_IDENTITY = (
    "token_missing", "token_invalid", "token_expired", "token_revoked", "ticket_invalid", "cross_site", "rate_limited",
    "keys_unavailable",
)  # fmt: skip
_REFUSALS = {
    Access.PUBLIC: (),
    Access.OWN_COOKIE: (),
    Access.SCOPE: (*_IDENTITY, "scope_missing"),
    Access.TOKEN: _IDENTITY,
    Access.PAGE: ("scope_missing",),
}
COOKIE_NAMES = f"On another port than 443 its number follows, as in `{HOST_COOKIE}_8443`."
_BODY = ("body_late", "body_broken")
_LIMITS = {
    "minLength": "length from", "maxLength": "length to", "minItems": "items from", "maxItems": "items to",
    "minimum": "from", "maximum": "to",
}  # fmt: skip
PAGES_KEPT = 4  # pages of `/docs`, one for each path prefix of a proxy
_LATER = frozenset({429, 503, 507})  # statuses after which a client retries
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds until it makes sense to try again.", "schema": {"type": "integer"}}
}


def blueprint(version: str) -> Blueprint:
    """Return the views of `/openapi.json` and `/docs`."""
    views = Blueprint("openapi", __name__)
    made = document(version)

    @views.get("/openapi.json")
    def openapi() -> Response:
        prefix = request.root_path  # of a proxy: without `servers`, a client takes the root of the host
        return jsonify({**made, "servers": [{"url": prefix}]} if prefix else made)

    @views.get("/docs")
    def docs() -> str:
        return page(request.root_path)

    # A worker needs 15 ms to make the page, and anyone may request it.
    @lru_cache(maxsize=PAGES_KEPT)
    def page(_prefix: str) -> str:
        return render_template("openapi/docs.html", **shown())

    return views


def shown() -> dict[str, Any]:
    """Return what the template `openapi/operations.html` shows."""
    return {
        "operations": OPERATIONS,
        "described": described,
        "refusals": refusals,
        "catalogue": CATALOGUE,
        "schemas": SCHEMAS,
        "limits": limits,
    }


def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Belfry", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": dict(paths),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": HOST_COOKIE,
                    "description": COOKIE_NAMES,
                },
            },
            "schemas": dict(SCHEMAS),
        },
    }


def refusals(operation: Operation) -> dict[int, list[str]]:
    """Return the codes of an operation's problems by status."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys((*_REFUSALS[operation.access], *operation.refusals, *(_BODY if operation.body else ()))):
        by_status[CATALOGUE[code][0]].append(code)
    return dict(sorted(by_status.items()))


def _described(operation: Operation) -> dict[str, Any]:
    told = described(operation)
    found: dict[str, Any] = {
        "operationId": told.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if operation.parameters:
        found["parameters"] = list(operation.parameters)
    if told.body:
        found["requestBody"] = {"required": True, "content": _contents(told.body)}
    if operation.access in {Access.SCOPE, Access.TOKEN}:
        found["security"] = [{"bearer": [scope]} for scope in operation.scopes] or [{"bearer": []}]
    if operation.access is Access.SCOPE:
        found["security"].append({"session": []})
    return found


def _contents(contents: Contents) -> dict[str, Any]:
    return {media: content.written() for media, content in contents.items()}


def _responses(operation: Operation) -> dict[str, Any]:
    """Return the answers by status. `default` stands for refusals of any request, such as 404, 405 and 500."""
    responses: dict[str, Any] = {
        str(status): {"description": "Done", **({"content": _contents(contents)} if contents else {})}
        for status, contents in described(operation).answers.items()
    }
    problem = {operation.refused_in: {"schema": ref("Problem" if operation.refused_in == PROBLEM else "OpenAIError")}}
    for status, codes in refusals(operation).items():
        refused = responses.setdefault(str(status), {"description": "", "content": {}})
        refused["description"] = ", ".join(codes)
        refused.setdefault("content", {}).update(problem)
        if status in _LATER:
            refused["headers"] = _RETRY_AFTER
    responses["default"] = {"description": "Any other refusal", "content": problem}
    return responses


def limits(schema: Mapping[str, Any]) -> str:
    """Return the text of `/docs` about a member's type and limits."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join([limits(choice) for choice in choices])
    if "const" in schema or "enum" in schema:
        return " | ".join([json.dumps(value) for value in schema.get("enum", [schema.get("const")])])
    kind = schema.get("type", "any JSON")
    words = [" or ".join(kind) if isinstance(kind, list) else str(kind)]
    words += [f"of {limits(schema['items'])}"] if "items" in schema else []
    words += [f"{word} {schema[name]:,}" for name, word in _LIMITS.items() if name in schema]
    words += [f"matching {schema['pattern']}"] if "pattern" in schema else []
    return ", ".join(words)
