"""The tool host: executes allowed calls, each at most once, and signs their outcomes.

The order for a batch of decisions: verify all; commit the offset; note the calls durably; only then execute. After a
crash before the commit the next owner of the partition reads the batch again. A crash after it leaves calls without a
report, and the log says `unknown`; idempotent ones are executed again, with the same key. If the commit is refused,
nothing is executed. A call that was noted, here or by the instance before, is executed under no other decision.

A host executes nothing that it could not report: not while a report is late, and not without its own live key. If that
lasts, the host ends and says why; the reports are kept, and sent by the next process that serves the instance.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from producers.home.clock import clock_ms
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.connection import Connection
from producers.kafka.followed_topic import RegistryError
from producers.kafka.publisher import PublishError
from producers.kafka.sessions_view import SessionsView
from producers.kafka.verified import UntrustedRecordError
from producers.tools.admission import AdmittedCall, admit, recall
from producers.tools.attesting import AttestationError, CallAttestations
from producers.tools.beside import BodyDesk
from producers.tools.commitments import Ownership
from producers.tools.crew import Crew
from producers.tools.decision_feed import DecisionFeed, Taken
from producers.tools.declaring import ToolFunction
from producers.tools.executed import ExecutedCalls
from producers.tools.execution import Ended, Execution, failed
from producers.tools.guard import UNGUARDED, HostGuard
from producers.tools.item_stream import ItemStream
from producers.tools.outbox import Outbox
from schemas.errors import StoppedError
from schemas.records import Decision, ResultReported
from schemas.topics import tool_group
from schemas.words import Outcome, Role

log = logging.getLogger(__name__)

WORKERS = 8
REGISTRY_PAUSE_SECONDS = 0.5
LATE_PAUSE_SECONDS = 0.1
HELD_MAX = 64  # calls that are past their time-out and have not ended; above it the host ends
REPORTLESS_SECONDS = 60.0  # without getting a report to the log a host ends; other instances wait for it meanwhile


class HostError(StoppedError):
    """The host cannot work here and has ended; calls that it had not committed are left to other instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """How a host takes part. `group_managed=False` takes every partition, for brokers without group failover."""

    bootstrap: str
    group_managed: bool
    executed_path: Path
    workers: int = WORKERS
    session_timeout_ms: int = 10_000
    security: Security = field(default_factory=lambda: UNSECURED)
    guard: HostGuard = UNGUARDED


@dataclass(slots=True)
class HostTally:
    """Counts of a host's work, for people and tests."""

    executed: int = 0
    redelivered: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1


@dataclass(frozen=True, slots=True)
class _Order:
    """A decision for this tool. With a call it may be this instance's to execute."""

    taken: Taken
    decision: Decision
    leaf: bytes
    call: AdmittedCall | None = None


class ToolHost(OfOneProcess):
    """Hosts the tools of one app for one tenant."""

    def __init__(self, connection: Connection, app: str, tools: Sequence[ToolFunction], settings: HostSettings) -> None:
        self._connection, self._app = connection, app
        self._tools: Mapping[str, ToolFunction] = {f"tool:{app}/{t.name}": t for t in tools}
        self._executed, self._guard = ExecutedCalls(settings.executed_path), settings.guard
        # One crew runs the calls, the other waits for their ends.
        self._crew, self._watch = Crew(f"tool-{app}", settings.workers), Crew(f"watch-{app}", settings.workers)
        self._outbox = Outbox(connection.publisher, self._executed)
        self._bodies = BodyDesk(connection.link.bodies, connection.key)
        self._late_since: float | None = None
        self._stop = threading.Event()
        self.ready = threading.Event()
        self.tally = HostTally()
        self._sessions = SessionsView(
            connection.registry, settings.bootstrap, tenant=connection.tenant.tenant, security=settings.security
        )
        self._feed = DecisionFeed(
            settings.bootstrap,
            tenant=connection.tenant.tenant,
            group=tool_group(connection.tenant.tenant, app),
            group_managed=settings.group_managed,
            session_timeout_ms=settings.session_timeout_ms,
            security=settings.security,
            stop=self._stop,
        )

    def stop(self) -> None:
        """Ask the host to end; calls that run are waited for."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`.

        Raises:
            HostError: it cannot report, or note a call before it begins; its key is not live; or its tools hold or end
                its threads.
            ForkedError: this is another process than the one that made it.
            LogSetBackError: the brokers came back with an older registry than was read.
        """
        self.check_process()
        try:
            while self._must_wait():
                self._stop.wait(LATE_PAUSE_SECONDS)
            self._read_sessions()
            self._feed.start()
            self.ready.set()
            while not self._stop.is_set():
                if self._must_wait():
                    self._stop.wait(LATE_PAUSE_SECONDS)
                elif batch := self._feed.take():
                    self._serve(batch)
        except SystemExit as exc:
            raise HostError(f"{self._app} was ended from within: a tool may have done that; serve it again") from exc
        finally:
            self._close()

    def _read_sessions(self) -> None:
        """Read which sessions have ended, so that the first call need not wait for it."""
        try:
            self._sessions.refresh()
        except RegistryError as exc:
            log.warning("the ends of sessions cannot be read yet, so decisions wait: %s", exc)

    def _must_wait(self) -> bool:
        """Whether reports are late; kept ones are sent first. Raises HostError after REPORTLESS_SECONDS."""
        if self._crew.held > HELD_MAX:
            raise HostError(
                f"{self._crew.held} calls of {self._app} do not end, and hold a thread each: nothing more is executed;"
                " their outcome is unknown: look whether they took effect"
            )
        if not (self._outbox.can_send and self._crew.is_whole and self._watch.is_whole):
            raise HostError(f"threads of {self._app} were ended from within: a tool may have done that; serve it again")
        if self._stop.is_set() or not self._outbox.is_late:
            self._late_since = None
            return False
        self._late_since = self._late_since or time.monotonic()
        why = "the broker does not answer"
        try:
            self._outbox.send_kept()
        except PublishError as exc:
            why = str(exc)
        if time.monotonic() - self._late_since > REPORTLESS_SECONDS:
            raise HostError(
                f"{self._app} cannot report the outcomes of its calls, so it executes nothing more: {why}; reports are"
                f" kept in {self._executed.path}, and are sent when this instance is served again"
            )
        return True

    def _close(self) -> None:
        self._bodies.close()
        self._watch.stop()
        self._watch.join()  # committed calls that wait for a thread still run and report
        self._crew.stop()
        if self._crew.held:
            log.error("%d calls have not ended and are left; the log will report them as unknown", self._crew.held)
        self._feed.close()
        self._sessions.close()
        try:
            self._outbox.send_kept()
        except PublishError:
            log.error(  # noqa: TRY400 - why was said when they were kept
                "%d reports are not sent: serve this instance again to send them", self._outbox.kept
            )
        self._executed.close()

    def _serve(self, batch: list[Taken]) -> None:
        try:
            self._check_key()
            orders = [order for taken in batch if (order := self._order(taken)) is not None]
        except RegistryError as exc:
            # No signature can be judged now: nothing is committed, so the batch is read again.
            log.warning("the registry cannot be read, so decisions wait: %s", exc)
            self._feed.go_back()
            self._stop.wait(REGISTRY_PAUSE_SECONDS)
            return
        if self._outbox.is_late:
            self._feed.go_back()
            return
        repeatable = [o.taken for o in orders if o.call is not None and self._is_idempotent(o.decision)]
        if not self._feed.commit(batch, repeatable):
            return
        # After the commit: a call that was noted before a refused commit would be refused when it is read again.
        try:
            firsts = self._begin(orders)
        except sqlite3.Error as exc:
            for order in orders:
                if order.call is not None:
                    self._report(order.call, failed(f"NOT_RUN: the host cannot note that it begins: {exc}"))
            raise HostError(
                f"{self._app} cannot note the calls that it begins in {self._executed.path}, so it executes nothing:"
                f" {exc}; see whether the disk is full"
            ) from exc
        self._feed.remember(batch)
        for order, first in zip(orders, firsts, strict=True):
            if order.call is not None:
                self._start(order, order.call, first)

    def _check_key(self) -> None:
        """Raise HostError if the log would take no report of ours; nothing of the batch is committed then."""
        if self._connection.trusted.registry.live_key(self._connection.key.kid, Role.TOOL) is None:
            raise HostError(
                f"the key of this instance of {self._app} is revoked or past its time, so the log would take no report:"
                " nothing more is executed; register the instance again with a new key"
            )

    def _order(self, taken: Taken) -> _Order | None:
        """Return the order in a record, None if it is not for this tool.

        Raises:
            RegistryError: that cannot be told now.
        """
        try:
            if taken.ownership is Ownership.PAST:
                past = recall(taken.message, self._connection.trusted, tool=self._app)
                return _Order(taken, *past) if past else None
            call = self._admit(taken.message)
            return _Order(taken, call.decision, call.leaf, call) if call else None
        except UntrustedRecordError as exc:
            log.error("a decision is not trusted and not executed: %s", exc)  # noqa: TRY400 - expected, and said in full
            self.tally.refuse("untrusted")
            return None

    def _admit(self, message: Any) -> AdmittedCall | None:
        return admit(
            message,
            self._connection.trusted,
            self._sessions,
            tool=self._app,
            key=self._connection.key,
            now_ms=clock_ms(),
            operations=self._tools,
        )

    def _begin(self, orders: list[_Order]) -> list[bytes | None]:
        """Note the calls that are about to run or ran elsewhere; return the decision that was noted for each before."""
        noted = [(o.decision.event, o.leaf, o.decision.execute_before or 0) for o in orders]
        return self._executed.begin(noted, now_ms=clock_ms()) if noted else []

    def _is_idempotent(self, decision: Decision) -> bool:
        tool = self._tools.get(decision.resource)
        return tool is not None and tool.idempotent

    def _start(self, order: _Order, call: AdmittedCall, first: bytes | None) -> None:
        """Execute a call, unless it was begun before: then only an idempotent one, and under the same decision."""
        second = first is not None and first != call.leaf
        again = order.taken.ownership is Ownership.AGAIN
        if second or (again and not self._is_idempotent(call.decision)) or (first is not None and not again):
            self.tally.refuse("second decision" if second else "executed before")
            self._watch.submit(partial(self._refuse, order.taken, call, first if second else None))
            return
        if call.late:
            self.tally.refuse("too late")
            self._watch.submit(partial(self._end_late, order.taken, call, known=not again))
            return
        if again:
            self.tally.redelivered += 1
            log.warning("the call %s is executed again: its instance is gone", call.decision.event.hex())
        tool = self._tools.get(call.decision.resource)
        if call.bodies and tool is not None:
            start, end = partial(self._start_filled, order.taken), partial(self._end_missing, order.taken)
            self._bodies.fetch(call, tool, start, end)
        else:
            self._start_filled(order.taken, call)

    def _start_filled(self, taken: Taken, call: AdmittedCall) -> None:
        """Execute a call with its bodies in their places."""
        self._watch.submit(partial(self._execute_and_report, taken, call))

    def _end_missing(self, taken: Taken, call: AdmittedCall, why: str) -> None:
        """Report a call as not executed, because a body that it names is not there as it was named."""
        self.tally.refuse("body missing")
        self._watch.submit(partial(self._report_unrun, taken, call, failed(f"BODY_MISSING: {why}")))

    def _refuse(self, taken: Taken, call: AdmittedCall, first: bytes | None) -> None:
        """Do not execute a call; report it if another decision stood `first`."""
        try:
            if first is not None:
                log.error("two decisions for the call %s: the second is refused", call.decision.event.hex())
                self._report(call, failed("SECOND_DECISION", first=first.hex()))
        except Exception:  # a report that fails is logged and kept: other calls go on
            log.exception("the refusal of a second decision could not be reported")
        self._feed.finished(taken)

    def _end_late(self, taken: Taken, call: AdmittedCall, *, known: bool) -> None:
        """Report a call that came too late. If an instance that is gone has begun it, its end is not known: do not."""
        if known:
            self._report_unrun(taken, call, failed("TOO_LATE"))
        else:
            self._feed.finished(taken)

    def _report_unrun(self, taken: Taken, call: AdmittedCall, ended: Ended) -> None:
        try:
            self._report(call, ended)
        except Exception:  # a report that fails is logged and kept: other calls go on
            log.exception("a call that was not executed could not be reported")
        self._feed.finished(taken)

    def _execute_and_report(self, taken: Taken, call: AdmittedCall) -> None:
        try:
            ended = self._execute(call, again=taken.ownership is Ownership.AGAIN)
            if self._report(call, self._bodies.sent(call, self._guard.reported(call, ended))):
                self._feed.finished(taken)
        except Exception:  # a report that fails is logged and kept: other calls go on
            log.exception("the outcome of %s could not be reported", call.decision.resource)
        finally:
            self._bodies.release(call)

    def _execute(self, call: AdmittedCall, *, again: bool = False) -> Ended:
        tool = self._tools.get(call.decision.resource)
        if tool is None:
            return failed(f"this instance does not offer {call.decision.resource}")
        try:  # a function that sets an attestation itself replaces the automatic one
            auto = {key: terms.attestation(key) for key, terms in tool.auto_attest.items()}
        except AttestationError as exc:
            return failed(f"NOT_RUN: {exc}")
        said, items = CallAttestations(tool.attests, auto), self._items(call) if tool.streams else None
        execution = Execution(
            tool,
            call,
            said,
            on_begun=self._count,
            items=items,
            refusal=partial(self._refusal, call, again=again),
            error_chars=self._guard.error_chars,
        )
        return execution.end(self._crew)

    def _refusal(self, call: AdmittedCall, *, again: bool) -> Ended | None:
        """Return the end of a call that the owner's own checks forbid, None for others."""
        ended = self._guard.refusal(call, clock_ms())
        if ended is None:
            return None
        self.tally.refuse("forbidden by the owner")
        # An instance that is gone may have executed it, under another file or at another time of day.
        return replace(ended, outcome=Outcome.UNKNOWN) if again else ended

    def _items(self, call: AdmittedCall) -> ItemStream:
        connection, caller = self._connection, (call.decision.session_id, call.caller)
        bodies, event = connection.link.bodies, call.decision.event
        return ItemStream(bodies, connection.key, event, caller, call.issued_at, self._guard.item)

    def _count(self) -> None:
        self.tally.executed += 1

    def _report(self, call: AdmittedCall, ended: Ended) -> bool:
        """Report how a call ended; return True if the report is on the log already."""
        if ended.unwritten:
            resource, event = call.decision.resource, call.decision.event.hex()
            log.error(
                "the result of %s for the call %s has parts without a JSON form: %s", resource, event, ended.unwritten
            )
        report = ResultReported(
            decision=call.leaf,
            outcome=ended.outcome,
            body=ended.body,
            attestations=ended.attestations,
            bodies=ended.bodies,
            stream=ended.stream,
        )
        return self._outbox.send(call.decision.event, report)
