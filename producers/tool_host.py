"""The tool host: executes allowed calls, each at most once, and signs what became of them.

Order, for a batch of decisions: verify all; commit the offset; note the calls durably; only then execute. After a crash
before the commit the batch is read again, by whoever owns the partition then. A crash after it leaves calls without a
report, and the log says `unknown`; idempotent ones are executed again, with the same key. A refused commit means that
nothing is executed. What was noted, here or by the instance before, is executed under no other decision.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processors import jcs
from producers.admission import Call, admit, recall
from producers.answers import UntrustedRecordError
from producers.attesting import NOTHING, Attestations, attesting
from producers.commitments import Standing
from producers.control import Control
from producers.decision_feed import DecisionFeed, Taken
from producers.executed import ExecutedCalls
from producers.publisher import Publisher
from producers.registry_view import RegistryError
from producers.security import UNSECURED, Security
from producers.tools import ToolArgumentError, ToolFunction, bind_arguments, calling
from schemas import limits
from schemas.records import Decision, ResultReported
from schemas.topics import tool_group

log = logging.getLogger(__name__)

WORKERS = 8
REPORT_CHARS_MAX = limits.RESULT_EVENT_BYTES_MAX - 4096
ERROR_CHARS_MAX = 500
REGISTRY_PAUSE_SECONDS = 0.5


class _TooLateError(Exception):
    """A call came to its turn after its `execute_before`; it did not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """How a host takes part. `group_managed=False` takes every partition: where groups cannot fail over."""

    bootstrap: str
    group_managed: bool
    executed_path: Path
    workers: int = WORKERS
    session_timeout_ms: int = 10_000
    security: Security = field(default_factory=lambda: UNSECURED)


@dataclass(slots=True)
class Tally:
    """What a host has done; for people and tests."""

    executed: int = 0
    redelivered: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1


@dataclass(frozen=True, slots=True)
class _Order:
    """A decision for this tool; with a call it may be for this instance to execute."""

    taken: Taken
    decision: Decision
    leaf: bytes
    call: Call | None = None


class ToolHost:
    """Hosts the tools of one app for one tenant."""

    def __init__(self, control: Control, app: str, tools: Sequence[ToolFunction], settings: HostSettings) -> None:
        self._control, self._app = control, app
        self._tools: Mapping[str, ToolFunction] = {f"tool:{app}/{t.name}": t for t in tools}
        self._executed = ExecutedCalls(settings.executed_path)
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix=f"tool-{app}")
        self._watch = ThreadPoolExecutor(settings.workers, thread_name_prefix=f"watch-{app}")
        self._publisher: Publisher = control.publisher
        self._stop = threading.Event()
        self.ready = threading.Event()
        self.tally = Tally()
        self._feed = DecisionFeed(
            settings.bootstrap,
            tenant=control.tenant.tenant,
            group=tool_group(control.tenant.tenant, app),
            group_managed=settings.group_managed,
            session_timeout_ms=settings.session_timeout_ms,
            security=settings.security,
            stop=self._stop,
        )

    def stop(self) -> None:
        """Ask the host to end; calls that run are waited for."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`."""
        self._feed.start()
        self.ready.set()
        try:
            while not self._stop.is_set():
                batch = self._feed.take()
                if batch:
                    self._serve(batch)
        finally:
            self._close()

    def _close(self) -> None:
        self._watch.shutdown(wait=True)  # first: what is committed and waits for a worker is still to run and report
        self._pool.shutdown(wait=True)
        self._feed.close()
        self._executed.close()

    def _serve(self, batch: list[Taken]) -> None:
        try:
            orders = [order for taken in batch if (order := self._order(taken)) is not None]
        except RegistryError as exc:
            # Nobody can say now whom to trust: nothing is committed, so all of it is read again.
            log.warning("the registry cannot be read, so decisions wait: %s", exc)
            self._feed.go_back()
            self._stop.wait(REGISTRY_PAUSE_SECONDS)
            return
        repeatable = [o.taken for o in orders if o.call is not None and self._is_idempotent(o.decision)]
        if not self._feed.commit(batch, repeatable):
            return
        # After the commit: noted before it, a call whose commit is refused would be refused when it is read again.
        firsts = self._begin(orders)
        self._feed.remember(batch)
        for order, first in zip(orders, firsts, strict=True):
            if order.call is not None:
                self._start(order, order.call, first)

    def _order(self, taken: Taken) -> _Order | None:
        """Return what a record asks of this tool, if anything. Raises RegistryError where that cannot be known now."""
        try:
            if taken.standing is Standing.PAST:
                past = recall(taken.message, self._control.trusted, tool=self._app)
                return _Order(taken, *past) if past else None
            call = self._admit(taken.message)
            return _Order(taken, call.decision, call.leaf, call) if call else None
        except UntrustedRecordError as exc:
            log.error("a decision is not trusted and not executed: %s", exc)  # noqa: TRY400 - expected, and said in full
            self.tally.refuse("untrusted")
            return None

    def _admit(self, message: Any) -> Call | None:
        return admit(
            message,
            self._control.trusted,
            tool=self._app,
            key=self._control.key,
            now_ms=time.time_ns() // 1_000_000,
        )

    def _begin(self, orders: list[_Order]) -> list[bytes | None]:
        """Note what is about to run, or ran elsewhere; return the decision that stood for each call before."""
        noted = [(o.decision.event, o.leaf, o.decision.execute_before or 0) for o in orders]
        return self._executed.begin(noted, now_ms=time.time_ns() // 1_000_000) if noted else []

    def _is_idempotent(self, decision: Decision) -> bool:
        tool = self._tools.get(decision.resource)
        return tool is not None and tool.idempotent

    def _start(self, order: _Order, call: Call, first: bytes | None) -> None:
        """Execute a call, unless it was begun before: then only what is idempotent, and under the same decision."""
        second = first is not None and first != call.leaf
        again = order.taken.standing is Standing.AGAIN
        if second or (again and not self._is_idempotent(call.decision)) or (first is not None and not again):
            self.tally.refuse("second decision" if second else "executed before")
            self._watch.submit(self._refuse, order.taken, call, first if second else None)
            return
        if again:
            self.tally.redelivered += 1
            log.warning("the call %s is executed again: its instance is gone", call.decision.event.hex())
        self._watch.submit(self._execute_and_report, order.taken, call)

    def _refuse(self, taken: Taken, call: Call, first: bytes | None) -> None:
        """Do not execute a call; report it where another decision stood `first`."""
        try:
            if first is not None:
                log.error("two decisions for the call %s: the second is refused", call.decision.event.hex())
                self._report(call, "failed", {"error": "SECOND_DECISION", "first": first.hex()})
        except Exception:
            log.exception("the refusal of a second decision could not be reported")
        self._feed.finished(taken)

    def _execute_and_report(self, taken: Taken, call: Call) -> None:
        try:
            said = self._attestations(call.decision)
            outcome, body = self._execute(call, said)
            self._report(call, outcome, body, said)
            self._feed.finished(taken)
        except Exception:
            log.exception("the outcome of %s could not be reported", call.decision.resource)

    def _attestations(self, decision: Decision) -> Attestations:
        """Return what a call attests, with what is said for it wherever it says nothing itself."""
        tool = self._tools.get(decision.resource)
        if tool is None:
            return Attestations(())
        return Attestations(tool.attests, {key: terms.attestation(key) for key, terms in tool.auto_attest.items()})

    def _execute(self, call: Call, said: Attestations = NOTHING) -> tuple[str, Any]:
        tool = self._tools.get(call.decision.resource)
        if tool is None:
            return "failed", {"error": f"this instance does not offer {call.decision.resource}"}
        try:
            bound = bind_arguments(tool, call.parameters)
        except ToolArgumentError as exc:
            return "failed", {"error": str(exc)[:ERROR_CHARS_MAX]}
        running = self._pool.submit(self._run, tool, bound, call.decision, said)
        return _outcome(running, tool.timeout_seconds)

    def _run(self, tool: ToolFunction, bound: inspect.BoundArguments, decision: Decision, said: Attestations) -> Any:
        """Call the function, unless the call waited too long for its turn."""
        if time.time_ns() // 1_000_000 >= (decision.execute_before or 0):
            raise _TooLateError
        self.tally.executed += 1
        with calling(decision.event.hex()), attesting(said):
            if tool.is_async:
                return asyncio.run(tool.function(*bound.args, **bound.kwargs))  # type: ignore[arg-type]
            return tool.function(*bound.args, **bound.kwargs)

    def _report(self, call: Call, outcome: str, body: Any, said: Attestations = NOTHING) -> None:
        attested = tuple(said.said.values())  # as it is now: a function that timed out may still speak
        room = REPORT_CHARS_MAX - sum(len(one.key.encode()) + len(one.value.encode()) + 64 for one in attested)
        outcome, text = _written(outcome, body, room)
        # Only what ended well attests anything.
        given = attested if outcome == "ok" else ()
        report = ResultReported(decision=call.leaf, outcome=outcome, body=text, attestations=given)
        self._publisher.publish(report, causation_id=call.decision.event).result(30)


def _outcome(running: Future[Any], seconds: float) -> tuple[str, Any]:
    """Return (outcome, body) of a submitted call, at the latest after its time-out."""
    wait([running], seconds)
    if running.cancel():
        return "failed", {"error": "TOO_LATE"}  # it never left the queue, and now never will
    if not running.done():
        # A thread cannot be stopped: the effect may still come. Nobody can say, so nobody does.
        return "unknown", {"error": f"no end within {seconds:g} s"}
    raised = running.exception()  # a TimeoutError in here is the tool's own
    if raised is None:
        return "ok", running.result()
    if isinstance(raised, _TooLateError):
        return "failed", {"error": "TOO_LATE"}
    return "failed", {"error": f"{type(raised).__name__}: {raised}"[:ERROR_CHARS_MAX]}


def _written(outcome: str, body: Any, room: int = REPORT_CHARS_MAX) -> tuple[str, str]:
    """Return (outcome, JSON text) that the step takes; a body that it would refuse makes the call failed."""
    try:
        text = jcs.canonical(body).decode()
        if len(text.encode()) > room:
            return "failed", json.dumps({"error": f"the result has {len(text)} characters: too large"})
        # The writer writes some that the reader refuses, as 1e17; a refused report would leave the caller without any.
        jcs.parse_strict(text.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)
    except (ValueError, TypeError, RecursionError) as exc:
        cause = getattr(exc, "cause", type(exc).__name__)
        return "failed", json.dumps({"error": f"the result cannot be written as JSON: {cause}"})
    return outcome, text
