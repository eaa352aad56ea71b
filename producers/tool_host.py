"""The tool host: executes allowed calls, each at most once, and signs what became of them.

Order, for a batch of decisions: verify all; note their digests durably; commit the offset; only then execute. A crash
before the commit finds the calls noted and does not run them again; a crash after it leaves them without a report, and
the log says `unknown`. A refused commit means that nothing is executed.
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

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors import jcs
from producers.admission import Call, admit
from producers.answers import UntrustedRecordError
from producers.client import Control, RefusedError
from producers.consuming import WAIT_SECONDS, Quiet, take
from producers.executed import ExecutedCalls
from producers.home import Home, TenantHome
from producers.keys import KeyPair
from producers.publisher import Publisher
from producers.registry_view import RegistryError
from producers.tools import ToolArgumentError, ToolFunction, bind_arguments
from schemas import limits
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered, ResultReported, ToolDeclaration
from schemas.topics import DECISIONS, KEYED_PARTITIONS, tool_group

log = logging.getLogger(__name__)

WORKERS = 8
BATCH_MAX = 256
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


@dataclass(slots=True)
class Tally:
    """What a host has done; for people and tests."""

    executed: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1


def tool_key(folder: TenantHome, app: str) -> KeyPair:
    """Return this instance's key of a tool, made on first use."""
    path = folder.key_file("tool", app)
    if not path.exists():
        KeyPair.generate().save(path)
    return KeyPair.load(path)


def register_tool(home: Home, folder: TenantHome, app: str, tools: Sequence[ToolFunction]) -> KeyPair:
    """Register this instance of a tool with the enrolment key, in one round trip, unless it is registered already.

    Raises:
        RefusedError: the log refused the registration.
    """
    key = tool_key(folder, app)
    declared = tuple(
        ToolDeclaration(
            resource=f"tool:{app}/{t.name}",
            description=t.description,
            timeout_ms=int(t.timeout_seconds * 1000),
            idempotent=t.idempotent,
        )
        for t in tools
    )
    body = PrincipalRegistered(role="tool", key=key.offer("tool", app, folder.genesis), attributes="{}", tools=declared)
    with Control(home, folder, folder.key("enrol"), "enrol") as control:
        row = control.registry.live_key(key.kid, "tool")
        if row is not None and control.registry.tables.principals.rows[app.encode()].tools == declared:
            return key
        try:
            control.tell(body)
        except RefusedError as exc:
            if exc.reason == Reason.KEY_TAKEN:
                raise RefusedError(
                    f"the key of {app!r} is registered with other operations: revoke it, or remove its key file",
                    reason=exc.reason,
                ) from exc
            raise
    return key


class ToolHost:
    """Hosts the tools of one app for one tenant."""

    def __init__(self, control: Control, app: str, tools: Sequence[ToolFunction], settings: HostSettings) -> None:
        self._control, self._app, self._settings = control, app, settings
        self._tools: Mapping[str, ToolFunction] = {f"tool:{app}/{t.name}": t for t in tools}
        self._executed = ExecutedCalls(settings.executed_path)
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix=f"tool-{app}")
        self._watch = ThreadPoolExecutor(settings.workers, thread_name_prefix=f"watch-{app}")
        self._publisher: Publisher = control.publisher
        self._stop = threading.Event()
        self._epoch = 0  # changes with every rebalance
        self.ready = threading.Event()
        self.tally = Tally()
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "group.id": tool_group(control.tenant.tenant, app),
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "session.timeout.ms": 10_000,
                "log_level": 2,
            }
        )

    def stop(self) -> None:
        """Ask the host to end; calls that run are waited for."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`."""
        topic = DECISIONS.of(self._control.tenant.tenant)
        if self._settings.group_managed:
            self._consumer.subscribe([topic], on_assign=self._moved, on_revoke=self._moved, on_lost=self._moved)
        else:
            self._consumer.assign(self._committed_places(topic))
        self.ready.set()
        quiet = Quiet(self._consumer)
        try:
            while not self._stop.is_set():
                seconds = WAIT_SECONDS if self._settings.group_managed else quiet.seconds
                batch = self._take(seconds)
                if batch:
                    self._serve(batch)
                if not self._settings.group_managed:
                    quiet.after(len(batch))
        finally:
            self._close()

    def _take(self, seconds: float) -> list[Any]:
        """Return records that are ours to commit: none from before a rebalance."""
        before = self._epoch
        batch = [m for m in take(self._consumer, BATCH_MAX, seconds) if self._is_record(m)]
        if self._epoch == before:
            return batch
        if batch:
            # Some may be another instance's by now, which executes them; a commit of ours would be taken all the same.
            self._reread()
        return []

    def _moved(self, _consumer: Consumer, _places: list[TopicPartition]) -> None:
        """A rebalance; the library itself assigns and unassigns."""
        self._epoch += 1

    def _reread(self) -> None:
        """Go back to the committed offsets in whatever is assigned now.

        Not left to the rebalance: one `take` may serve the assignment and go on to records of it, and the position is
        past those then. Not a seek to what was dropped: another instance may have executed that meanwhile.
        """
        places = [TopicPartition(p.topic, p.partition) for p in self._consumer.assignment()]
        if places:
            self._consumer.assign(places)

    def _committed_places(self, topic: str) -> list[TopicPartition]:
        places = [TopicPartition(topic, p) for p in range(KEYED_PARTITIONS)]
        found = self._consumer.committed(places, timeout=10)
        return [TopicPartition(p.topic, p.partition, max(p.offset, 0)) for p in found]

    def _close(self) -> None:
        self._watch.shutdown(wait=True)  # first: what is committed and waits for a worker is still to run and report
        self._pool.shutdown(wait=True)
        self._consumer.close()
        self._executed.close()

    @staticmethod
    def _is_record(message: Any) -> bool:
        if message.error() is not None:
            log.warning("decisions: %s", message.error())
        return message.error() is None

    def _serve(self, batch: list[Any]) -> None:
        try:
            calls = [call for message in batch if (call := self._admit(message)) is not None]
        except RegistryError as exc:
            # Nobody can say now whom to trust: nothing is committed, so all of it is read again.
            log.warning("the registry cannot be read, so decisions wait: %s", exc)
            self._reread()
            self._stop.wait(REGISTRY_PAUSE_SECONDS)
            return
        known = self._begin(calls) if calls else {}
        try:
            self._consumer.commit(offsets=_positions(batch), asynchronous=False)
        except KafkaException as exc:
            log.warning("the offset was not committed, so nothing is executed: %s", exc.args[0])
            return
        for call in calls:
            if call.decision.event in known:
                self.tally.refuse("executed before")
                self._watch.submit(self._refuse_second, call, known[call.decision.event])
            else:
                self._watch.submit(self._execute_and_report, call)

    def _begin(self, calls: list[Call]) -> dict[bytes, bytes]:
        noted = [(c.decision.event, c.leaf, c.decision.execute_before or 0) for c in calls]
        return self._executed.begin(noted, now_ms=time.time_ns() // 1_000_000)

    def _admit(self, message: Any) -> Call | None:
        """Return a call for this host, if the record is one. Raises RegistryError where that cannot be known now."""
        try:
            return admit(
                message,
                self._control.trusted,
                tool=self._app,
                key=self._control.key,
                now_ms=time.time_ns() // 1_000_000,
            )
        except UntrustedRecordError as exc:
            log.error("a decision is not trusted and not executed: %s", exc)  # noqa: TRY400 - expected, and said in full
            self.tally.refuse("untrusted")
            return None

    def _refuse_second(self, call: Call, first: bytes) -> None:
        """A second decision for one call, or a redelivery: never executed twice."""
        if first == call.leaf:
            return
        log.error("two decisions for the call %s: the second is refused", call.decision.event.hex())
        try:
            self._report(call, "failed", {"error": "SECOND_DECISION", "first": first.hex()})
        except Exception:
            log.exception("the refusal of a second decision could not be reported")

    def _execute_and_report(self, call: Call) -> None:
        try:
            outcome, body = self._execute(call)
            self._report(call, outcome, body)
        except Exception:
            log.exception("the outcome of %s could not be reported", call.decision.resource)

    def _execute(self, call: Call) -> tuple[str, Any]:
        tool = self._tools.get(call.decision.resource)
        if tool is None:
            return "failed", {"error": f"this instance does not offer {call.decision.resource}"}
        try:
            bound = bind_arguments(tool, call.parameters)
        except ToolArgumentError as exc:
            return "failed", {"error": str(exc)[:ERROR_CHARS_MAX]}
        running = self._pool.submit(self._run, tool, bound, call.decision.execute_before or 0)
        return _outcome(running, tool.timeout_seconds)

    def _run(self, tool: ToolFunction, bound: inspect.BoundArguments, execute_before: int) -> Any:
        """Call the function, unless the call waited too long for its turn."""
        if time.time_ns() // 1_000_000 >= execute_before:
            raise _TooLateError
        self.tally.executed += 1
        if tool.is_async:
            return asyncio.run(tool.function(*bound.args, **bound.kwargs))  # type: ignore[arg-type]
        return tool.function(*bound.args, **bound.kwargs)

    def _report(self, call: Call, outcome: str, body: Any) -> None:
        outcome, text = _written(outcome, body)
        report = ResultReported(decision=call.leaf, outcome=outcome, body=text, attestations=())
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


def _written(outcome: str, body: Any) -> tuple[str, str]:
    """Return (outcome, JSON text) that the step takes; a body that it would refuse makes the call failed."""
    try:
        text = jcs.canonical(body).decode()
        if len(text.encode()) > REPORT_CHARS_MAX:
            return "failed", json.dumps({"error": f"the result has {len(text)} characters: too large"})
        # The writer writes some that the reader refuses, as 1e17; a refused report would leave the caller without any.
        jcs.parse_strict(text.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)
    except (ValueError, TypeError, RecursionError) as exc:
        cause = getattr(exc, "cause", type(exc).__name__)
        return "failed", json.dumps({"error": f"the result cannot be written as JSON: {cause}"})
    return outcome, text


def _positions(batch: list[Any]) -> list[TopicPartition]:
    ends: dict[tuple[str, int], int] = {}
    for message in batch:
        place = (message.topic(), message.partition())
        ends[place] = max(ends.get(place, 0), message.offset() + 1)
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]
