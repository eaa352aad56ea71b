"""A gate in one process: a function runs when the log has allowed the call, in the thread that asked for it.

    with Agent.connect("acme", "shop") as agent:
        gate = Gate(agent)
        gate.run("tool:shop/refund", {"order": 7}, lambda: refund(7))

The session of the gate offers each operation itself, and calls it. The offered handler does not run the function: it
tells the waiting caller that the log has allowed the call, waits for the outcome, and reports it. So the function runs
in its own thread, event loop and context, with its own objects, and the log has a signed outcome of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from macaw.adapters.refusals import PermissionDeniedError, ResultUnconfirmedError, TicketError
from processors.proof import jcs
from producers.agent.agent import Agent
from producers.agent.offering import TIMEOUT_SECONDS_DEFAULT, Operation
from producers.agent.running import RunningCall, executing, running_call
from producers.client import ANSWER_SECONDS, CallError, Client, DeniedError, FailedError, OpenCall, RefusedError
from producers.client.open_call import CallPatience, any_of, waits
from schemas import limits
from schemas.errors import MacawError, OutcomeError

T = TypeVar("T")

OPERATIONS_MAX = limits.TOOLS_PER_PRINCIPAL_MAX  # of one session
BEGIN_SECONDS = 10.0  # for a caller to know the event of its call, which is sent by another thread
DRAFT_SECONDS = 0.005  # between two looks


class GatePatience(NamedTuple):
    """How long a caller waits for a decision: `seconds` for the monitor, `approval_seconds` more for people."""

    seconds: float = ANSWER_SECONDS
    approval_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reported:
    """The report of a function in the place of its value, which has no JSON form, or says that the function failed."""

    value: Any
    is_failure: bool = False


class FunctionFailedError(OutcomeError):
    """The value of a function says that it failed; the message is the function's own."""


Reporting = Callable[[Any], Reported]


class _Ticket:
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


class Gate:
    """Lets functions run that the log has allowed. Thread-safe, and for asyncio. It closes with its agent."""

    def __init__(self, agent: Agent, *, operation_seconds: float = TIMEOUT_SECONDS_DEFAULT) -> None:
        """Offer operations in the session of `agent`, in the place of those that it offers.

        A function that was let through has `operation_seconds` before the log calls its outcome unknown.
        """
        self._agent = agent
        self._seconds = operation_seconds
        self._offered: dict[str, Operation] = {}
        self._offering = threading.Lock()
        self._tickets: list[_Ticket] = []
        self._changed = threading.Condition()

    # --- offering

    def offer(self, resource: str, *, description: str = "", input_schema: str | None = None) -> None:
        """Offer an operation, unless it is offered already. The first call of it does so, too.

        Raises:
            OperationError: the operation cannot be declared.
            TicketError: the session offers as many as it may.
            ConnectError, RefusedError, NoAnswerError, PublishError, ForkedError: it is not offered.
        """
        if resource in self._offered:
            return
        with self._offering:
            if resource in self._offered:
                return
            if len(self._offered) >= OPERATIONS_MAX:
                raise TicketError(f"this session offers {OPERATIONS_MAX} operations already, which is the most")
            added = Operation(
                handler=self._meet,
                description=description,
                bodies=(),  # every parameter stands on the log, where policies see it
                input_schema=input_schema,
                timeout_seconds=self._seconds,
            )
            offered = {**self._offered, resource: added}
            self._agent.offer(offered)
            self._offered = offered

    def _meet(self, _: dict[str, Any]) -> Any:
        """Let the caller of this very call through, and return the outcome of its function. Raises as the function."""
        running = running_call()
        assert running is not None, "a handler runs within its call"
        ticket = self._ticket_of(running.event)
        if ticket is None or not ticket.permitted.set_running_or_notify_cancel():
            raise TicketError("NOT_RUN: nobody here waits for this call")
        ticket.permitted.set_result(running)
        return _told(ticket.outcome.result(self._seconds))

    def _ticket_of(self, event: bytes) -> _Ticket | None:
        """Return the ticket of the call with this event, None if there is none.

        An allowed call may be heard a moment before its caller knows the event: calls that are being begun are waited
        for.
        """
        until = time.monotonic() + BEGIN_SECONDS
        with self._changed:
            while True:
                found = next((one for one in self._tickets if one.event == event), None)
                if found is not None or all(one.event for one in self._tickets) or time.monotonic() > until:
                    return found
                self._changed.wait(DRAFT_SECONDS)

    # --- running

    def run(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        function: Callable[[], T],
        *,
        patience: GatePatience | None = None,
        caller: Client | None = None,
        reporting: Reporting | None = None,
    ) -> T:
        """Run `function` in this thread once the log has allowed the call, and return its value.

        `caller` is another client of this process, in the place of the agent's own. An exception of the function is
        reported as a failure and raised as it is. `reporting` makes the report of a value.

        Raises:
            PermissionDeniedError: the function was not run: it was denied, or there is no decision.
            ResultUnconfirmedError: it has run, and the log withholds its result or does not confirm it.
        """
        return self._run(resource, parameters, lambda _: function(), patience or GatePatience(), caller, reporting)

    def _run(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        function: Callable[[OpenCall], T],
        how: GatePatience,
        caller: Client | None,
        reporting: Reporting | None = None,
    ) -> T:
        with self._asked(resource, parameters, how, caller) as (call, ticket):
            futures: tuple[Future[Any], ...] = (ticket.permitted, call.sent.answer)
            wait((*futures, call.sent.pending), how.seconds, FIRST_COMPLETED)
            if not any(one.done() for one in futures) and call.sent.pending.done():
                wait(futures, how.approval_seconds, FIRST_COMPLETED)
            running = _let_through(call, ticket)
            with executing(running), _ending(ticket):
                value = function(call)
                has_failed = ticket.report(value, reporting)
            with _confirming(has_failed=has_failed):
                call.finish(CallPatience(seconds=how.seconds))
            return value

    async def run_async(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        function: Callable[[], Awaitable[T]],
        *,
        patience: GatePatience | None = None,
        reporting: Reporting | None = None,
    ) -> T:
        """Await `function()` in this task once the log has allowed the call. As `run`, and raises as it does."""
        how = patience or GatePatience()
        asking = self._asked(resource, parameters, how, None)
        async with _in_thread(asking) as (call, ticket):
            futures = (ticket.permitted, call.sent.answer)
            await any_of((*futures, call.sent.pending), how.seconds)
            if not any(one.done() for one in futures) and call.sent.pending.done():
                await any_of(futures, how.approval_seconds)
            if not ticket.permitted.done():
                await asyncio.to_thread(_let_through, call, ticket)
            with executing(_let_through(call, ticket)), _ending(ticket):
                value = await function()
                has_failed = ticket.report(value, reporting)
            with _confirming(has_failed=has_failed):
                await call.finish_async(CallPatience(seconds=how.seconds))
            return value

    def permit(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        patience: GatePatience | None = None,
        caller: Client | None = None,
    ) -> str:
        """Return the event id of a call that the log has allowed, for a host that executes by itself.

        The outcome on the log is that of the permission, not of the deed. Raises as `run`.
        """
        seen: list[str] = []

        def note(call: OpenCall) -> dict[str, bool]:
            seen.append(call.event_id)
            return {"permitted": True}

        self._run(resource, parameters, note, patience or GatePatience(), caller)
        return seen[0]

    @contextmanager
    def _asked(
        self, resource: str, parameters: Mapping[str, Any], how: GatePatience, caller: Client | None
    ) -> Iterator[tuple[OpenCall, _Ticket]]:
        """Send the call and wait at the gate in the block. Raises PermissionDeniedError if it cannot be sent."""
        client = caller or self._agent.client
        ticket = _Ticket()
        try:
            given = jcs.parse_strict(jcs.canonical(dict(parameters)))
            assert isinstance(given, dict)
            self.offer(resource)
        except (MacawError, ValueError, TypeError, RecursionError) as exc:
            raise _not_run(exc) from exc
        with self._changed:
            self._tickets.append(ticket)
        try:
            call = self._begin(client, resource, given, how)
            with self._changed:
                ticket.call = call
                self._changed.notify_all()
            yield call, ticket
        finally:
            self._leave(ticket)

    def _begin(self, client: Client, resource: str, given: dict[str, Any], how: GatePatience) -> OpenCall:
        outer = running_call()
        within = outer.event if outer is not None and outer.executor == client.session_id else None
        try:
            return client.begin(
                resource,
                given,
                seconds=how.seconds,
                deadline=how.seconds + how.approval_seconds,
                target=self._agent.session_id,
                within=within,
            )
        except (MacawError, ValueError) as exc:
            raise _not_run(exc) from exc

    def _leave(self, ticket: _Ticket) -> None:
        """Wait at the gate no longer. A handler that waits for an outcome gets an error, unless it has one."""
        if not ticket.withdraw():
            ticket.end(error=TicketError("the function was left before it ended"))
        with self._changed:
            self._tickets.remove(ticket)
            self._changed.notify_all()


def _told(value: Any) -> Any:
    """Return a value for the report. An iterator is the caller's: the report would use it up."""
    if isinstance(value, Iterator | AsyncIterator | Awaitable):
        return {"returned": type(value).__name__}
    return value


def _let_through(call: OpenCall, ticket: _Ticket) -> RunningCall:
    """Return the call that is executed. Raises PermissionDeniedError if it was not let through in time."""
    if not ticket.withdraw():
        return ticket.permitted.result()
    answer = call.sent.answer
    is_final = answer.done() and not answer.cancelled() and answer.exception() is None and not waits(answer.result())
    try:
        # A final answer is read at once. Without one the call is left, and its deadline keeps it from beginning later.
        call.finish(CallPatience(seconds=0.0 if is_final else 0.001, approval_seconds=0.0))
    except (MacawError, ValueError) as exc:
        raise _not_run(exc, call.event_id) from exc
    raise PermissionDeniedError("the call was answered by another program", event_id=call.event_id)


def _not_run(exc: Exception, event_id: str = "") -> PermissionDeniedError:
    reason = exc.reason if isinstance(exc, DeniedError | RefusedError) else ""
    return PermissionDeniedError(f"the function was not run: {exc}", reason=reason, event_id=event_id)


@contextmanager
def _ending(ticket: _Ticket) -> Iterator[None]:
    """Report an exception of the block as the outcome, and raise it on."""
    try:
        yield
    except BaseException as exc:
        ticket.end(error=exc if isinstance(exc, Exception) else TicketError(f"{type(exc).__name__} ended the function"))
        raise


@contextmanager
def _confirming(*, has_failed: bool) -> Iterator[None]:
    """Wait in the block for the log to have the outcome of a function that has run. Raises ResultUnconfirmedError."""
    try:
        yield
    except (MacawError, ValueError) as exc:
        if has_failed and isinstance(exc, FailedError):
            return
        reason = exc.reason if isinstance(exc, CallError) else ""
        raise ResultUnconfirmedError(f"the function has run, its result is kept back: {exc}", reason=reason) from exc


@contextlib.asynccontextmanager
async def _in_thread(block: contextlib.AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a block in another thread: both may ask a broker. A task that is cancelled leaves it, too."""
    entering = asyncio.ensure_future(asyncio.to_thread(block.__enter__))
    try:
        entered = await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(partial(_leave_late, block))
        raise
    try:
        yield entered
    finally:
        block.__exit__(None, None, None)


def _leave_late(block: contextlib.AbstractContextManager[Any], entered: asyncio.Future[Any]) -> None:
    if not entered.cancelled() and entered.exception() is None:
        block.__exit__(None, None, None)
