"""From bytes on intake to an event whose signer is known: decode, key lookup, signature, and what the event claims.

Every failure is a `Refusal` with its own reason. A refusal raised after the signature verified may be answered to the
signer; before that there is nobody to answer. Keys come from the registry only, never from the event.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from processors.proof import signing
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
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.reasons import Reason
from schemas.records import (
    Event,
    InvocationRequested,
    PrincipalRevoked,
    ResultReported,
    SessionClosed,
    SessionRevoked,
    TenantFounded,
)
from schemas.rows import SessionRow
from schemas.topics import INTAKE
from schemas.words import Role
from schemas.workflow import (
    AttestationApproved,
    AttestationDenied,
    AttestationRevoked,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationRevoked,
)

RAW_TAG = b"macaw/raw/v1\n"
_EVENT = f"{codec.NAMESPACE}.Event"
_GIVE_REASONS = frozenset({
    SessionClosed, SessionRevoked, PrincipalRevoked, AttestationApproved, AttestationDenied, AttestationRevoked,
    DelegationRevoked,
})  # fmt: skip
# What may be done on somebody's behalf.
ACTS_FOR_OTHERS = (InvocationRequested, ContextWritten, ContextRead, ContextDeleted, ContextListed)


class Ruling(NamedTuple):
    """An admin's event about another record, as it stands further on on intake, with its leaf."""

    leaf: bytes
    event: Received


@dataclass(slots=True)
class Received:
    """A record as the broker delivered it.

    With a `ruling` it is not folded as it stands (`processors.evidence.rulings`).
    """

    partition: int
    offset: int
    appended_at: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    ruling: Ruling | None = None

    def header(self, name: str) -> bytes:
        """Return the one header of this name. Raises Refusal MALFORMED_PROOF when there is none, or more."""
        value, count = None, 0
        for other, held in self.headers:
            if other == name:
                value, count = held, count + 1
        if count != 1 or value is None:
            raise Refusal(Reason.MALFORMED_PROOF, f"got {count} headers {name}, want one")
        return value


class Signer(NamedTuple):
    """The key that signed, as the registry knows it now."""

    kid: bytes
    role: str
    principal_id: str
    ed25519: bytes
    x25519: bytes
    session: SessionRow | None = None


@dataclass(slots=True)
class Claim:
    """What a record says of itself, before anybody believes it.

    Filled in step by step, so that a record refused half way is still recorded; `refusal` says where reading ended.
    """

    leaf: bytes
    kind: str = "Undecodable"
    kid: bytes | None = None
    event_id: bytes | None = None
    event: Event | None = None
    proof: bytes = b""
    size: int = 0
    datum_sha256: bytes = b""
    head: bytes = b""
    signature: bytes = b""
    refusal: Refusal | None = None
    signer: Signer | None = None


def raw_digest(value: bytes | None) -> bytes:
    """Return what stands for a record without a leaf: a digest of its bytes in a domain of its own."""
    value = value or b""
    digest = sha256(RAW_TAG)
    digest.update(len(value).to_bytes(4, "big"))
    digest.update(value)  # in place: it may be of any size
    return digest.digest()


@functools.lru_cache(maxsize=4096)
def _place(tenant: str, genesis: bytes, schema_sha256: bytes) -> Place:
    return Place.of(signing.EVENT_TAG, genesis, INTAKE.of(tenant), INTAKE_PARTITION, schema_sha256)


def event_place(tables: Tables, schema: codec.Schema, body: object = None) -> Place:
    """Return the place of events on this tenant's intake; the founding event's has no genesis yet."""
    genesis = signing.NO_GENESIS if isinstance(body, TenantFounded) else tables.genesis
    return _place(tables.tenant_id, genesis, schema.sha256)


def read(tables: Tables, received: Received) -> Claim:
    """Return what a record claims: decoded, with its leaf and the head that its proof leads to. Never raises."""
    claim = Claim(leaf=b"")
    try:
        _decode(tables, received, claim)
        _prove(received, claim)
    except Refusal as refusal:
        claim.refusal = refusal
    if not claim.leaf:
        claim.leaf = raw_digest(received.value)
    return claim


def identify(tables: Tables, claim: Claim, heads: VerifiedHeads) -> tuple[Event, Signer]:
    """Return the event and who signed it; what else it claims, and its place in time and order, is the caller's.

    Raises:
        Refusal: the record does not read, its key is not in the registry or not valid, or it does not verify.
    """
    if claim.refusal is not None:
        raise claim.refusal
    event = claim.event
    assert event is not None
    signer = _signer(tables, claim, event)
    try:
        heads.verify(signer.ed25519, claim.head, claim.signature)
    except SignatureError as exc:
        raise Refusal(Reason.BAD_SIGNATURE) from exc
    claim.signer = signer
    return event, signer


def check_claim(tables: Tables, claim: Claim, event: Event, signer: Signer) -> None:
    """Check what a verified event claims: its age, its session, its size and its names.

    Called after its sequence was noted: the same bytes again are a DUPLICATE, whatever is wrong with them.

    Raises:
        Refusal: STALE, EXPIRED_SESSION, OVERSIZED, WRONG_PRINCIPAL, or LIMIT_EXCEEDED for a long reason.
    """
    age = tables.now - event.header.issued_at
    if age > limits.ISSUED_BEHIND_MS_MAX:
        raise Refusal(Reason.STALE, f"issued {age} ms before it was appended")
    if signer.session is not None and tables.now >= signer.session.expires_at:
        raise Refusal(Reason.EXPIRED_SESSION)
    _check_size(event, claim)
    check_names(event, signer)
    if type(event.body) in _GIVE_REASONS and len(event.body.reason) > limits.REASON_CHARS_MAX:  # type: ignore[union-attr]
        # It is copied to everybody who reads the registry, or kept with what it is about.
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want a reason of at most {limits.REASON_CHARS_MAX} characters")


def _check_size(event: Event, claim: Claim) -> None:
    """Judged after the signature, so that the sender can be told; `_decode` has refused what is larger than intake."""
    bound = limits.RESULT_EVENT_BYTES_MAX if isinstance(event.body, ResultReported) else limits.EVENT_BYTES_MAX
    if claim.size > bound:
        raise Refusal(Reason.OVERSIZED, f"got {claim.size} bytes, want at most {bound}")


def _decode(tables: Tables, received: Received, claim: Claim) -> None:
    value = received.value
    if value is None:
        raise Refusal(Reason.UNDECODABLE, "a record without a value")
    if len(value) > limits.INTAKE_MESSAGE_BYTES_MAX:  # the topic's own limit counts compressed bytes
        raise Refusal(Reason.OVERSIZED, f"got {len(value)} bytes, want at most {limits.INTAKE_MESSAGE_BYTES_MAX}")
    claim.kid = _claimed_kid(received)
    try:
        schema, body = codec.unframe(value)
        if schema.name != _EVENT:
            raise Refusal(Reason.UNKNOWN_SCHEMA, f"{schema.name} does not belong on intake")
        event: Event = codec.decode(schema, body)
    except codec.SchemaError as exc:
        raise Refusal(exc.code, str(exc)) from exc
    claim.event, claim.kind = event, type(event.body).__name__
    claim.leaf = event_place(tables, schema, event.body).leaf(body)
    _check_sizes(event, claim)
    claim.size = len(value)
    if isinstance(event.body, TenantFounded):
        claim.datum_sha256 = sha256(body).digest()


def _claimed_kid(received: Received) -> bytes | None:
    try:
        kid = received.header(KID_HEADER)
    except Refusal:
        return None  # refused in `_prove`, once it is known what the record claims
    return kid if len(kid) == 32 else None


def _check_sizes(event: Event, claim: Claim) -> None:
    header = event.header
    _want_bytes(16, header.event_id)
    _want_bytes(16, header.salt)
    _want_bytes(32, header.session_id)
    _want_bytes(32, header.causation_id)
    _want_bytes(32, header.on_behalf_of)
    if len(header.traceparent or "") > limits.TRACEPARENT_CHARS_MAX:
        want = f"want a traceparent of at most {limits.TRACEPARENT_CHARS_MAX} characters"
        raise Refusal(Reason.MALFORMED_HEADER, want)
    claim.event_id = header.event_id
    if header.on_behalf_of is not None and not isinstance(event.body, ACTS_FOR_OTHERS):
        # Who acts for somebody must not think that it was honoured where nothing looks at it.
        raise Refusal(Reason.NOT_SUPPORTED, "on_behalf_of")


def _want_bytes(size: int, field: bytes | None) -> None:
    if field is not None and len(field) != size:
        raise Refusal(Reason.MALFORMED_HEADER, f"got a field of {len(field)} bytes, want {size}")


def _prove(received: Received, claim: Claim) -> None:
    if claim.kid is None:
        raise Refusal(Reason.MALFORMED_PROOF, f"want one header {KID_HEADER} of 32 bytes")
    claim.proof = received.header(PROOF_HEADER)
    size = int.from_bytes(claim.proof[68:72], "big")
    if size > limits.HEAD_LEAVES_MAX:
        raise Refusal(Reason.HEAD_TOO_LARGE, f"got {size} leaves, want at most {limits.HEAD_LEAVES_MAX}")
    try:
        proof = Proof.parse(claim.proof)
        claim.head, claim.signature = proof.head(claim.leaf), proof.signature
    except MalformedProofError as exc:
        raise Refusal(Reason.MALFORMED_PROOF, str(exc)) from exc


def _signer(tables: Tables, claim: Claim, event: Event) -> Signer:
    """Look the claimed key up in the registry; the founding event alone brings its own."""
    kid = claim.kid
    assert kid is not None
    session = tables.sessions.get(kid)
    if session is not None:
        return Signer(kid, Role.SESSION, session.principal_id, session.ed25519, session.x25519, session)
    row = tables.keys.get(kid)
    if row is None:
        return _founder(tables, kid, event, claim)
    if row.revoked_at is not None:
        raise Refusal(Reason.REVOKED_KEY)
    if row.expires_at is not None and tables.now >= row.expires_at:
        raise Refusal(Reason.EXPIRED_KEY)
    return Signer(kid, row.role, row.principal_id, row.ed25519, row.x25519)


def _founder(tables: Tables, kid: bytes, event: Event, claim: Claim) -> Signer:
    body = event.body
    if not isinstance(body, TenantFounded) or len(tables.tenant) or signing.kid_of(body.admin.ed25519) != kid:
        raise Refusal(Reason.UNKNOWN_KEY)
    if claim.datum_sha256 != tables.genesis:
        raise Refusal(Reason.NOT_GENESIS)  # a stranger's founding: nobody to answer, nothing to note
    return Signer(kid, Role.ADMIN, body.admin.principal_id, body.admin.ed25519, body.admin.x25519)


def check_names(event: Event, signer: Signer) -> None:
    """The header's names are the registry's: an event cannot speak for somebody else."""
    if event.header.principal_id != signer.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, f"the key belongs to {signer.principal_id!r}")
    if event.header.session_id != (signer.kid if signer.session else None):
        raise Refusal(Reason.WRONG_PRINCIPAL, "session_id is not the signing session's")
