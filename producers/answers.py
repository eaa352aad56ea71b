"""Answers: reads a signer's part of `results`, verifies each record, and hands it to whoever waits for it.

What reaches a waiter was signed by a live monitor key; a tool's result was also signed by the tool that offers the
resource, for this very call. Anything else is dropped and counted, never passed on. A call that waits for people is
answered twice: first that it waits, and until when, then how it ended.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from processors.intake.identify import Received
from processors.proof import sealing, signing
from processors.proof.signing import (
    INTAKE_PARTITION,
    KID_HEADER,
    PROOF_HEADER,
    MalformedProofError,
    Place,
    Proof,
    SignatureError,
    VerifiedHeads,
)
from processors.refusal import Refusal
from producers.consuming import LogSetBackError, headers_of, take, watermarks
from producers.heads import LogRollbackError
from producers.keys import KeyPair
from producers.process import OfOneProcess
from producers.registry_view import RegistryError, RegistryView
from producers.security import UNSECURED, Security
from schemas import codec, topics
from schemas.reasons import Reason
from schemas.records import Event, ReplyPayload, Result, ResultPayload, ResultReported, SignedEvent
from schemas.topics import INTAKE, RESULTS
from schemas.words import Outcome, Role

log = logging.getLogger(__name__)

REGISTRY_ATTEMPTS = 3
REST_SECONDS = 0.5

_SET_BACK = (
    "the answers end before what was read of them: the brokers came back with an older log, or what was not read for "
    "long is gone. Whether the call took effect is not known here: connect again, and look before you ask again"
)
_UNTIL = re.compile(r"until=(\d{1,14})", re.ASCII)

_place_of = functools.lru_cache(maxsize=4096)(Place.of)


class UntrustedRecordError(ValueError):
    """A record is not what its signatures would have to say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified answer. `body` is JSON text: the tool's, where the outcome came from it, else the log's own reply.

    `offset` is where it stands on its partition of `results`.
    """

    result: Result
    body: str | None = None
    offset: int = -1

    @property
    def pending_until(self) -> int | None:
        """When a call that waits is over, in milliseconds; None for every other answer, and where nothing says so."""
        found = _UNTIL.fullmatch(self.result.detail) if self.result.outcome == Outcome.PENDING else None
        return int(found[1]) if found else None


@dataclass(slots=True)
class _Waiter:
    resource: str | None
    future: Future[Answer]
    floor: int  # the newest audit index that was heard of before the question was asked
    pending: Future[Answer] | None = None


class MonitorSigned:
    """Checks records that the monitor signs, for one tenant."""

    def __init__(self, registry: RegistryView, *, tenant: str, genesis: bytes) -> None:
        self.registry, self.tenant, self.genesis = registry, tenant, genesis
        self._heads = VerifiedHeads()

    def verify(self, message: Any, tag: bytes, record: type) -> tuple[Any, bytes, bytes]:
        """Return (record, leaf, sealing key of the monitor).

        Raises:
            UntrustedRecordError: the record does not decode, or is not signed by a live monitor key for this place.
        """
        received = Received(message.partition(), message.offset(), 0, message.value(), headers_of(message))
        try:
            schema, body = codec.unframe(received.value or b"")
            if schema.name != f"{codec.NAMESPACE}.{record.__name__}":
                raise UntrustedRecordError(f"got {schema.name}, want {record.__name__}")
            kid = received.header(KID_HEADER)
            proof = Proof.parse(received.header(PROOF_HEADER))
            # The prefix is not signed, so the leaf must name the schema that we decode by.
            place = _place_of(tag, self.genesis, message.topic(), message.partition(), schema.sha256)
            leaf = place.leaf(body)
            key = self.registry.live_key(kid, Role.MONITOR)
            if key is None:
                raise UntrustedRecordError("not signed by a live monitor key")
            self._heads.verify(key.ed25519, proof.head(leaf), proof.signature)
            return codec.decode(schema, body), leaf, key.x25519
        except (codec.SchemaError, Refusal, MalformedProofError, SignatureError) as exc:
            raise UntrustedRecordError(f"{type(exc).__name__}: {exc}") from exc

    def verify_event(self, value: bytes, proof: bytes, kid: bytes, ed25519: bytes) -> tuple[Event, bytes]:
        """Return (event, leaf) of an event carried in a payload. Raises UntrustedRecordError."""
        signed = SignedEvent(event=value, proof=proof, kid=kid)
        return carried_event(signed, ed25519, tenant=self.tenant, genesis=self.genesis)


def carried_event(signed: SignedEvent, ed25519: bytes, *, tenant: str, genesis: bytes) -> tuple[Event, bytes]:
    """Return (event, leaf) of an event of this tenant's intake that is carried in something else.

    Raises:
        UntrustedRecordError: it does not decode, its kid is not this key's, or this key did not sign it for that place.
    """
    try:
        schema, body = codec.unframe(signed.event)
        event: Event = codec.decode_as(Event, signed.event)
        leaf = _place_of(signing.EVENT_TAG, genesis, INTAKE.of(tenant), INTAKE_PARTITION, schema.sha256).leaf(body)
        parsed = Proof.parse(signed.proof)
        if signing.kid_of(ed25519) != signed.kid:
            raise UntrustedRecordError("the event's key is not the registry's")
        signing.verify_signature(ed25519, parsed.head(leaf), parsed.signature)
    except (codec.SchemaError, MalformedProofError, SignatureError) as exc:
        raise UntrustedRecordError(f"{type(exc).__name__}: {exc}") from exc
    return event, leaf


class Answers(OfOneProcess):
    """Listens for the answers to one or more keys. `keys` maps each kid to its pair."""

    newest = -1  # the highest audit index of any answer that was heard
    rollback: LogRollbackError | None = None  # what was noticed last, if the log was set back
    _set_back: LogSetBackError | None = None

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
            # What was deleted meanwhile cannot be read; a later answer may still stand.
            start = max(low, min(self._start.get(partition, high), high))
            self._places.append(TopicPartition(topic, partition, start))
            self._reached[partition] = start
        self._consumer.assign(self._places)

    def reached(self) -> dict[int, int]:
        """Return from where on, by partition, an answer can stand to what is sent from now on."""
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

        For a call, name its resource; `pending` gets the answer that it waits, if there is one. The future carries
        LogSetBackError where the answers cannot be read on. Raises ForkedError.
        """
        self.check_process()
        waiter = _Waiter(resource, answer or Future(), self.newest, pending)
        with self._lock:
            self._waiters[leaf] = waiter
            set_back = self._set_back
        if set_back is not None:
            self._fail(set_back)
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

    def _fail(self, why: LogSetBackError) -> None:
        """Tell everybody who waits, and whoever comes, that no answer can be heard here any more."""
        with self._lock:
            self._set_back, waiters = why, list(self._waiters.values())
            self._waiters.clear()
        for waiter in waiters:
            with suppress(InvalidStateError):  # nobody waits any more
                waiter.future.set_exception(why)

    def _rest(self) -> None:
        """Ask the broker for nothing until somebody waits; then go on where we were.

        The embedded broker answers empty requests at once, so an idle consumer would keep it and us busy. Pausing is no
        way out: a consumer that is resumed may sleep on for a second.
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
        """Hand a record to its waiter. A registry that cannot be read now is asked again: an answer comes only once."""
        for attempt in range(1, REGISTRY_ATTEMPTS + 1):
            try:
                self._settle(message)
            except UntrustedRecordError as exc:
                self._drop(exc)
            except LogSetBackError as exc:
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
            with suppress(InvalidStateError):  # nobody waits any more
                waiter.future.set_result(answer)
        elif waiter.pending is not None:
            with suppress(InvalidStateError):  # told already, or nobody waits any more
                waiter.pending.set_result(answer)

    def _compare(self, index: int, floor: int) -> None:
        """Note how far the log has come, and whether it was set back: an answer was heard before from behind this one.

        The answer counts all the same: what was done is done, and a caller who is not told asks again.
        """
        if index <= floor:
            why = f"an answer stands at entry {index}, and entry {floor} was heard of before it was asked for"
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
                raise UntrustedRecordError("an outcome without the tool's own words")
            return Answer(result, offset=offset)
        report = self._report(result, message, sender)
        if resource is not None and self._trusted.registry.owner_of(resource) != report[1]:
            raise UntrustedRecordError("the report is signed by another tool than offers the resource")
        return Answer(result, report[0].body, offset)

    def _reply(self, result: Result, message: Any, resource: str | None, sender: bytes) -> str | None:
        """Return what the log itself says beside an answer, None for nothing."""
        if result.outcome in {Outcome.OK, Outcome.FAILED}:
            raise UntrustedRecordError("an outcome without the tool's report")
        if result.outcome == Outcome.PENDING and (resource is None or Answer(result).pending_until is None):
            raise UntrustedRecordError("only a call waits, and until a time that is told")
        if result.payload_sha256 is None:
            return None
        if resource is not None or result.outcome != Outcome.ACCEPTED:
            raise UntrustedRecordError("only an event that the log itself answers has a reply")
        payload: ReplyPayload = self._opened(result, message, sender, "ReplyPayload")
        return payload.body

    def _opened(self, result: Result, message: Any, sender: bytes, record: str) -> Any:
        """Return the payload of an answer: sealed by the monitor to the key that asked, and the one that it names."""
        assert result.payload_sha256 is not None
        sealed = [v for n, v in headers_of(message) if n == sealing.PAYLOAD_HEADER]
        if len(sealed) != 1 or sealed[0] is None:
            raise UntrustedRecordError("want one sealed payload")
        key = self._keys[result.to].sealing
        try:
            opened = sealing.open_sealed(sealed[0], result.to, key, sender, result.payload_sha256)
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
