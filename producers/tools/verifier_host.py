"""The host of a verifier outside: it reads the calls and results that it is shown, and signs its judge's verdicts.

A judge has a thread and a time-out; `asked_calls.py` and `asked_results.py` read the records for it. One that raises,
does not end, or answers otherwise than its verifier declared gives `deny` with the worst stamps. The message of its
error may hold the call's values, so the log of this process has the name of its class alone.

A thread cannot be stopped: a judge that holds too many ends the host. `macaw verifier serve` has its judge in
processes, which are killed and replaced instead (`macaw/security/verification/processes.py`).

The host keeps nothing. After a start it reads the calls of the last minute and the results of the last ten minutes
again; the log refuses a second verdict.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors.identity.verifiers import verifier_of
from producers.home.clock import clock_ms
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.connection import Connection
from producers.kafka.consuming import Quiet, patiently, take, watermarks
from producers.kafka.followed_topic import RegistryError
from producers.kafka.hearing import live_settings
from producers.kafka.publisher import PublishError
from producers.kafka.verified import UntrustedRecordError
from producers.tools.asked_calls import AskedCall, asked_of
from producers.tools.asked_results import asked_result_of
from producers.tools.crew import Crew
from producers.tools.opinions import Asked, Judge, JudgeFailedError, Opinion, verdict_of
from schemas import limits
from schemas.events.verdicts import VerifierDeclaration
from schemas.topics import DECISIONS, KEYED_PARTITIONS, RESULTS
from schemas.words import Surface

log = logging.getLogger(__name__)

WORKERS = 4
TIMEOUT_SECONDS = 10.0  # of one judgement; the log waits a minute
WAITING_MAX = 256  # calls and results that were read and have no thread yet; beyond it no more are read
BATCH_MAX = 64
PAUSE_SECONDS = 0.05
HELD_MAX = 64  # judgements that do not end; above it the host ends


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """The brokers of a host, its threads, and the seconds that a judgement may take."""

    bootstrap: str
    workers: int = WORKERS
    timeout_seconds: float = TIMEOUT_SECONDS
    security: Security = field(default_factory=lambda: UNSECURED)


@dataclass(slots=True)
class VerdictTally:
    """Counts of verdicts by outcome, and of failures of the judge by the name of their class."""

    given: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    def count(self, outcome: str, failure: str) -> None:
        """Count one verdict."""
        self.given[outcome] = self.given.get(outcome, 0) + 1
        if failure:
            self.failed[failure] = self.failed.get(failure, 0) + 1


class _Judgement:
    """One call or result under judgement; the first to claim it answers it."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.began = asked, 0.0
        self._lock, self._claimed = threading.Lock(), False

    def claim(self) -> bool:
        with self._lock:
            first, self._claimed = not self._claimed, True
            return first


class VerifierHost(OfOneProcess):
    """Judges for one verifier of one tenant. Several may run: the log takes the first verdict."""

    def __init__(
        self, connection: Connection, declared: VerifierDeclaration, judge: Judge, settings: VerifierSettings
    ) -> None:
        """`declared` is the declaration on the log; the connection has the verifier's key."""
        self._connection, self._judge, self._settings = connection, judge, settings
        self._verifier = verifier_of(connection.principal_id, declared)
        self._crew = Crew(f"verifier-{declared.prefix}", settings.workers)
        self._under_way: dict[_Judgement, Callable[[], None]] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self.ready = threading.Event()
        self.tally = VerdictTally()

    def stop(self) -> None:
        """Ask the host to end. Judgements that run are left: their calls are denied in time, their results marked."""
        self._stop.set()

    def run(self) -> None:
        """Judge until `stop`.

        Raises:
            KafkaException: the brokers do not show the decisions or results.
            ForkedError: this is another process than the one that made it.
        """
        self.check_process()
        tenant = self._connection.tenant.tenant
        consumer = Consumer(live_settings(self._settings.bootstrap, tenant, self._settings.security))
        try:
            consumer.assign(_places(consumer, tenant, self._verifier.declared.surfaces))
            self.ready.set()
            self._listen(consumer)
        finally:
            consumer.close()
            self._crew.stop()

    def _listen(self, consumer: Consumer) -> None:
        quiet = Quiet(consumer)
        while not self._stop.is_set() and self._crew.held <= HELD_MAX:
            self._end_late()
            if len(self._under_way) >= WAITING_MAX:
                self._stop.wait(PAUSE_SECONDS)
                continue
            messages = take(consumer, BATCH_MAX, quiet.seconds)
            quiet.after(len(messages))
            for message in messages:
                if (error := message.error()) is not None:
                    log.warning("what is to be judged cannot be read: %s", error)
                else:
                    self._hear(message)
        if self._crew.held > HELD_MAX:
            log.error("%d judgements do not end and hold a thread each: the host ends", self._crew.held)

    def _hear(self, message: Any) -> None:
        is_result = message.topic() == RESULTS.of(self._connection.tenant.tenant)
        read, kind = (asked_result_of, "result") if is_result else (asked_of, "call")
        try:
            asked: Asked | None = read(message, self._connection.trusted, key=self._connection.key, now_ms=clock_ms())
        except UntrustedRecordError as exc:
            log.error("a %s is not judged: %s", kind, exc)  # noqa: TRY400 - expected, and said in full
            return
        except RegistryError as exc:
            log.warning("the registry cannot be read, so a %s is not judged: %s", kind, exc)
            return
        if asked is None:
            return
        judgement = _Judgement(asked)

        def work() -> None:
            self._judged(judgement)

        with self._lock:
            self._under_way[judgement] = work
        self._crew.submit(work)

    def _judged(self, one: _Judgement) -> None:
        """Run the judge in a thread of the crew, and report."""
        one.began = time.monotonic()
        failure, opinion = "", None
        try:
            opinion = self._judge(one.asked)
        except JudgeFailedError as exc:
            failure = exc.failure
        except BaseException as exc:  # noqa: BLE001 - the judge is foreign code: whatever it does, the answer is deny
            failure = type(exc).__name__
        if one.claim():
            self._report(one, opinion, failure)

    def _end_late(self) -> None:
        """Answer for judgements that have taken too long, and start a thread in the place of theirs."""
        now = time.monotonic()
        with self._lock:
            running = list(self._under_way.items())
        for one, work in running:
            if one.began and now - one.began > self._settings.timeout_seconds and one.claim():
                self._crew.replace(work)
                self._report(one, None, "TimeoutError")

    def _report(self, one: _Judgement, opinion: Opinion | None, failure: str) -> None:
        with self._lock:
            self._under_way.pop(one, None)
        body, failure = verdict_of(self._verifier, one.asked, opinion, failure=failure, now_ms=clock_ms())
        so = "its call is denied" if isinstance(one.asked, AskedCall) else "its result stays marked"
        if failure:
            log.error("the judge failed on call %s, so %s: %s", one.asked.event_id.hex(), so, failure)
        self.tally.count(body.outcome, failure)
        try:
            appended = self._connection.publisher.publish(body, causation_id=one.asked.event)
        except PublishError as exc:
            log.error("a verdict is not sent, so %s: %s", so, exc)  # noqa: TRY400 - said in full
        else:
            appended.add_done_callback(_note_unsent)


def _note_unsent(appended: Any) -> None:
    if not appended.cancelled() and (exc := appended.exception()) is not None:
        log.error("a verdict did not reach the log, so it counts as none: %s", type(exc).__name__)


def _places(consumer: Consumer, tenant: str, surfaces: Sequence[str]) -> list[TopicPartition]:
    """Return where the calls and results begin that may still wait. Raises KafkaException."""
    looked_at = {
        Surface.ARGUMENTS: (DECISIONS.of(tenant), limits.VERDICT_WAIT_MS),
        Surface.RESULT: (RESULTS.of(tenant), limits.RESULT_VERDICT_MS),
    }
    asked = [
        TopicPartition(topic, partition, clock_ms() - waits_ms - limits.ISSUED_AHEAD_MS_MAX)
        for surface, (topic, waits_ms) in looked_at.items()
        if surface in surfaces
        for partition in range(KEYED_PARTITIONS)
    ]
    found = patiently(lambda: consumer.offsets_for_times(asked, timeout=10))
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < 0:
            place.offset = watermarks(consumer, place.topic, place.partition)[1]
    return list(found)
