"""How a gate says no: errors for programs, and one sentence for a model that names no policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.errors import MacawError, MisuseError, OutcomeError

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


class UngovernableToolError(MisuseError):
    """A tool cannot be governed: the provider runs it, or a handler of its own, or its parameters have no names."""


class UngovernableRequestError(MisuseError):
    """A request to a model was not sent: it cannot be decided as it is. The message names the member of it."""


class AnswerTooLargeError(OutcomeError):
    """An answer of a model has more bytes, or takes more time, than one call may. It was cut off."""


class ModelExchangeError(OutcomeError):
    """The exchange with a model broke off, or its answer is not as the provider's API says. For the log."""


class StreamLeftError(OutcomeError):
    """The program left the stream of a model before its answer ended."""

    def __init__(self) -> None:
        super().__init__("the program left the stream before the model's answer ended")


class RoundsExceededError(OutcomeError):
    """A model did not come to an end within the rounds or the time of a run. Its last tool calls were not run."""


class Begun:
    """A function, sync or async, that the gate may run. A refusal out of it, once it has begun, is of a call within."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function, self.has_begun = function, False

    def __call__(self) -> Any:
        """Run the function. Raises as it does."""
        self.has_begun = True
        return self._function()


def sentence_for_model(exc: PermissionDeniedError | ResultUnconfirmedError, *, has_begun: bool = False) -> str:
    """Return the refusal as a model is told it: the reason code, and no policy, rule, value or detail.

    With `has_begun`, a denial is one of a call within the tool.
    """
    if isinstance(exc, ResultUnconfirmedError):
        return f"The call has taken effect, but its result is withheld ({exc.reason}). Do not repeat it."
    if has_begun:
        return failure_for_model(exc)
    if exc.reason == UNDECIDED:
        return "The call could not be decided, so it was not run. Do not try it in another way."
    return f"The call was refused ({exc.reason}) and was not run. Do not try it in another way."


def failure_for_model(exc: MacawError) -> str:
    """Return a refusal of a call within a tool that has begun. Its own text names parameters and the kind of a rule."""
    reason = getattr(exc, "reason", "")
    return f"The tool failed: {type(exc).__name__}{f' ({reason})' if reason else ''}"
