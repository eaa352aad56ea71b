"""Answers: verifies each record of `results` that is addressed to a key, and completes the future that waits for it.

Every record that completes a future was signed by a live monitor key; a tool's result was also signed by the tool that
offers the resource, for this very call. Any other record is dropped and counted, never passed on. A call that waits for
people or for verdicts is answered more than once: first that it waits, for whom and until when, then how it ended.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from processors.calls.bodies import result_reference
from processors.proof import sealing, signing
from processors.state.engines import EngineMissingError
from producers.home.heads import LogRollbackError
from producers.home.keys import KeyPair
from producers.home.process import OfOneProcess
from producers.kafka.bodies import Bodies, Wanted
from producers.kafka.consuming import LogSetBackError, headers_of
from producers.kafka.followed_topic import RegistryError
from producers.kafka.hearing import AnswersEndedError, Deaf, Hearing
from producers.kafka.offers import Offered
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas import codec
from schemas.events.bodies import BodyReference
from schemas.reasons import Reason
from schemas.records import ReplyPayload, Result, ResultPayload, ResultReported
from schemas.rows import KeyRow
from schemas.words import Outcome, Role

log = logging.getLogger(__name__)

REGISTRY_ATTEMPTS = 3
BODY_SECONDS = 30.0  # for a result that travels beside its report: it was sent before

_WITHOUT_REPORT = frozenset({Reason.OUTPUT_TOO_LARGE, Reason.RESULT_WITHHELD})
_LEFT = "the connection was closed while an answer was awaited: whether the event took effect is not known here"
_UNTIL = re.compile(r"until=(\d{1,14})(?: verifiers=([a-z0-9_,+]{1,130}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified answer. `body` is JSON text: the tool's, if the outcome came from it, else the log's own reply.

    `offset` is its place on its partition of `results`. A large result travels beside its report, which names it in
    `body`; `text` fetches it. `stream` says how much a tool has streamed before its report.
    """

    result: Result
    body: str | None = field(default=None, repr=False)
    offset: int = -1
    beside: Callable[[], bytes] | None = field(default=None, repr=False, compare=False)
    stream: BodyReference | None = None

    def text(self) -> str | None:
        """Return the body, fetched if it travels beside its report. Raises BodyMissingError if it is not there."""
        return self.body if self.beside is None else self.beside().decode("utf-8", "replace")

    @property
    def pending_until(self) -> int | None:
        """The end of the time for which a call waits, in milliseconds; None for every other answer."""
        found = self._pending()
        return int(found[1]) if found else None

    @property
    def pending_verifiers(self) -> tuple[str, ...]:
        """The verifiers that a call waits for, by the names of their stamps; `+` stands for further ones."""
        found = self._pending()
        return tuple(found[2].split(",")) if found and found[2] else ()

    def _pending(self) -> re.Match[str] | None:
        return _UNTIL.fullmatch(self.result.detail) if self.result.outcome == Outcome.PENDING else None


class Waits(Future[Answer]):
    """The future of an answer that says that its call waits. `later` is that of the next such answer, once it is done.

    A call may wait more than once: for verdicts first, and then for people.
    """

    later: Waits

    def tell(self, answer: Answer) -> Waits:
        """Complete it, and return the future to complete next."""
        self.later = Waits()
        try:
            self.set_result(answer)
        except InvalidStateError:  # cancelled meanwhile: nobody listens
            return self
        return self.later


class _Report(NamedTuple):
    """A tool's signed report, and the key that signed it."""

    event: Any  # an Event whose body is a ResultReported
    tool: KeyRow | Offered


@dataclass(slots=True)
class _Waiter:
    resource: str | None
    future: Future[Answer]
    floor: int  # the newest audit index that was known before the question
    pending: Waits | None = None
    offered: Offered | None = None  # the session whose call it is; None for a registered tool's


class Answers(OfOneProcess):
    """Listens for the answers to the keys of one client. `keys` maps each kid to its pair.

    The `Hearing` of the process reads the records. Here each is verified, and opened only with the key that it names.
    """

    newest = -1  # the highest audit index of any answer that was heard
    rollback: LogRollbackError | None = None  # the last one noticed
    _deaf: Deaf | None = None  # why no further answer is heard

    def __init__(self, hearing: Hearing, trusted: MonitorSigned, keys: Mapping[bytes, KeyPair], bodies: Bodies) -> None:
        """Listen from now on. Raises KafkaException where the brokers do not say where the answers end."""
        self._hearing, self._trusted, self._keys, self._bodies = hearing, trusted, dict(keys), bodies
        self._waiters: dict[bytes, _Waiter] = {}
        self._lock = threading.Lock()
        self.dropped = 0
        hearing.join(self)

    @property
    def kids(self) -> Iterable[bytes]:
        """The keys that it listens for."""
        return self._keys.keys()

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._waiters)

    def reached(self) -> dict[int, int]:
        """Return, by partition, the first offset at which an answer to an event that is sent from now on can stand."""
        return self._hearing.reached()

    def expect(
        self,
        leaf: bytes,
        resource: str | None = None,
        pending: Waits | None = None,
        *,
        answer: Future[Answer] | None = None,
        offered: Offered | None = None,
    ) -> Future[Answer]:
        """Return the future of the final answer to the event with this leaf: `answer`, if that is given.

        For a call, name its resource, and the session that it names as its target; `pending` is completed if an answer
        says that the call waits, and its `later` by the next such answer. The future carries LogSetBackError if the
        answers cannot be read on, EngineMissingError if they cannot be judged here, and AnswersEndedError if their
        thread was ended, or this was closed. Raises ForkedError.
        """
        self.check_process()
        waiter = _Waiter(resource, answer or Future(), self.newest, pending, offered)
        with self._lock:
            self._waiters[leaf] = waiter
            deaf = self._deaf
        if deaf is not None:
            self.fail(deaf)
        else:
            self._hearing.awaits(self)
        return waiter.future

    def forget(self, leaf: bytes) -> None:
        """Wait no longer for an answer."""
        if self.is_elsewhere:
            return
        with self._lock:
            self._waiters.pop(leaf, None)

    def close(self) -> None:
        """Listen no longer; the futures of this client that are left carry AnswersEndedError."""
        if self.is_elsewhere:
            return
        self._hearing.leave(self)
        self.fail(AnswersEndedError(_LEFT))

    def fail(self, why: Deaf) -> None:
        """Fail every future, present and later ones: no further answer can be heard here."""
        with self._lock:
            self._deaf, waiters = why, list(self._waiters.values())
            self._waiters.clear()
        for waiter in waiters:
            with suppress(InvalidStateError):  # the future was cancelled meanwhile
                waiter.future.set_exception(why)

    def take(self, message: Any) -> None:
        """Settle one record. If the registry cannot be read now it is asked again: an answer comes only once."""
        for attempt in range(1, REGISTRY_ATTEMPTS + 1):
            try:
                self._settle(message)
            except UntrustedRecordError as exc:
                self._drop(exc)
            except (LogSetBackError, EngineMissingError) as exc:
                self._hearing.fail(exc)  # the registry is the same for all
            except RegistryError as exc:
                if attempt == REGISTRY_ATTEMPTS or self._hearing.is_closing:
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
        answer = self._answer(result, message, waiter, sender)
        self._compare(result.audit_index, waiter.floor)
        if result.outcome != Outcome.PENDING:
            self.forget(result.event)
            with suppress(InvalidStateError):  # the future was cancelled meanwhile
                waiter.future.set_result(answer)
        elif waiter.pending is not None:
            waiter.pending = waiter.pending.tell(answer)

    def _compare(self, index: int, floor: int) -> None:
        """Note how far the log has come, and whether it was set back: then a later answer was heard before this one.

        The answer counts all the same: the call has had its effect, and a caller without an answer asks again.
        """
        if index <= floor:
            why = f"an answer stands at entry {index}, but entry {floor} was known before the question"
            self.rollback = LogRollbackError(why)
            log.error("%s", self.rollback)
        self.newest = max(self.newest, index)

    def _answer(self, result: Result, message: Any, waiter: _Waiter, sender: bytes) -> Answer:
        resource = waiter.resource
        if result.to not in self._keys or result.to != message.key():
            raise UntrustedRecordError("the answer is addressed to another key")
        offset = message.offset()
        if result.report is None:
            return Answer(result, self._reply(result, message, resource, sender), offset)
        if result.outcome == Outcome.PENDING:
            raise UntrustedRecordError("a call that waits has no report")
        if result.payload_sha256 is None:
            # Only a report that was too large to pass on, or withheld, may be missing; its leaf stands in the record.
            if result.outcome in {Outcome.OK, Outcome.FAILED} and result.reason not in _WITHOUT_REPORT:
                raise UntrustedRecordError("an outcome without the body that the tool signed")
            return Answer(result, offset=offset)
        report = self._report(result, message, sender, waiter.offered)
        owner = None if resource is None else self._owner_of(resource, waiter.offered)
        if owner is not None and owner != report.tool.principal_id:
            raise UntrustedRecordError("the report is signed by another tool than the one that offers the resource")
        said: ResultReported = report.event.body
        return Answer(result, said.body, offset, self._beside(result, report), said.stream)

    def _beside(self, result: Result, report: _Report) -> Callable[[], bytes] | None:
        """Return the way to a result that travels beside its report, None for any other."""
        reference = result_reference(report.event.body)
        if reference is None:
            return None
        wanted = Wanted(
            references=(reference,),
            key=self._keys[result.to],
            sender=report.tool.x25519,
            since_ms=report.event.header.issued_at,
        )
        return lambda: self._bodies.fetch(wanted, seconds=BODY_SECONDS)[reference.digest]

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

    def _owner_of(self, resource: str, offered: Offered | None) -> str | None:
        return self._trusted.registry.owner_of(resource) if offered is None else offered.principal_id

    def _report(self, result: Result, message: Any, sender: bytes, offered: Offered | None) -> _Report:
        """Open and verify the tool's report: signed by a live tool key, about this decision and this call.

        Where the call named a session, by the key of that session's offer, and by no other.
        """
        payload: ResultPayload = self._opened(result, message, sender, "ResultPayload")
        tool: Offered | KeyRow | None = offered
        if tool is None:
            tool = self._trusted.registry.live_key(payload.kid, Role.TOOL)
        if tool is None or (offered is not None and payload.kid != offered.kid):
            raise UntrustedRecordError("the report is not signed by a live key of the tool")
        event, leaf = self._trusted.verify_event(payload.event, payload.proof, payload.kid, tool.ed25519)
        report = event.body
        if not isinstance(report, ResultReported) or leaf != result.report or report.decision != result.decision:
            raise UntrustedRecordError("the report is about another decision")
        if event.header.causation_id != result.event or report.outcome != result.outcome:
            raise UntrustedRecordError("the report is about another call")
        return _Report(event, tool)
