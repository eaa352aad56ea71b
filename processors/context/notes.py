"""Events of applications on the log: bounded, well formed, and without any effect but their audit entry."""

from __future__ import annotations

from processors.proof import jcs
from processors.refusal import Refusal
from schemas import limits
from schemas.events.workflow import ApplicationEventLogged
from schemas.reasons import Reason
from schemas.words import NotedOutcome

_OUTCOMES = frozenset(NotedOutcome)


def check_application_event(body: ApplicationEventLogged) -> None:
    """Check an application's event. Raises Refusal APPLICATION_EVENT."""
    texts = (body.event_type, body.source, body.action, body.target, body.category)
    if not body.event_type or any(len(text) > limits.APPLICATION_TEXT_CHARS_MAX for text in texts):
        want = f"`event_type` is empty, or a text has more than {limits.APPLICATION_TEXT_CHARS_MAX} characters"
        raise Refusal(Reason.APPLICATION_EVENT, want)
    if body.outcome not in _OUTCOMES:
        raise Refusal(Reason.APPLICATION_EVENT, f"`outcome` must be one of {', '.join(sorted(_OUTCOMES))}")
    if len(body.metadata.encode("utf-8", "surrogatepass")) > limits.APPLICATION_METADATA_BYTES_MAX:
        raise Refusal(
            Reason.APPLICATION_EVENT, f"`metadata` has at most {limits.APPLICATION_METADATA_BYTES_MAX} bytes of UTF-8"
        )
    try:
        metadata = jcs.parse_strict(body.metadata.encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError as exc:
        raise Refusal(Reason.APPLICATION_EVENT, f"`metadata` is not strict JSON: {exc.cause}") from exc
    if not isinstance(metadata, dict):
        raise Refusal(Reason.APPLICATION_EVENT, "`metadata` is JSON, but not an object")
