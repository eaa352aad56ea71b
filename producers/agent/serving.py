"""A session's own tools, served: each allowed call is checked again, run once in a thread of its own, and reported.

A decision that names the session is read once, and a call that began is remembered for as long as it could come again.
The report is signed by the key of the offer. Where the broker does not take it, it is sent again for REPORT_SECONDS;
after that the log says `unknown`, and so it does when the process ends while a call runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from producers.agent.begun import BegunCalls
from producers.agent.callers import Callers
from producers.agent.offering import Operation
from producers.agent.running import RunningCall, executing
from producers.agent.threads import BusyError, Threads
from producers.home.clock import clock_ms
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from producers.kafka.followed_topic import RegistryError
from producers.kafka.intake import Author
from producers.kafka.publisher import EventTooLargeError, Publisher, PublishError, UnsignableError
from producers.kafka.verified import UntrustedRecordError
from producers.tools.admission import AdmittedCall, admit
from producers.tools.beside import BodyDesk
from producers.tools.execution import Ended, Execution, failed
from producers.tools.item_stream import ItemStream
from producers.tools.result_text import lost_report
from schemas.records import ResultReported

log = logging.getLogger(__name__)

CALLS_MAX = 512  # at once, of one session
CALLS_OF_ONE_MAX = 256  # of which one caller
REPORT_SECONDS = 60.0
PAUSE_SECONDS = 1.0
ATTEMPTS = 30  # to judge a decision while the registry cannot be read


class Serving:
    """Executes the calls to one session. Thread-safe."""

    def __init__(self, connection: Connection, key: KeyPair) -> None:
        """Serve for the session of `connection`; `key` is that of its offer."""
        self._connection, self._key = connection, key
        self.session_id = connection.key.kid
        self.operations: Mapping[str, Operation] = {}  # replaced whole
        self.deaf = ""  # why no further call is heard
        author = Author(key, connection.principal_id, self.session_id)
        self._publisher = Publisher(connection.link.intake, author)
        self._bodies = BodyDesk(connection.link.bodies, key)
        self._threads = Threads(f"calls-{connection.principal_id}", 2 * CALLS_MAX)
        self._callers = Callers(CALLS_OF_ONE_MAX, own=connection.principal_id)
        self._begun = BegunCalls()
        self._is_closed = False

    def start(self) -> None:
        """Hear decisions from now on. Raises KafkaException, ForkedError."""
        self._connection.link.decisions.join(self.session_id, self)

    def close(self) -> None:
        """Hear no more. Calls that run are left: their outcome is unknown once the session has ended."""
        self._is_closed = True
        self._bodies.stop()
        self._connection.link.decisions.leave(self.session_id)

    def fail(self, why: str) -> None:
        """Take note that no further decision is heard."""
        self.deaf = why
        log.error("the tools of %s are not served any more: %s; register again", self._connection.principal_id, why)

    def take(self, message: Any) -> None:
        """Begin the call in a record of `decisions` that names this session."""
        try:
            self._threads.submit(partial(self._serve, message))
        except BusyError as exc:
            self._refuse(message, exc)

    def _refuse(self, message: Any, why: BusyError) -> None:
        """Report that a call was not run, without a thread for it: else its caller would wait for its time-out."""
        log.error("a call is not begun: %s", why)
        try:
            call = self._admit(message)
            if call is not None and self._is_first(call):
                ended = failed(f"NOT_RUN: {why}")
                report = ResultReported(decision=call.leaf, outcome=ended.outcome, body=ended.body, attestations=())
                self._publisher.publish(report, causation_id=call.decision.event)
        except Exception:  # it is unknown to its caller then; others go on
            log.exception("a call could not be refused")

    def _serve(self, message: Any) -> None:
        try:
            call = self._admitted(message)
            if call is None or not self._is_first(call):
                return
            operation = self.operations.get(call.decision.resource)
            if call.bodies and operation is not None:
                declared = operation.declared(call.decision.resource)
                self._bodies.fetch(call, declared, self._begin_filled, self._end_missing)
            else:
                self._end_and_report(call)
        except UntrustedRecordError as exc:
            log.error("a decision is not trusted and not executed: %s", exc)  # noqa: TRY400 - expected, said in full
        except Exception:  # a call that fails here is unknown to its caller; others go on
            log.exception("a call could not be served")

    def _begin_filled(self, call: AdmittedCall) -> None:
        """Execute a call with its bodies in their places."""
        try:
            self._threads.submit(partial(self._end_and_report, call))
        except BusyError as exc:
            self._bodies.release(call)
            self._report(call, failed(f"NOT_RUN: {exc}"))

    def _end_missing(self, call: AdmittedCall, why: str) -> None:
        """Report a call as not executed, because a body that it names is not there as it was named."""
        self._report(call, failed(f"BODY_MISSING: {why}"))

    def _end_and_report(self, call: AdmittedCall) -> None:
        try:
            self._report(call, self._bodies.sent(call, self._end(call)))
        except Exception:  # it is unknown to its caller then; others go on
            log.exception("the outcome of %s could not be reported", call.decision.resource)
        finally:
            self._bodies.release(call)

    def _admit(self, message: Any) -> AdmittedCall | None:
        connection = self._connection
        return admit(
            message,
            connection.trusted,
            connection.link.sessions,
            tool=connection.principal_id,
            key=self._key,
            now_ms=clock_ms(),
            operations=self.operations,
            target=self.session_id,
        )

    def _admitted(self, message: Any) -> AdmittedCall | None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._admit(message)
            except RegistryError as exc:
                if attempt == ATTEMPTS or self._is_closed:
                    log.error("a call is not begun: %s", exc)  # noqa: TRY400 - expected, and said in full
                    return None
                time.sleep(PAUSE_SECONDS)
        return None

    def _is_first(self, call: AdmittedCall) -> bool:
        """Note that a call begins; False if it began before, under this decision or another one."""
        if self._begun.begin(call.decision.event, call.issued_at, now_ms=clock_ms()):
            return True
        log.error("a second decision for the call %s is refused", call.decision.event.hex())
        return False

    def _end(self, call: AdmittedCall) -> Ended:
        if call.late or self._is_closed:
            return failed("TOO_LATE")
        operation = self.operations.get(call.decision.resource)
        if operation is None:
            return failed(f"this instance does not offer {call.decision.resource}")
        decision = call.decision
        running = RunningCall(
            event=decision.event,
            executor=self.session_id,
            source=decision.session_id,
            principal_id=decision.principal_id,
            resource=decision.resource,
            subjects=decision.subjects,
        )
        link, caller = self._connection.link, (decision.session_id, call.caller)
        execution = Execution(
            operation.as_function(decision.resource),
            call,
            around=partial(executing, running),
            items=ItemStream(link.bodies, self._key, decision.event, caller, call.issued_at),
        )
        try:
            with self._callers.one_more(decision.principal_id):
                return execution.end(self._threads)
        except BusyError as exc:
            return failed(f"NOT_RUN: {exc}")

    def _report(self, call: AdmittedCall, ended: Ended) -> None:
        if ended.unwritten:
            log.warning("the result of %s has parts without a JSON form: %s", call.decision.resource, ended.unwritten)
        report = ResultReported(
            decision=call.leaf,
            outcome=ended.outcome,
            body=ended.body,
            attestations=(),
            bodies=ended.bodies,
            stream=ended.stream,
        )
        until = time.monotonic() + REPORT_SECONDS
        while True:
            try:
                self._publisher.publish(report, causation_id=call.decision.event).result(REPORT_SECONDS)
            except (EventTooLargeError, UnsignableError) as exc:
                shortened = lost_report(str(exc))
                if report.body == shortened:
                    raise
                report = replace(report, body=shortened, bodies=())
            except (PublishError, TimeoutError) as exc:
                if time.monotonic() > until or self._is_closed:
                    log.error("the outcome of %s is not reported: %s", call.decision.resource, exc)  # noqa: TRY400
                    return
                time.sleep(PAUSE_SECONDS)
            else:
                return
