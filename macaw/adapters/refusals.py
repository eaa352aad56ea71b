"""How a gate says no: errors for programs, and one sentence for a model that names no policy."""

from __future__ import annotations

from schemas.errors import MisuseError, OutcomeError

UNDECIDED = "NO_DECISION"


class PermissionDeniedError(OutcomeError, PermissionError):
    """The function was not run: the log denied the call, or gave no decision in time.

    `reason` is the stable code of the log, NO_DECISION where there is none; `event_id` names the call on the log.
    """

    def __init__(self, message: str, *, reason: str = "", event_id: str = "") -> None:
        super().__init__(message)
        self.reason, self.event_id = reason or UNDECIDED, event_id


class ResultUnconfirmedError(OutcomeError):
    """The function has run. Its result is withheld, or the log did not confirm the outcome; `reason` as on the log."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or UNDECIDED


class TicketError(MisuseError):
    """A call cannot pass the gate: no caller waits for it, or its function was left."""


def sentence_for_model(exc: PermissionDeniedError | ResultUnconfirmedError) -> str:
    """Return the refusal as a model is told it: the reason code, and no policy, rule, value or detail."""
    if isinstance(exc, ResultUnconfirmedError):
        return f"The call has taken effect, but its result is withheld ({exc.reason}). Do not repeat it."
    if exc.reason == UNDECIDED:
        return "The call could not be decided, so it was not run. Do not try it in another way."
    return f"The call was refused ({exc.reason}) and was not run. Do not try it in another way."
