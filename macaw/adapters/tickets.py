"""A caller at the gate: let through by the handler of its call, which it tells how its function ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any

from macaw.adapters.refusals import TicketError
from producers.agent.running import RunningCall
from producers.client import OpenCall
from schemas.errors import OutcomeError


@dataclass(frozen=True, slots=True)
class Reported:
    """The report of a function in the place of its value, which has no JSON form, or says that the function failed."""

    value: Any
    is_failure: bool = False


class FunctionFailedError(OutcomeError):
    """The value of a function says that it failed; the message is the function's own."""


Reporting = Callable[[Any], Reported]


class Ticket:
    """One caller that waits to be let through."""

    def __init__(self) -> None:
        self.call: OpenCall | None = None  # None until it was begun
        self.permitted: Future[RunningCall] = Future()
        self.outcome: Future[Any] = Future()

    @property
    def event(self) -> bytes:
        """The leaf of the call's event, empty until it is drafted."""
        return b"" if self.call is None else self.call.sent.event

    def withdraw(self) -> bool:
        """Return True if the function will not run any more, False if it was let through before."""
        return self.permitted.cancel()

    def report(self, value: Any, reporting: Reporting | None) -> bool:
        """Tell the handler of a value; return True if it says that the function failed."""
        told = Reported(value) if reporting is None else reporting(value)
        self.end(told.value, FunctionFailedError(str(told.value)) if told.is_failure else None)
        return told.is_failure

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Tell the handler how the function ended, once."""
        with contextlib.suppress(InvalidStateError):
            if error is None:
                self.outcome.set_result(value)
            else:
                self.outcome.set_exception(error)


class HeldCall:
    """An allowed call that is open."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket, self.has_failed = ticket, True

    def report(self, value: Any, reporting: Reporting | None = None) -> None:
        """Report the value of the call, once."""
        self.has_failed = self._ticket.report(value, reporting)

    def close(self) -> None:
        """Report a failure, unless a value was reported."""
        self._ticket.end(error=TicketError("the call was left before it ended"))
