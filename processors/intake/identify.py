"""From bytes on intake to an event with a known signer: decoding, key lookup, signature, and the event's own claims.

Every failure is a `Refusal` with its own reason. A refusal raised after the signature verified may be answered to the
signer; before that no signer is known. Keys come from the registry only, never from the event.
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
from processors.text.characters import quoted
from schemas import codec, limits
from schemas.events.engines import EngineActivated
from schemas.events.keys import KeyRotated, RootRotated, RootRotation
from schemas.events.logins import LoginEnded
from schemas.events.providers import IdentityProviderDistrusted
from schemas.events.workflow import (
    AttestationApproved,
    AttestationDenied,
    AttestationRevoked,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationRevoked,
)
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

RAW_TAG = b"macaw/raw/v1\n"
_EVENT = f"{codec.NAMESPACE}.Event"
_GIVE_REASONS = frozenset({
    SessionClosed, SessionRevoked, PrincipalRevoked, AttestationApproved, AttestationDenied, AttestationRevoked,
    DelegationRevoked, KeyRotated, EngineActivated, IdentityProviderDistrusted, LoginEnded,
})  # fmt: skip
# The events that may name a delegation in `on_behalf_of`.
ACTS_FOR_OTHERS = (InvocationRequested, ContextWritten, ContextRead, ContextDeleted, ContextListed)


class Ruling(NamedTuple):
    """An admin's event about another record: its leaf, and the event as it stands at a later offset of intake."""

    leaf: bytes
    event: Received


@dataclass(slots=True)
class Received:
    """A record as the broker delivered it.

    A record with a `ruling` is folded as that ruling says (`processors.evidence.rulings`).
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
            raise Refusal(Reason.MALFORMED_PROOF, f"got {count} headers {name}, want exactly one, with a value")
        return value


class Signer(NamedTuple):
    """The signing key and its owner, as the registry holds them now."""

    kid: bytes
    role: str
    principal_id: str
    ed25519: bytes
    x25519: bytes
    session: SessionRow | None = None
    offered_by: bytes | None = None  # the session for which the key of an offer signs


@dataclass(slots=True)
class Claim:
    """The statements of a record about itself, before they are verified.

    Fields are filled in step by step, so that a record refused half way is still recorded; `refusal` is the reason why
    reading stopped.
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
    """Return the digest that stands for a record without a leaf: SHA-256(RAW_TAG ‖ u32 length ‖ value)."""
    value = value or b""
    digest = sha256(RAW_TAG)
    digest.update(len(value).to_bytes(4, "big"))
    digest.update(value)  # in place: it may be of any size
    return digest.digest()


@functools.lru_cache(maxsize=4096)
def _place(tenant: str, genesis: bytes, schema_sha256: bytes) -> Place:
    return Place.of(signing.EVENT_TAG, genesis, INTAKE.of(tenant), INTAKE_PARTITION, schema_sha256)


def event_place(tables: Tables, schema: codec.Schema, body: object = None) -> Place:
    """Return the place of events on this tenant's intake; the place of `TenantFounded` has no genesis yet."""
    genesis = signing.NO_GENESIS if isinstance(body, TenantFounded) else tables.genesis
    return _place(tables.tenant_id, genesis, schema.sha256)


def read(tables: Tables, received: Received) -> Claim:
    """Return the claims of a record, with its leaf and the head of its proof. Never raises: `refusal` holds it."""
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
    """Return the event and its signer. The caller still checks order (`check_order`) and claims (`check_claim`).

    Raises:
        Refusal: the record cannot be read, its key is not registered or not valid, or its signature does not verify.
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
    """Check the claims of a verified event: its age, session, size, names, and the length of its reason.

    Requires that `check_order` was called before: a repeated event is a DUPLICATE even if it is also stale.

    Raises:
        Refusal: STALE, EXPIRED_SESSION, OVERSIZED, WRONG_PRINCIPAL, or LIMIT_EXCEEDED for a long reason.
    """
    age = tables.now - event.header.issued_at
    if age > limits.ISSUED_BEHIND_MS_MAX:
        raise Refusal(Reason.STALE, f"issued {age} ms before log time, want at most {limits.ISSUED_BEHIND_MS_MAX}")
    if signer.session is not None and tables.now >= signer.session.expires_at:
        raise Refusal(Reason.EXPIRED_SESSION)
    _check_size(event, claim)
    check_names(event, signer)
    if type(event.body) in _GIVE_REASONS and len(event.body.reason) > limits.REASON_CHARS_MAX:  # type: ignore[union-attr]
        # It is copied to every reader of the registry, or kept in a row of state.
        raise Refusal(Reason.LIMIT_EXCEEDED, f"the reason is longer than {limits.REASON_CHARS_MAX} characters")


def _check_size(event: Event, claim: Claim) -> None:
    """Raise Refusal OVERSIZED: after the signature, so that the sender is told. `_decode` has a larger bound."""
    bound = limits.RESULT_EVENT_BYTES_MAX if isinstance(event.body, ResultReported) else limits.EVENT_BYTES_MAX
    if claim.size > bound:
        raise Refusal(Reason.OVERSIZED, f"the event has {claim.size} bytes, want at most {bound}")


def _decode(tables: Tables, received: Received, claim: Claim) -> None:
    value = received.value
    if value is None:
        raise Refusal(Reason.UNDECODABLE, "the record has no value")
    if len(value) > limits.INTAKE_MESSAGE_BYTES_MAX:  # the topic's own limit counts compressed bytes
        raise Refusal(Reason.OVERSIZED, f"record of {len(value)} bytes, want at most {limits.INTAKE_MESSAGE_BYTES_MAX}")
    claim.kid = _claimed_kid(received)
    try:
        schema, body = codec.unframe(value)
        if schema.name != _EVENT:
            raise Refusal(Reason.UNKNOWN_SCHEMA, f"got {schema.name} on intake, want {_EVENT}")
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
        return None  # `_prove` refuses it, after the other claims were read
    return kid if len(kid) == 32 else None


def _check_sizes(event: Event, claim: Claim) -> None:
    header = event.header
    _want_bytes(16, "event_id", header.event_id)
    _want_bytes(16, "salt", header.salt)
    _want_bytes(32, "session_id", header.session_id)
    _want_bytes(32, "causation_id", header.causation_id)
    _want_bytes(32, "on_behalf_of", header.on_behalf_of)
    if len(header.traceparent or "") > limits.TRACEPARENT_CHARS_MAX:
        detail = f"the traceparent is longer than {limits.TRACEPARENT_CHARS_MAX} characters"
        raise Refusal(Reason.MALFORMED_HEADER, detail)
    claim.event_id = header.event_id
    if header.on_behalf_of is not None and not isinstance(event.body, ACTS_FOR_OTHERS):
        # No rule reads it in such an event, and its signer must not believe that it was honoured.
        raise Refusal(Reason.NOT_SUPPORTED, f"on_behalf_of is not allowed in {claim.kind}: leave it out")


def _want_bytes(size: int, name: str, field: bytes | None) -> None:
    if field is not None and len(field) != size:
        raise Refusal(Reason.MALFORMED_HEADER, f"{name} has {len(field)} bytes, want {size}")


def _prove(received: Received, claim: Claim) -> None:
    if claim.kid is None:
        raise Refusal(Reason.MALFORMED_PROOF, f"want exactly one header {KID_HEADER}, of 32 bytes")
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
    """Return the claimed key as the registry holds it; only the founding event brings its own key."""
    kid = claim.kid
    assert kid is not None
    session = tables.sessions.get(kid)
    if session is not None:
        return Signer(kid, Role.SESSION, session.principal_id, session.ed25519, session.x25519, session)
    row = tables.keys.get(kid)
    if row is None:
        for session_id in tables.offers.of(("key", kid)):
            offer = tables.offers.rows[session_id]
            return Signer(kid, Role.OFFER, offer.principal_id, offer.ed25519, offer.x25519, None, session_id)
        return _newcomer(tables, kid, event, claim)
    if row.revoked_at is not None:
        raise Refusal(Reason.REVOKED_KEY)
    if row.expires_at is not None and tables.now >= row.expires_at:
        raise Refusal(Reason.EXPIRED_KEY)
    return Signer(kid, row.role, row.principal_id, row.ed25519, row.x25519)


def _newcomer(tables: Tables, kid: bytes, event: Event, claim: Claim) -> Signer:
    """Return the signer of one of the two events that bring their own key. Raises Refusal."""
    if isinstance(event.body, RootRotated):
        return _next_root(tables, kid, event.body)
    return _founder(tables, kid, event, claim)


def _next_root(tables: Tables, kid: bytes, body: RootRotated) -> Signer:
    """Return the next root key that submits its own rotation: the log has its digest, the act its key."""
    founding = next(iter(tables.tenant.rows.values()), None)
    schema = codec.current("RootRotation")
    is_large = len(body.act) > limits.ROOT_ACT_BYTES_MAX  # it is read before any signature is checked
    if founding is None or kid not in founding.next_root_digests or is_large or body.act[:32] != schema.sha256:
        raise Refusal(Reason.UNKNOWN_KEY)
    try:
        act: RootRotation = codec.decode(schema, body.act[32:])
    except codec.SchemaError as exc:
        raise Refusal(Reason.UNKNOWN_KEY) from exc
    for key in act.root_keys:
        if len(key) == 32 and signing.kid_of(key) == kid:
            return Signer(kid, Role.ROOT, "root", key, b"")
    raise Refusal(Reason.UNKNOWN_KEY)


def _founder(tables: Tables, kid: bytes, event: Event, claim: Claim) -> Signer:
    body = event.body
    if not isinstance(body, TenantFounded) or len(tables.tenant) or signing.kid_of(body.admin.ed25519) != kid:
        raise Refusal(Reason.UNKNOWN_KEY)
    if claim.datum_sha256 != tables.genesis:
        raise Refusal(Reason.NOT_GENESIS)  # of another log: its signer is not known here, so gets no answer
    return Signer(kid, Role.ADMIN, body.admin.principal_id, body.admin.ed25519, body.admin.x25519)


def check_names(event: Event, signer: Signer) -> None:
    """Raise Refusal WRONG_PRINCIPAL unless the header names the signer's principal and session."""
    if event.header.principal_id != signer.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, f"the key belongs to {quoted(signer.principal_id)}")
    if event.header.session_id != (signer.kid if signer.session else signer.offered_by):
        raise Refusal(Reason.WRONG_PRINCIPAL, "session_id is not the kid of the session that signs, or offers the tool")
