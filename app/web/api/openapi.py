"""`/openapi.json`: the operations as OpenAPI 3.1; `/docs`: the same as a page of our own, without anyone's CDN."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from flask import Blueprint, Response, jsonify, render_template

from ...core.errors import CATALOGUE
from ...core.message import Publish
from ..edge.auth import HOST_COOKIE
from .admin import Order
from .operations import OPERATIONS, PROBLEM, Access, Operation

# The refusals that come with asking for a credential at all.
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
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(CATALOGUE)},
    },
}
_OPENAI_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code")},
        },
    },
}


def blueprint(version: str) -> Blueprint:
    """The views of `/openapi.json` and `/docs`."""
    views = Blueprint("openapi", __name__)
    made = document(version)

    @views.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(made)

    @views.get("/docs")
    def docs() -> str:
        return render_template("openapi/docs.html", operations=OPERATIONS, refusals=refusals, catalogue=CATALOGUE)

    return views


def document(version: str) -> dict[str, Any]:
    """The OpenAPI document."""
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method.lower()] = _described(operation)
    schemas = {model.__name__: model for model in (Publish, Order)}
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
            "schemas": {
                "Problem": _PROBLEM_SCHEMA,
                "OpenAIError": _OPENAI_ERROR_SCHEMA,
                **{name: _inlined(model.model_json_schema()) for name, model in schemas.items()},
            },
        },
    }


def refusals(operation: Operation) -> dict[int, list[str]]:
    """The codes of an operation's problems by status."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys((*_REFUSALS[operation.access], *operation.refusals)):
        by_status[CATALOGUE[code][0]].append(code)
    return dict(sorted(by_status.items()))


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": operation.summary, "responses": _responses(operation)}
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body:
        content = {media: {"schema": schema} for media, schema in operation.body.items()}
        described["requestBody"] = {"required": True, "content": content}
    if operation.access in {Access.SCOPE, Access.TOKEN}:
        described["security"] = [{"bearer": [scope]} for scope in operation.scopes] or [{"bearer": []}]
    if operation.access is Access.SCOPE:
        described["security"].append({"session": []})
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {"description": "Done", **({"content": {media: {}}} if media else {})}
        for status, media in operation.answers.items()
    }
    name = "Problem" if operation.refused_in == PROBLEM else "OpenAIError"
    for status, codes in refusals(operation).items():
        problem = responses.setdefault(str(status), {"description": "", "content": {}})
        problem["description"] = ", ".join(codes)
        problem.setdefault("content", {})[operation.refused_in] = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    return responses


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without definitions of its own: each is put where it is named."""
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            return resolved(definitions[name]) if name else {key: resolved(value) for key, value in part.items()}
        return [resolved(item) for item in part] if isinstance(part, list) else part

    inlined: dict[str, Any] = resolved(schema)
    return inlined
