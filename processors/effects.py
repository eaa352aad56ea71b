"""The effects of one intake record: output records as values, with the leaves that will be signed.

Bodies of outputs hold no signature, kid or worker fact, so a replay on another machine gives the same bytes. Sealing
and signing happen outside, in the loop.
"""

from __future__ import annotations

import functools
from hashlib import sha256
from typing import NamedTuple

from processors.intake.identify import Claim, Received
from processors.proof import jcs, signing
from processors.proof.sealing import payload_salt
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Place
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import codec, limits, topics
from schemas.errors import InputError
from schemas.reasons import Reason
from schemas.records import (
    AuditEntry,
    CallPayload,
    DeadLetter,
    Decision,
    ReplyPayload,
    Result,
    ResultPayload,
    SignedEvent,
)
from schemas.topics import Topic
from schemas.words import RegistryKind, SessionKind

Recipients = tuple[tuple[bytes, bytes], ...]
DECISION = "Decision"
EVENT_PROOF_HEADER = "macaw-event-proof"
_PREFIX = {name: codec.current(name).prefix for name in ("Decision", "Result", "AuditEntry")}


class OutcomeTold(NamedTuple):
    """The words of a decision or an audit entry, for the worker's meters. `observed`: the reason of enforcement."""

    kind: str
    outcome: str
    reason: str
    observed: str = ""


class Output(NamedTuple):
    """One record to produce. If it has a leaf, it is signed; if it has a payload, that is sealed to the recipients.

    `fault` and `told` are never produced: at an audit entry `fault` names the kind and the place of a failure for
    operators, and `told` is counted.
    """

    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None
    leaf: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    payload: bytes | None = None
    recipients: Recipients = ()
    fault: str = ""
    told: OutcomeTold | None = None


@functools.lru_cache(maxsize=4096)
def output_place(tag: bytes, genesis: bytes, topic: str, partition: int, record: str) -> Place:
    """Return the place of outputs of one kind on one partition."""
    return Place.of(tag, genesis, topic, partition, codec.current(record).sha256)


class PayloadTooLargeError(InputError):
    """A payload is larger than an output record may carry."""


class Effects:
    """The outputs of one record, in the order in which they are signed and written."""

    __slots__ = ("_tables", "_where", "claim", "fault", "index", "leaves", "observed", "outputs", "received", "spent")

    claim: Claim

    def __init__(self, tables: Tables, received: Received, claim: Claim | None = None) -> None:
        """Begin with no outputs. Without a `claim` here, the caller must set one before the first output."""
        self._tables = tables
        self.received = received
        if claim is not None:
            self.claim = claim
        self.index = tables.next_index
        self.outputs: list[Output] = []
        self.leaves: list[bytes] = []
        self.fault: str | None = None  # the kind of the first failure of a rule
        self._where = ""
        self.observed: str | None = None  # the reason that enforcement would have given a call that is allowed
        self.spent: dict[str, int] = {}  # work units that each principal pays, even if the record is refused

    def savepoint(self) -> tuple[int, int, int, str | None]:
        """Return a mark to undo to: outputs, leaves, rows, and the answer that was observed."""
        return len(self.outputs), len(self.leaves), self._tables.savepoint(), self.observed

    def undo_to(self, mark: tuple[int, int, int, str | None]) -> None:
        """Take back everything since `mark`."""
        outputs, leaves, rows, self.observed = mark
        del self.outputs[outputs:], self.leaves[leaves:]
        self._tables.undo_to(rows)

    def broke(self, kind: str, exc: BaseException | None = None) -> None:
        """Note that a rule broke: the audit entry names the kind of failure, the worker's log also its place."""
        if self.fault is None:
            self.fault = (kind or "a rule")[: limits.DETAIL_CHARS_MAX]
            self._where = _place_of(exc)

    def call_payload(
        self,
        salt: bytes,
        call: SignedEvent,
        parameters: bytes,
        approvals: tuple[SignedEvent, ...],
        session: SignedEvent | None,
        renewed: SignedEvent | None = None,
    ) -> bytes:
        """Return the payload of an allowed call: the caller's event as received, its parameters, and its approvals.

        `session` is the event that opened the caller's session, and `renewed` the one that gave it its present end: a
        host verifies the caller without looking it up.
        """
        return self._payload(
            CallPayload(
                salt=salt,
                event=call.event,
                proof=call.proof,
                kid=call.kid,
                parameters=parameters.decode(),
                approvals=approvals,
                session=session,
                renewed=renewed,
            )
        )

    def signed_event(self) -> SignedEvent:
        """Return this record as it stood on intake. Requires a record that was read without a refusal."""
        value, claim = self.received.value, self.claim
        assert value is not None
        assert claim.kid is not None
        return SignedEvent(event=value, proof=claim.proof, kid=claim.kid)

    def result_payload(self, salt: bytes) -> bytes:
        """Return the payload of a result: the tool's report as received."""
        report = self.signed_event()
        return self._payload(
            ResultPayload(
                salt=payload_salt(self.claim.leaf, salt), event=report.event, proof=report.proof, kid=report.kid
            )
        )

    def reply_payload(self, salt: bytes, value: jcs.JSONValue) -> bytes:
        """Return the payload of an answer to a question, a JSON value.

        Raises:
            Refusal: OUTPUT_TOO_LARGE, or OUTPUT_NOT_JSON for a value that JSON cannot express.
        """
        try:
            body = jcs.canonical(value).decode()
        except jcs.NotJSONError as exc:
            raise Refusal(Reason.OUTPUT_NOT_JSON, f"the answer cannot be written as JSON: {exc.cause}") from exc
        try:
            return self._payload(ReplyPayload(salt=payload_salt(self.claim.leaf, salt), body=body))
        except PayloadTooLargeError as exc:
            raise Refusal(Reason.OUTPUT_TOO_LARGE) from exc

    def _payload(self, record: CallPayload | ResultPayload | ReplyPayload) -> bytes:
        payload = codec.encode(record)
        if len(payload) > self._tables.limits.output_payload_bytes:
            raise PayloadTooLargeError(
                f"got a payload of {len(payload)} bytes, want at most {self._tables.limits.output_payload_bytes}"
            )
        return payload

    def decide(self, decision: Decision, payload: bytes | None, recipients: Recipients) -> bytes:
        """Add the decision on this record's call and return its leaf."""
        key = decision.event_id
        partition = topics.keyed_partition(key)
        observed = "" if decision.observed is None else decision.observed.reason
        told = OutcomeTold(DECISION, decision.outcome, decision.reason, observed)
        return self._signed(topics.DECISIONS, signing.DECISION_TAG, partition, key, decision, payload, recipients, told)

    def answer(self, result: Result, payload: bytes | None = None, recipients: Recipients = ()) -> None:
        """Add an answer to a signer."""
        partition = topics.keyed_partition(result.to)
        self._signed(topics.RESULTS, signing.RESULT_TAG, partition, result.to, result, payload, recipients)

    def reply(self, outcome: str, reason: str = "", detail: str = "", payload: bytes | None = None) -> None:
        """Answer the signer of this record; a payload is sealed to the signing key."""
        claim = self.claim
        assert claim.signer is not None
        assert claim.event_id is not None
        recipients = ((claim.signer.kid, claim.signer.x25519),) if payload is not None else ()
        self.answer(
            Result(
                origin=self._tables.origin,
                audit_index=self.index,
                to=claim.signer.kid,
                event=claim.leaf,
                event_id=claim.event_id,
                outcome=outcome,
                reason=reason,
                detail=detail,
                at=self._tables.now,
                payload_sha256=payload_digest(payload),
            ),
            payload,
            recipients,
        )

    def enter_registry(self, kind: RegistryKind, key: bytes) -> None:
        """Put this record, as it was signed, into the registry under `kind/key`."""
        self._enter(topics.REGISTRY, 0, topics.named_key(kind, key))

    def enter_sessions(self, kind: SessionKind, session_id: bytes) -> None:
        """Put this record, as it was signed, on the sessions topic under `kind/session_id`."""
        self._enter(topics.SESSIONS, topics.keyed_partition(session_id), topics.named_key(kind, session_id))

    def _enter(self, topic: Topic, partition: int, key: bytes) -> None:
        received = self.received
        headers = tuple((n, received.header(n)) for n in (PROOF_HEADER, KID_HEADER))
        self.outputs.append(Output(topic, partition, key, received.value, headers=headers))

    def leave_sessions(self, session_id: bytes, *, is_renewed: bool) -> None:
        """Remove a session from the sessions topic. Its end, if it had one, stays until the topic drops it by age."""
        partition = topics.keyed_partition(session_id)
        for kind in (SessionKind.SESSION, SessionKind.RENEWED) if is_renewed else (SessionKind.SESSION,):
            self.outputs.append(Output(topics.SESSIONS, partition, topics.named_key(kind, session_id), None))

    def dead_letter(self, reason: str) -> None:
        """Add the undecodable bytes of this record to the dead letters."""
        value = self.received.value or b""
        record = DeadLetter(
            partition=self.received.partition,
            offset=self.received.offset,
            audit_index=self.index,
            reason=reason,
            value=value[: limits.DEAD_LETTER_BYTES_MAX],
            size=len(value),
        )
        self.outputs.append(Output(topics.DEAD_LETTERS, 0, None, codec.frame(record)))

    def audit(self, entry: AuditEntry) -> bytes:
        """Add the audit entry of this record and return its body. It is the last output; its root covers the others."""
        body = codec.encode(entry)
        place = output_place(
            signing.AUDIT_TAG, self._tables.genesis, topics.AUDIT.of(self._tables.tenant_id), 0, "AuditEntry"
        )
        # The event's proof is evidence: intake drops it with its retention time, the audit topic keeps it for ever.
        headers = ((EVENT_PROOF_HEADER, self.claim.proof),) if self.claim.head else ()
        fault = "" if self.fault is None else self.fault + self._where
        value, leaf = _PREFIX["AuditEntry"] + body, place.leaf(body)
        told = OutcomeTold(entry.kind, entry.outcome, entry.reason, entry.observed or "")
        self.outputs.append(Output(topics.AUDIT, 0, None, value, leaf, headers, fault=fault, told=told))
        return body

    def _signed(
        self,
        topic: Topic,
        tag: bytes,
        partition: int,
        key: bytes,
        record: Decision | Result,
        payload: bytes | None,
        recipients: Recipients,
        told: OutcomeTold | None = None,
    ) -> bytes:
        name = type(record).__name__
        body = codec.encode(record)
        leaf = output_place(tag, self._tables.genesis, topic.of(self._tables.tenant_id), partition, name).leaf(body)
        self.leaves.append(leaf)
        self.outputs.append(
            Output(topic, partition, key, _PREFIX[name] + body, leaf, (), payload, recipients, told=told)
        )
        return leaf


def payload_digest(payload: bytes | None) -> bytes | None:
    """Return the digest of a payload as a record carries it, None for no payload."""
    return None if payload is None else sha256(payload).digest()


def _place_of(exc: BaseException | None) -> str:
    """Return the module and line that raised an exception: no path of the machine, and no value."""
    trace = exc.__traceback__ if exc is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
