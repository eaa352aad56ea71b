"""The OpenAPI document of the gateway, made from the table that serves it (OpenAPI 3.1.1)."""

from __future__ import annotations

from typing import Any

from macaw.gateway.http.operations import JSON, OPERATIONS, HTTPOperation, Told
from macaw.gateway.http.shapes import SCHEMAS, Schema
from streams.http import HEALTH
from streams.http.refusals import PROBLEM_TYPE


def openapi(url: str) -> dict[str, Any]:
    """Return the OpenAPI document (3.1.1) of a gateway at a URL."""
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    health = Told("It serves.", "Health")
    paths[HEALTH] = {
        "get": {
            "operationId": "health",
            "summary": "Say whether the log is followed",
            "security": [],
            "responses": {"200": _response(health), "503": {"$ref": "#/components/responses/Problem"}},
        }
    }
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "macaw gateway",
            "version": "1",
            "summary": "Calls that are signed, decided and logged before they run, and approvals of them.",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {"Problem": _response(Told("Problem details (RFC 9457).", "Problem", PROBLEM_TYPE))},
            "securitySchemes": {
                "session": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "the handle of POST /v1/sessions, in this header only",
                },
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "a token of the identity provider, to log in with",
                },
            },
        },
        "security": [{"session": []}],
    }


def _operation(one: HTTPOperation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "responses": {
            **{str(int(status)): _response(answer) for status, answer in one.told.items()},
            **{str(status): {"$ref": "#/components/responses/Problem"} for status in one.all_problems},
        },
    }
    if one.parameters:
        told["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.place == "path",
                "description": parameter.description,
                "schema": parameter.schema,
            }
            for parameter in one.parameters
        ]
    if one.body is not None:
        told["requestBody"] = {
            "required": not one.body_is_optional,
            "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{one.body}"}}},
        }
    if one.is_public:
        told["security"] = [{}, {"token": []}] if one.body is not None else []
    return told


def _response(told: Told) -> dict[str, Any]:
    if told.schema is not None:
        schema: Schema = {"$ref": f"#/components/schemas/{told.schema}"}
    elif told.media != JSON:
        schema = {"type": "string"}
    else:
        return {"description": told.description}  # no body
    return {"description": told.description, "content": {told.media: {"schema": schema}}}
