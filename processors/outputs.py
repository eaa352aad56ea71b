"""What one intake record causes: output records as values, with the leaves that will be signed.

Bodies of outputs hold no signature, kid or worker fact, so a replay on another machine gives the same bytes. Sealing
and signing happen outside, in the loop.
"""

from __future__ import annotations

import functools
from hashlib import sha256
from typing import NamedTuple

from processors import signing
from processors.intake import KID_HEADER, PROOF_HEADER, Claim, Received
from processors.sealing import payload_salt
from processors.signing import Place
from processors.tables import Tables
from schemas import codec, limits, topics
from schemas.records import AuditEntry, CallPayload, DeadLetter, Decision, Result, ResultPayload, SessionChanged
from schemas.rows import SessionRow
from schemas.topics import Topic

Recipients = tuple[tuple[bytes, bytes], ...]
EVENT_PROOF_HEADER = "macaw-event-proof"
_PREFIX = {name: codec.current(name).prefix for name in ("Decision", "Result", "AuditEntry")}


class Output(NamedTuple):
    """One record to produce. With a leaf it is signed; with a payload that is sealed to the recipients."""

    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None
    leaf: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    payload: bytes | None = None
    recipients: Recipients = ()


@functools.lru_cache(maxsize=4096)
def output_place(tag: bytes, genesis: bytes, topic: str, partition: int, record: str) -> Place:
    """Return the place of outputs of one kind on one partition."""
    return Place.of(tag, genesis, topic, partition, codec.current(record).sha256)


class PayloadTooLargeError(ValueError):
    """A payload exceeds what an output record may carry."""


class Effects:
    """The outputs of one record, in the order in which they are signed and written."""

    __slots__ = ("_tables", "claim", "index", "leaves", "outputs", "received")

    def __init__(self, tables: Tables, received: Received, claim: Claim) -> None:
        self._tables = tables
        self.received = received
        self.claim = claim
        self.index = tables.next_index
        self.outputs: list[Output] = []
        self.leaves: list[bytes] = []

    def call_payload(self, salt: bytes, parameters: bytes) -> bytes:
        """Return the payload of an allowed call: the caller's event as received, and what to execute."""
        return self._payload(CallPayload, salt, parameters=parameters.decode())

    def result_payload(self, salt: bytes) -> bytes:
        """Return the payload of a result: the tool's report as received."""
        return self._payload(ResultPayload, salt)

    def _payload(self, cls: type[CallPayload | ResultPayload], salt: bytes, **more: str) -> bytes:
        received = self.received
        assert received.value is not None
        assert self.claim.kid is not None
        record = cls(
            salt=payload_salt(self.claim.leaf, salt),
            event=received.value,
            proof=self.claim.proof,
            kid=self.claim.kid,
            **more,
        )
        payload = codec.encode(record)
        if len(payload) > self._tables.limits.output_payload_bytes:
            raise PayloadTooLargeError(
                f"got {len(payload)} bytes, want at most {self._tables.limits.output_payload_bytes}"
            )
        return payload

    def decide(self, decision: Decision, payload: bytes | None, recipients: Recipients) -> bytes:
        """Add the decision on this record's call and return its leaf."""
        key = decision.event_id
        partition = topics.keyed_partition(key)
        return self._signed(topics.DECISIONS, signing.DECISION_TAG, partition, key, decision, payload, recipients)

    def answer(self, result: Result, payload: bytes | None = None, recipients: Recipients = ()) -> None:
        """Add an answer to a signer."""
        partition = topics.keyed_partition(result.to)
        self._signed(topics.RESULTS, signing.RESULT_TAG, partition, result.to, result, payload, recipients)

    def reply(self, outcome: str, reason: str = "", detail: str = "") -> None:
        """Answer the signer of this record."""
        claim = self.claim
        assert claim.signer is not None
        assert claim.event_id is not None
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
            )
        )

    def enter_registry(self, kind: str, key: bytes) -> None:
        """Put this record, as it was signed, into the registry under `kind/key`."""
        received = self.received
        headers = tuple((n, received.header(n)) for n in (PROOF_HEADER, KID_HEADER))
        self.outputs.append(Output(topics.REGISTRY, 0, f"{kind}/{key.hex()}".encode(), received.value, headers=headers))

    def leave_registry(self, kind: str, key: bytes) -> None:
        """Remove `kind/key` from the registry."""
        self.outputs.append(Output(topics.REGISTRY, 0, f"{kind}/{key.hex()}".encode(), None))

    def session_changed(self, session_id: bytes, row: SessionRow, status: str) -> None:
        """Tell the views that a session was opened or has ended."""
        tenant = self._tables.tenant_id
        record = SessionChanged(
            origin=self._tables.origin,
            audit_index=self.index,
            tenant=tenant,
            session_id=session_id,
            principal_id=row.principal_id,
            role=row.role,
            status=status,
            opened_at=row.opened_at,
            expires_at=row.expires_at,
            at=self._tables.now,
        )
        key = f"{tenant}/{session_id.hex()}".encode()
        partition = topics.keyed_partition(session_id)
        self.outputs.append(Output(topics.OPS_SESSIONS, partition, key, codec.frame(record)))

    def dead_letter(self, reason: str) -> None:
        """Keep undecodable bytes for people to look at."""
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
        """Add the audit entry of this record and return its body. It is the last output, and not under its own root."""
        body = codec.encode(entry)
        place = output_place(
            signing.AUDIT_TAG, self._tables.genesis, topics.AUDIT.of(self._tables.tenant_id), 0, "AuditEntry"
        )
        # The event's proof is evidence: intake's copy is gone after its retention, the audit topic's never.
        headers = ((EVENT_PROOF_HEADER, self.claim.proof),) if self.claim.head else ()
        self.outputs.append(Output(topics.AUDIT, 0, None, _PREFIX["AuditEntry"] + body, place.leaf(body), headers))
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
    ) -> bytes:
        name = type(record).__name__
        body = codec.encode(record)
        leaf = output_place(tag, self._tables.genesis, topic.of(self._tables.tenant_id), partition, name).leaf(body)
        self.leaves.append(leaf)
        self.outputs.append(Output(topic, partition, key, _PREFIX[name] + body, leaf, (), payload, recipients))
        return leaf


def payload_digest(payload: bytes | None) -> bytes | None:
    """Return what a record says of its payload."""
    return None if payload is None else sha256(payload).digest()
