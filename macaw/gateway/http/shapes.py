"""The JSON schemas of requests and answers: bodies are held against them, and the OpenAPI document prints them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs

from macaw.gateway.http import bounds
from schemas import limits
from schemas.words import Outcome

Schema = Mapping[str, Any]

CALL_ID: Final = "^[0-9a-f]{32}$"
DIGEST: Final = "^[0-9a-f]{64}$"


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, **more: Any) -> Schema:
    """Return the schema of an object with these members and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": [*required],
        "additionalProperties": False,
        **more,
    }


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _time(description: str) -> Schema:
    return {"type": "integer", "description": f"{description}, in ms since the epoch"}


_NAME = _text("a resource, as `tool:bank/transfer`", minLength=1, maxLength=limits.RESOURCE_CHARS_MAX)
_IDS = {
    "call_id": _text("the id of the call, for GET /v1/calls/{call_id}", pattern=CALL_ID),
    "request": _text("the digest of the call's event, by which its approvers know it", pattern=DIGEST),
}
_CALL = {
    "resource": _NAME,
    "parameters": {"type": "object", "description": "the parameters, as the tool declares them"},
}
_CALL_OPTIONS = {
    "target": _text("the session that shall execute the call, where several offer the resource", pattern=DIGEST),
    "delegation": _text("the id of a delegation: the call is made for the principal that granted it",
                        pattern=DIGEST),
    "idempotency_key": _text(
        "of a principal's calls with one key at most one is executed within a day",
        minLength=1, maxLength=limits.IDEMPOTENCY_KEY_BYTES_MAX,
    ),
    "deadline_seconds": {
        "type": "number", "minimum": 0.001, "maximum": limits.SESSION_TTL_MS_MAX / 1000,
        "description": "the call does not begin once so many seconds have passed, even if people agree to it later",
    },
    "secrets": {
        "type": "array", "maxItems": limits.BODIES_PER_CALL_MAX,
        "items": _text("a path of the parameters, as `api_key`", minLength=1, maxLength=limits.NAME_CHARS_MAX),
        "description": "parameters whose texts no policy, log or page may have: they are sealed to the tool",
    },
}  # fmt: skip
_WAIT = {
    "wait_seconds": {
        "type": "number", "minimum": bounds.WAIT_SECONDS_MIN, "maximum": bounds.WAIT_SECONDS_MAX,
        "default": bounds.WAIT_SECONDS,
        "description": "how long this request waits. A call that has no answer by then does not begin any more",
    }
}  # fmt: skip
_ENDS = (Outcome.OK, Outcome.FAILED)
_COUNTED = {
    "items": {"type": ["integer", "null"], "description": "how many items the tool's signed report counts"},
    "bytes": {"type": ["integer", "null"], "description": "their size in that report"},
    "sha256": {"type": ["string", "null"], "description": "their digest in that report, as the log has it"},
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Login": _object(
        {"token": _text("a token (JWT) of the person's or workload's identity provider", minLength=1,
                        maxLength=bounds.TOKEN_CHARS_MAX)}
    ),
    "Session": _object(
        {
            "session": _text("the handle: it is shown once. Send it as `Authorization: Bearer`"),
            "principal": _text("the name on the log, as `user:ann`"),
            "expires_at": _time("the end of the session"),
            "idle_seconds": {"type": "integer", "description": "the rest after which the session ends before that"},
        }
    ),
    "SessionState": _object(
        {"principal": _text("the name on the log, as `user:ann`"), "expires_at": _time("the end of the session")}
    ),
    "Call": _object(_CALL, {**_CALL_OPTIONS, **_WAIT}),
    "StreamCall": _object(_CALL, _CALL_OPTIONS),
    "CallEnded": _object(
        {**_IDS, "outcome": {"enum": [*_ENDS]}},
        {
            "result": {"description": "the tool's result, if the outcome is ok"},
            "error": _text("the tool's own words, if it failed"),
            "reason": _text("a reason code, empty without one"),
        },
    ),
    "CallPending": _object(
        {
            **_IDS,
            "outcome": {"const": Outcome.PENDING},
            "waits_for": {"enum": ["approval", "verdict"]},
            "until": {"type": ["integer", "null"], "description": "the end of the wait, in ms since the epoch"},
        }
    ),
    "StreamEnded": _object(
        {**_IDS, "outcome": {"enum": [*_ENDS]}, **_COUNTED},
        {"error": _text("the tool's own words, if it failed"), "reason": _text("a reason code, empty without one")},
    ),
    "StreamItem": _object({"index": {"type": "integer", "minimum": 0}, "value": {}}),
    "StreamCalled": _object(_IDS),
    "Request": {
        "type": "object",
        "description": "a question to approvers, as the log tells it",
        "properties": {
            "request": _text("the digest of the call's event", pattern=DIGEST),
            "key": _text("the attestation that is asked for"),
            "resource": _text("the resource of the call"),
            "for_user": {"type": ["string", "null"]},
            "for_agent": {"type": ["string", "null"]},
            "approved_by": {"type": "array", "items": {"type": "string"}},
            "quorum": {"type": "integer"},
            "asked_at": _time("the time of the question"),
            "open_until": _time("the end of the time for an answer"),
            "parameters_sha256": _text("the digest of the parameters, for the answer", pattern=DIGEST),
        },
        "required": ["request", "key", "resource", "parameters_sha256"],
    },
    "Approvals": _object({"requests": {"type": "array", "items": {"$ref": "#/components/schemas/Request"}}}),
    "ShownCall": _object(
        {
            "request": _text("the digest of the call's event", pattern=DIGEST),
            "resource": _text("the resource of the call"),
            "principal": _text("the caller who signed it"),
            "parameters": {"type": "object", "description": "the exact parameters that the tool would get"},
            "parameters_sha256": _text("their digest, for the answer", pattern=DIGEST),
            "masked": {
                "type": "array", "items": {"type": "string"},
                "description": "JSON pointers to values in whose place the tool gets fixed tokens",
            },
            "requests": {"type": "array", "items": {"$ref": "#/components/schemas/Request"}},
        }
    ),
    "ApprovalAnswer": _object(
        {
            "answer": {"enum": ["approve", "deny"]},
            "parameters_sha256": _text("the digest that was shown with the parameters", pattern=DIGEST),
        },
        {
            "key": _text("which of the call's requests, if it has several", minLength=1,
                         maxLength=limits.NAME_CHARS_MAX),
            "reason": _text("the reason, for the log", maxLength=bounds.REASON_CHARS_MAX),
        },
    ),
    "ApprovalTaken": _object({"request": _text("the digest of the call's event", pattern=DIGEST),
                              "key": _text("the attestation that was answered"),
                              "answer": {"enum": ["approve", "deny"]}}),
    "Tool": _object(
        {
            "resource": _NAME,
            "offered_by": _text("the tool on the log that offers it"),
            "description": _text("what it does, in its owner's words"),
            "streams": {"type": "boolean", "description": "whether POST /v1/calls/stream gives its items one by one"},
            "idempotent": {"type": "boolean", "description": "whether a second execution has no further effect"},
        },
        {
            "input_schema": {"type": "object", "description": "the JSON schema of its parameters"},
            "output_schema": {"type": "object", "description": "the JSON schema of its result"},
        },
    ),
    "Tools": _object(
        {
            "tools": {"type": "array", "items": {"$ref": "#/components/schemas/Tool"}},
            "next": {"type": ["string", "null"], "description": "the `after` of the next page"},
        }
    ),
    "Problem": {
        "type": "object",
        "description": "problem details (RFC 9457)",
        "properties": {
            "type": {"const": "about:blank"},
            "title": _text("the phrase of the status"),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": _text("the fault and its place"),
            "code": _text("the fault, for programs: docs/http.md lists all", pattern="^[A-Z_]+$"),
            "next": _text("the next step of the caller"),
            "reason": _text("the log's reason code: docs/reasons.md lists all"),
            **_IDS,
            "outcome": _text("how the call ended, as far as it is known"),
            "earlier_call_id": _text("the call that has used up the idempotency key", pattern=CALL_ID),
            "earlier_outcome": _text("its outcome"),
            "ready": {"type": "boolean"},
        },
        "required": ["type", "title", "status", "detail", "code", "next"],
        "additionalProperties": False,
    },
    "Document": {"type": "object"},
    "Health": {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]},
}  # fmt: skip


def fault_in(name: str, body: object) -> str | None:
    """Return the fault of a body and its place, without any value of it; None if it is as its schema says."""
    error = next(iter(_validator(name).iter_errors(body)), None)
    if error is None:
        return None
    place = "/".join(str(one)[:64] for one in error.instance_path) or "the body"
    if "additionalProperties" in list(error.schema_path):  # its message would quote the member's name
        return f"{place}: has a member that is not described"
    return f"{place}: {error.message[:200]}"


@functools.lru_cache(maxsize=len(SCHEMAS))
def _validator(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({**SCHEMAS[name], "components": {"schemas": SCHEMAS}}, mask="the value")
