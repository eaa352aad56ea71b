"""How a governed call's end is told to an MCP client: the server's own result or error, or a refusal of the gateway.

A refusal of a tool call is a result with `isError`, so that a model reads it. It names the reason code and the next
step, and no policy. Everything else is refused by an error of the protocol.
"""

from __future__ import annotations

import json
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR

from macaw.gateway.fail_open import LogAwayError
from producers.kafka.outcomes import (
    CallError,
    DeniedError,
    FailedError,
    NoAnswerError,
    UnknownOutcomeError,
    explain,
    place_of_denial,
)
from producers.tools.execution import ReportedFailureError
from schemas.errors import MacawError

DENIED: Final = -32003  # of the codes that JSON-RPC leaves to servers
META: Final = "io.github.macaw/decision"
UNDECIDED: Final = "LOG_AWAY"
_RESULT, _ERROR = "mcp_result", "mcp_error"


def failure_of(result: dict[str, Any]) -> ReportedFailureError:
    """Return the failure that a tool's host reports for a result with `isError`: the log says `failed`."""
    return ReportedFailureError({_RESULT: result})


def without_decision(result: Any) -> Any:
    """Return a server's result without a decision of the log, which the gateway alone may tell."""
    meta = result.get("_meta") if isinstance(result, dict) else None
    if not isinstance(meta, dict) or META not in meta:
        return result
    return {**result, "_meta": {name: value for name, value in meta.items() if name != META}}


def marked_undecided(result: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a server's result with the word that the log has decided nothing of it; `number` is its journal's."""
    meta = result.get("_meta")
    kept = meta if isinstance(meta, dict) else {}
    return {**result, "_meta": {**kept, META: {"reason": UNDECIDED, "line": number}}}


def failure_of_error(error: MCPError) -> ReportedFailureError:
    """Return the failure that a tool's host reports for an error of the server, which cannot be one of the gateway."""
    code = INTERNAL_ERROR if error.error.code == DENIED else error.error.code
    told = {"code": code, "message": error.error.message}
    if error.error.data is not None:
        told["data"] = error.error.data
    return ReportedFailureError({_ERROR: told})


def told(exc: MacawError, *, is_tool: bool) -> dict[str, Any]:
    """Return the result for the client of a call that gave none. Raises MCPError instead where that is the form."""
    if isinstance(exc, FailedError) and exc.answer is not None:
        said = _body_of(exc)
        if isinstance(result := said.get(_RESULT), dict):
            return result
        if isinstance(error := said.get(_ERROR), dict):
            raise MCPError(int(error.get("code", INTERNAL_ERROR)), str(error.get("message", "")), error.get("data"))
    reason = exc.reason if isinstance(exc, CallError) else type(exc).__name__
    if isinstance(exc, LogAwayError):
        reason = UNDECIDED
    text, decision = _sentence(exc, reason), _decision(exc, reason)
    if is_tool:
        return {"content": [{"type": "text", "text": text}], "isError": True, "_meta": {META: decision}}
    raise MCPError(DENIED, text, decision)


def _body_of(exc: FailedError) -> dict[str, Any]:
    try:
        said = json.loads((exc.answer.text() if exc.answer is not None else "") or "null")
    except (ValueError, RecursionError, MacawError):
        return {}
    return said if isinstance(said, dict) else {}


def _sentence(exc: MacawError, reason: str) -> str:
    if isinstance(exc, DeniedError):
        place = place_of_denial(exc)
        where = f" ({place})" if place else ""
        return f"Denied: {reason}{where}. {explain(reason).capitalize()}. Do not try to reach the same by other means."
    if isinstance(exc, UnknownOutcomeError):
        return "Unknown: whether the server has acted is not known; look for its effect before you ask again."
    if isinstance(exc, NoAnswerError):
        return f"No answer: {reason}. Whether the call ran is not known; look for its effect before you ask again."
    if isinstance(exc, LogAwayError):
        return f"Refused: {reason}. {exc}."
    if isinstance(exc, FailedError):
        return f"Failed: {_body_of(exc).get('error', 'the server gave no reason')}"
    return f"Refused: {reason}. {explain(reason).capitalize()}".rstrip(". ") + "."


def _decision(exc: MacawError, reason: str) -> dict[str, str]:
    answer = exc.answer if isinstance(exc, CallError) else None
    event = answer.result.event_id.hex() if answer is not None else getattr(exc, "event_id", "")
    return {"reason": reason, "event": event} if event else {"reason": reason}
