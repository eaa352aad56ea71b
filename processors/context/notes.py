"""What applications note on the log: bounded, well formed, and without any effect but its audit entry."""

from __future__ import annotations

from processors.proof import jcs
from processors.refusal import Refusal
from schemas import limits
from schemas.reasons import Reason
from schemas.words import NotedOutcome
from schemas.workflow import ApplicationEventLogged

_OUTCOMES = frozenset(NotedOutcome)


def check_application_event(body: ApplicationEventLogged) -> None:
    """Check what an application notes. Raises Refusal APPLICATION_EVENT."""
    texts = (body.event_type, body.source, body.action, body.target, body.category)
    if not body.event_type or any(len(text) > limits.APPLICATION_TEXT_CHARS_MAX for text in texts):
        raise Refusal(Reason.APPLICATION_EVENT, f"want texts of at most {limits.APPLICATION_TEXT_CHARS_MAX} characters")
    if body.outcome not in _OUTCOMES:
        raise Refusal(Reason.APPLICATION_EVENT, f"want outcome {', '.join(sorted(_OUTCOMES))}")
    if len(body.metadata.encode("utf-8", "surrogatepass")) > limits.APPLICATION_METADATA_BYTES_MAX:
        raise Refusal(
            Reason.APPLICATION_EVENT, f"want metadata of {limits.APPLICATION_METADATA_BYTES_MAX} bytes at most"
        )
    try:
        metadata = jcs.parse_strict(body.metadata.encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError as exc:
        raise Refusal(Reason.APPLICATION_EVENT, f"metadata: {exc.cause}") from exc
    if not isinstance(metadata, dict):
        raise Refusal(Reason.APPLICATION_EVENT, "want metadata: a JSON object")
