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
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeVar

from macaw.adapters.blocks import in_thread
from macaw.adapters.refusals import PermissionDeniedError, ResultUnconfirmedError, TicketError
from macaw.adapters.tickets import HeldCall, Reporting, Ticket
from processors.proof import jcs
from producers.agent.agent import Agent
from producers.agent.offering import TIMEOUT_SECONDS_DEFAULT, Operation
from producers.agent.running import RunningCall, executing, running_call
from producers.client import ANSWER_SECONDS, CallError, Client, DeniedError, FailedError, OpenCall, RefusedError
from producers.client.open_call import CallPatience, any_of, waits
from schemas import limits
from schemas.errors import MacawError

T = TypeVar("T")

OPERATIONS_MAX = limits.TOOLS_PER_PRINCIPAL_MAX  # of one session
BEGIN_SECONDS = 10.0  # for a caller to know the event of its call, which is sent by another thread
DRAFT_SECONDS = 0.005  # between two looks


class GatePatience(NamedTuple):
    """How long a caller waits for a decision: `seconds` for the monitor, `approval_seconds` more for people."""

    seconds: float = ANSWER_SECONDS
    approval_seconds: float = 0.0

    def check(self) -> None:
        """Raise ValueError if nobody can wait for so long: below 0, no number, or beyond what a clock takes."""
        for name, value in zip(self._fields, self, strict=True):
            if not 0 <= value <= threading.TIMEOUT_MAX:
                raise ValueError(f"{name} of the patience is {value}, not a number of seconds")


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
        self._tickets: list[Ticket] = []
        self._changed = threading.Condition()

    # --- offering

    def offer(
        self, resource: str, *, description: str = "", input_schema: str | None = None, bodies: Sequence[str] = ()
    ) -> None:
        """Offer an operation, unless it is offered already. The first call of it does so, too.

        `bodies` are paths of texts that may be large, and travel beside the call then: no policy sees those.

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
                bodies=tuple(bodies),  # every other parameter stands on the log, where policies see it
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

    def _ticket_of(self, event: bytes) -> Ticket | None:
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
            running = _waited_for(call, ticket, how)
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
        async with in_thread(asking) as (call, ticket):
            with executing(await _awaited(call, ticket, how)), _ending(ticket):
                value = await function()
                has_failed = ticket.report(value, reporting)
            with _confirming(has_failed=has_failed):
                await call.finish_async(CallPatience(seconds=how.seconds))
            return value

    @contextmanager
    def held(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        patience: GatePatience | None = None,
        bodies: Sequence[str] = (),
    ) -> Iterator[HeldCall]:
        """Hold an allowed call open for the block, which reports its value and may end in another thread.

        A block that reports nothing has failed. Calls from within the block are calls of their own. Raises as `run`:
        ResultUnconfirmedError at the end of the block.
        """
        how = patience or GatePatience()
        with self._asked(resource, parameters, how, None, bodies) as (call, ticket):
            _waited_for(call, ticket, how)
            held = HeldCall(ticket)
            with _ending(ticket):
                yield held
            held.close()
            with _confirming(has_failed=held.has_failed):
                call.finish(CallPatience(seconds=how.seconds))

    @asynccontextmanager
    async def held_async(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        patience: GatePatience | None = None,
        bodies: Sequence[str] = (),
    ) -> AsyncIterator[HeldCall]:
        """Hold an allowed call open for the block, as `held`."""
        how = patience or GatePatience()
        async with in_thread(self._asked(resource, parameters, how, None, bodies)) as (call, ticket):
            await _awaited(call, ticket, how)
            held = HeldCall(ticket)
            with _ending(ticket):
                yield held
            held.close()
            with _confirming(has_failed=held.has_failed):
                await call.finish_async(CallPatience(seconds=how.seconds))

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
        self,
        resource: str,
        parameters: Mapping[str, Any],
        how: GatePatience,
        caller: Client | None,
        bodies: Sequence[str] = (),
    ) -> Iterator[tuple[OpenCall, Ticket]]:
        """Send the call and wait at the gate in the block. Raises PermissionDeniedError if it cannot be sent."""
        client = caller or self._agent.client
        ticket = Ticket()
        try:
            given = jcs.parse_strict(jcs.canonical(dict(parameters)))
            assert isinstance(given, dict)
            how.check()
            self.offer(resource, bodies=bodies)
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

    def _leave(self, ticket: Ticket) -> None:
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


def _waited_for(call: OpenCall, ticket: Ticket, how: GatePatience) -> RunningCall:
    """Wait for the permission and return the call that is executed. Raises PermissionDeniedError."""
    futures: tuple[Future[Any], ...] = (ticket.permitted, call.sent.answer)
    wait((*futures, call.sent.pending), how.seconds, FIRST_COMPLETED)
    if not any(one.done() for one in futures) and call.sent.pending.done():
        wait(futures, how.approval_seconds, FIRST_COMPLETED)
    return _let_through(call, ticket)


async def _awaited(call: OpenCall, ticket: Ticket, how: GatePatience) -> RunningCall:
    """Wait as `_waited_for`."""
    futures: tuple[Future[Any], ...] = (ticket.permitted, call.sent.answer)
    await any_of((*futures, call.sent.pending), how.seconds)
    if not any(one.done() for one in futures) and call.sent.pending.done():
        await any_of(futures, how.approval_seconds)
    if not ticket.permitted.done():
        return await asyncio.to_thread(_let_through, call, ticket)
    return _let_through(call, ticket)


def _let_through(call: OpenCall, ticket: Ticket) -> RunningCall:
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
def _ending(ticket: Ticket) -> Iterator[None]:
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
