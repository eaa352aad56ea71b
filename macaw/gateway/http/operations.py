"""The endpoints of the gateway, as one table: the server answers it, and the OpenAPI document prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from macaw.gateway.http import bounds
from macaw.gateway.http.shapes import CALL_ID, DIGEST, Schema

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Told:
    """A good answer: its description, the name of its schema (None: no body), and its media type."""

    description: str
    schema: str | None = None
    media: str = JSON


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the path or the query, a text or a number by its schema."""

    name: str
    place: str
    description: str
    schema: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPOperation:
    """One endpoint. `body` names the schema of its request, `problems` the statuses of its refusals."""

    name: str
    method: str
    path: str
    summary: str
    told: Mapping[int, Told]
    problems: Sequence[int] = ()
    body: str | None = None
    body_is_optional: bool = False
    parameters: Sequence[Parameter] = field(default=())
    is_public: bool = False
    is_question: bool = False
    """Whether it asks the log a question that a principal may ask only a few of at a time."""
    needs_log: bool = True
    """Whether it is refused at once while the log is not followed."""

    @property
    def body_bytes_max(self) -> int:
        """The bound of its body in bytes, 0 if it takes none. A stranger sends less than a caller."""
        if self.body is None:
            return 0
        return bounds.LOGIN_BYTES_MAX if self.is_public else bounds.BODY_BYTES_MAX

    @property
    def all_problems(self) -> list[int]:
        """The statuses of all its refusals: its own, and those of the door."""
        door = {400, 403, 405, 408, 413, 421, 431, 500, 503, 505}
        return sorted(door | set(self.problems) | (set() if self.is_public else {401, 429}))


_CALL = Parameter("call_id", "path", "the id that the call was answered with", {"type": "string", "pattern": CALL_ID})
_REQUEST = Parameter("request", "path", "the digest of the call's event", {"type": "string", "pattern": DIGEST})
_WAIT = Parameter(
    "wait_seconds",
    "query",
    "how long this request waits for the end of the call",
    {"type": "number", "minimum": 0, "maximum": bounds.WAIT_SECONDS_MAX, "default": 0},
)
_AFTER = Parameter("after", "query", "the `next` of the page before", {"type": "string"})
_ENDED = Told("The call has ended: its tool's signed result, or its failure.", "CallEnded")
_PENDING = Told("People or verifiers are asked first.", "CallPending")

OPERATIONS: Final[Sequence[HTTPOperation]] = (
    HTTPOperation(
        name="login",
        method="POST",
        path="/v1/sessions",
        summary="Log in: open a session with a token, given in the body or as `Authorization: Bearer`",
        body="Login",
        body_is_optional=True,
        told={HTTPStatus.CREATED: Told("The session is open. Its handle is shown once.", "Session")},
        problems=(401, 429, 503),
        is_public=True,
    ),
    HTTPOperation(
        name="session",
        needs_log=False,
        method="GET",
        path="/v1/sessions/current",
        summary="Say whose session it is, and until when it lives",
        told={HTTPStatus.OK: Told("The session.", "SessionState")},
    ),
    HTTPOperation(
        name="logout",
        needs_log=False,
        method="DELETE",
        path="/v1/sessions/current",
        summary="End the session on the log, and drop its key",
        told={HTTPStatus.NO_CONTENT: Told("The session has ended.")},
        problems=(504,),
    ),
    HTTPOperation(
        name="tools",
        method="GET",
        path="/v1/tools",
        summary="List registered tools of which some call of this session could be allowed, with their schemas",
        parameters=(_AFTER,),
        told={HTTPStatus.OK: Told("A page of tools.", "Tools")},
        problems=(502, 504),
        is_question=True,
    ),
    HTTPOperation(
        name="call",
        method="POST",
        path="/v1/calls",
        summary="Call a tool: the call is signed, decided, and executed at most once",
        body="Call",
        told={HTTPStatus.OK: _ENDED, HTTPStatus.ACCEPTED: _PENDING},
        problems=(404, 409, 502, 504),
    ),
    HTTPOperation(
        name="stream",
        method="POST",
        path="/v1/calls/stream",
        summary="Call a tool that streams: the items come as server-sent events. To leave stops the tool",
        body="StreamCall",
        told={
            HTTPStatus.OK: Told(
                "Events `call` (StreamCalled), `pending` (CallPending), `item` (StreamItem), and at last `end` "
                "(StreamEnded) or `problem` (Problem).",
                media="text/event-stream",
            )
        },
        problems=(404, 409, 502, 504),
    ),
    HTTPOperation(
        name="come_back",
        needs_log=False,
        method="GET",
        path="/v1/calls/{call_id}",
        summary="Come back for the end of a call of this session",
        parameters=(_CALL, _WAIT),
        told={HTTPStatus.OK: _ENDED, HTTPStatus.ACCEPTED: _PENDING},
        problems=(404, 409, 502, 504),
    ),
    HTTPOperation(
        name="approvals",
        method="GET",
        path="/v1/approvals",
        summary="List the requests that this person may answer",
        told={HTTPStatus.OK: Told("The requests.", "Approvals")},
        problems=(502, 504),
        is_question=True,
    ),
    HTTPOperation(
        name="show_approval",
        method="GET",
        path="/v1/approvals/{request}",
        summary="Show a call that waits, with its exact parameters, as its caller signed it",
        parameters=(_REQUEST,),
        told={HTTPStatus.OK: Told("The call.", "ShownCall")},
        problems=(404, 409, 502, 504),
        is_question=True,
    ),
    HTTPOperation(
        name="answer_approval",
        method="POST",
        path="/v1/approvals/{request}",
        summary="Approve or deny a call that was shown; the digest of its parameters says which",
        body="ApprovalAnswer",
        parameters=(_REQUEST,),
        told={HTTPStatus.OK: Told("The answer stands on the log.", "ApprovalTaken")},
        problems=(404, 409, 502, 504),
        is_question=True,
    ),
    HTTPOperation(
        name="document",
        method="GET",
        path="/openapi.json",
        summary="This document",
        told={HTTPStatus.OK: Told("The OpenAPI document.", "Document")},
        is_public=True,
    ),
)
