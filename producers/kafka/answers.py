"""Answers: reads a signer's part of `results`, verifies each record, and completes the future that waits for it.

Every record that completes a future was signed by a live monitor key; a tool's result was also signed by the tool that
offers the resource, for this very call. Any other record is dropped and counted, never passed on. A call that waits for
people is answered twice: first that it waits, and until when, then how it ended.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from processors.proof import sealing, signing
from processors.state.engines import EngineMissingError
from producers.home.heads import LogRollbackError
from producers.home.keys import KeyPair
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.appending import PublishError
from producers.kafka.consuming import LogSetBackError, headers_of, take, watermarks
from producers.kafka.followed_topic import RegistryError
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas import codec, topics
from schemas.reasons import Reason
from schemas.records import ReplyPayload, Result, ResultPayload, ResultReported
from schemas.topics import RESULTS
from schemas.words import Outcome, Role

log = logging.getLogger(__name__)

REGISTRY_ATTEMPTS = 3
REST_SECONDS = 0.5

_SET_BACK = (
    "the answers end before the position that was read: the brokers came back with an older log, or deleted answers"
    " that were not read yet. Whether the call took effect is not known here: connect again, and look before you ask"
    " again"
)
_ENDED = (
    "the thread that hears the answers was ended, or failed: whether the call took effect is not known here; connect"
    " again, and look before you ask again"
)
_UNTIL = re.compile(r"until=(\d{1,14})", re.ASCII)


class AnswersEndedError(PublishError):
    """No answer is heard any more in this process, whether the event was appended or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified answer. `body` is JSON text: the tool's, if the outcome came from it, else the log's own reply.

    `offset` is its place on its partition of `results`.
    """

    result: Result
    body: str | None = None
    offset: int = -1

    @property
    def pending_until(self) -> int | None:
        """The end of the time for which a call waits, in milliseconds; None for every other answer."""
        found = _UNTIL.fullmatch(self.result.detail) if self.result.outcome == Outcome.PENDING else None
        return int(found[1]) if found else None


@dataclass(slots=True)
class _Waiter:
    resource: str | None
    future: Future[Answer]
    floor: int  # the newest audit index that was known before the question
    pending: Future[Answer] | None = None


class Answers(OfOneProcess):
    """Listens for the answers to one or more keys. `keys` maps each kid to its pair."""

    newest = -1  # the highest audit index of any answer that was heard
    rollback: LogRollbackError | None = None  # the last one noticed
    _deaf: LogSetBackError | AnswersEndedError | EngineMissingError | None = None  # why no further answer is heard

    def __init__(
        self,
        bootstrap: str,
        trusted: MonitorSigned,
        keys: dict[bytes, KeyPair],
        *,
        security: Security = UNSECURED,
        start: Mapping[int, int] | None = None,
    ) -> None:
        """Listen from now on; `start` gives an earlier offset to read from, by partition."""
        self._trusted, self._keys, self._start = trusted, keys, start or {}
        self._waiters: dict[bytes, _Waiter] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._places: list[TopicPartition] = []
        self._reached: dict[int, int] = {}  # the next offset, by partition
        self.dropped = 0
        self._consumer = Consumer(
            {
                **security,
                "bootstrap.servers": bootstrap,
                "group.id": topics.reader_group(trusted.tenant),
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "log_level": 2,
            }
        )
        self._assign()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    def _assign(self) -> None:
        """Take the partitions of our keys, from their ends: an answer cannot come before its question."""
        topic = RESULTS.of(self._trusted.tenant)
        partitions = {topics.keyed_partition(kid) for kid in self._keys}
        for partition in sorted(partitions):
            low, high = watermarks(self._consumer, topic, partition)
            # Answers that were deleted meanwhile cannot be read; a later one may still be there.
            start = max(low, min(self._start.get(partition, high), high))
            self._places.append(TopicPartition(topic, partition, start))
            self._reached[partition] = start
        self._consumer.assign(self._places)

    def reached(self) -> dict[int, int]:
        """Return, by partition, the first offset at which an answer to an event that is sent from now on can stand."""
        return dict(self._reached)

    def expect(
        self,
        leaf: bytes,
        resource: str | None = None,
        pending: Future[Answer] | None = None,
        *,
        answer: Future[Answer] | None = None,
    ) -> Future[Answer]:
        """Return the future of the final answer to the event with this leaf: `answer`, if that is given.

        For a call, name its resource; `pending` is completed if an answer says that the call waits. The future carries
        LogSetBackError if the answers cannot be read on, EngineMissingError if they cannot be judged here, and
        AnswersEndedError if their thread was ended. Raises ForkedError.
        """
        self.check_process()
        waiter = _Waiter(resource, answer or Future(), self.newest, pending)
        with self._lock:
            self._waiters[leaf] = waiter
            deaf = self._deaf
        if deaf is not None:
            self._fail(deaf)
        self._wake.set()
        return waiter.future

    def forget(self, leaf: bytes) -> None:
        """Wait no longer for an answer."""
        if self.is_elsewhere:
            return
        with self._lock:
            self._waiters.pop(leaf, None)

    def close(self) -> None:
        if self.is_elsewhere:
            return
        self._stop.set()
        self._wake.set()
        self._thread.join(5)
        self._consumer.close()

    def _run(self) -> None:
        try:
            self._listen()
        finally:
            if not self._stop.is_set():
                self._fail(AnswersEndedError(_ENDED))

    def _listen(self) -> None:
        while not self._stop.is_set():
            if not self._waiters:
                self._rest()
                continue
            for message in take(self._consumer, 256, 0.1):
                if (error := message.error()) is not None:
                    log.warning("results: %s", error)
                    if error.name() == "_AUTO_OFFSET_RESET":
                        self._fail(LogSetBackError(_SET_BACK))
                    continue
                self._reached[message.partition() or 0] = (message.offset() or 0) + 1
                if message.key() in self._keys:
                    self._take(message)

    def _fail(self, why: LogSetBackError | AnswersEndedError | EngineMissingError) -> None:
        """Fail every future, present and later ones: no further answer can be heard here."""
        with self._lock:
            self._deaf, waiters = why, list(self._waiters.values())
            self._waiters.clear()
        for waiter in waiters:
            with suppress(InvalidStateError):  # the future was cancelled meanwhile
                waiter.future.set_exception(why)

    def _rest(self) -> None:
        """Fetch nothing until an answer is awaited; then go on from the position before.

        The embedded broker answers empty requests at once, so an idle consumer would keep both busy. Pausing does not
        help: a consumer that is resumed may sleep on for a second.
        """
        read = self._consumer.position(self._places)
        self._places = [
            place if after.offset < 0 else TopicPartition(place.topic, place.partition, after.offset)
            for place, after in zip(self._places, read, strict=True)
        ]
        self._reached.update({place.partition: place.offset for place in self._places})
        self._consumer.unassign()
        while not self._waiters and not self._stop.is_set():
            self._wake.wait(REST_SECONDS)
            self._wake.clear()
        self._consumer.assign(self._places)

    def _take(self, message: Any) -> None:
        """Settle one record. If the registry cannot be read now it is asked again: an answer comes only once."""
        for attempt in range(1, REGISTRY_ATTEMPTS + 1):
            try:
                self._settle(message)
            except UntrustedRecordError as exc:
                self._drop(exc)
            except (LogSetBackError, EngineMissingError) as exc:
                self._fail(exc)
            except RegistryError as exc:
                if attempt == REGISTRY_ATTEMPTS or self._stop.is_set():
                    self._drop(exc)
                    return
                continue
            return

    def _drop(self, why: Exception) -> None:
        self.dropped += 1
        log.warning("an answer is dropped: %s", why)

    def _settle(self, message: Any) -> None:
        result, _, sender = self._trusted.verify(message, signing.RESULT_TAG, Result)
        with self._lock:
            waiter = self._waiters.get(result.event)
        if waiter is None:
            return
        answer = self._answer(result, message, waiter.resource, sender)
        self._compare(result.audit_index, waiter.floor)
        if result.outcome != Outcome.PENDING:
            self.forget(result.event)
            with suppress(InvalidStateError):  # the future was cancelled meanwhile
                waiter.future.set_result(answer)
        elif waiter.pending is not None:
            with suppress(InvalidStateError):  # completed before, or cancelled meanwhile
                waiter.pending.set_result(answer)

    def _compare(self, index: int, floor: int) -> None:
        """Note how far the log has come, and whether it was set back: then a later answer was heard before this one.

        The answer counts all the same: the call has had its effect, and a caller without an answer asks again.
        """
        if index <= floor:
            why = f"an answer stands at entry {index}, but entry {floor} was known before the question"
            self.rollback = LogRollbackError(why)
            log.error("%s", self.rollback)
        self.newest = max(self.newest, index)

    def _answer(self, result: Result, message: Any, resource: str | None, sender: bytes) -> Answer:
        if result.to not in self._keys or result.to != message.key():
            raise UntrustedRecordError("the answer is addressed to another key")
        offset = message.offset()
        if result.report is None:
            return Answer(result, self._reply(result, message, resource, sender), offset)
        if result.outcome == Outcome.PENDING:
            raise UntrustedRecordError("a call that waits has no report")
        if result.payload_sha256 is None:
            # Only a report that was too large to pass on may be missing; its leaf stands in the record.
            if result.outcome in {Outcome.OK, Outcome.FAILED} and result.reason != Reason.OUTPUT_TOO_LARGE:
                raise UntrustedRecordError("an outcome without the body that the tool signed")
            return Answer(result, offset=offset)
        report = self._report(result, message, sender)
        if resource is not None and self._trusted.registry.owner_of(resource) != report[1]:
            raise UntrustedRecordError("the report is signed by another tool than the one that offers the resource")
        return Answer(result, report[0].body, offset)

    def _reply(self, result: Result, message: Any, resource: str | None, sender: bytes) -> str | None:
        """Return the log's own reply that came with an answer, or None."""
        if result.outcome in {Outcome.OK, Outcome.FAILED}:
            raise UntrustedRecordError("an outcome without the tool's report")
        if result.outcome == Outcome.PENDING and (resource is None or Answer(result).pending_until is None):
            raise UntrustedRecordError("only a call can wait, and its answer must say until when")
        if result.payload_sha256 is None:
            return None
        if resource is not None or result.outcome != Outcome.ACCEPTED:
            raise UntrustedRecordError("a reply came with an answer that cannot have one")
        payload: ReplyPayload = self._opened(result, message, sender, "ReplyPayload")
        return payload.body

    def _opened(self, result: Result, message: Any, sender: bytes, record: str) -> Any:
        """Return the payload of an answer: sealed by the monitor to the key that asked, with the answer's digest."""
        assert result.payload_sha256 is not None
        sealed = [v for n, v in headers_of(message) if n == sealing.PAYLOAD_HEADER]
        if len(sealed) != 1 or sealed[0] is None:
            raise UntrustedRecordError("the record must have exactly one sealed payload")
        try:
            opened = self._keys[result.to].open_sealed(sealed[0], sender, result.payload_sha256)
            return codec.decode(codec.current(record), opened)
        except (sealing.SealingError, codec.SchemaError) as exc:
            raise UntrustedRecordError(str(exc)) from exc

    def _report(self, result: Result, message: Any, sender: bytes) -> tuple[ResultReported, str]:
        """Open and verify the tool's report: signed by a live tool key, about this decision and this call."""
        payload: ResultPayload = self._opened(result, message, sender, "ResultPayload")
        tool = self._trusted.registry.live_key(payload.kid, Role.TOOL)
        if tool is None:
            raise UntrustedRecordError("the report is not signed by a live tool key")
        event, leaf = self._trusted.verify_event(payload.event, payload.proof, payload.kid, tool.ed25519)
        report = event.body
        if not isinstance(report, ResultReported) or leaf != result.report or report.decision != result.decision:
            raise UntrustedRecordError("the report is about another decision")
        if event.header.causation_id != result.event or report.outcome != result.outcome:
            raise UntrustedRecordError("the report is about another call")
        return report, tool.principal_id
