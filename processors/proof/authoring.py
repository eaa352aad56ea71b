"""Events as their signers make them: header, body, leaf and proof. Clock and randomness are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from processors.proof import signing
from processors.proof.signing import INTAKE_PARTITION, KID_HEADER, PROOF_HEADER, Place, Signs
from schemas import codec
from schemas.events.keys import KeyOffer
from schemas.records import Body, Event, Header, TenantFounded
from schemas.topics import INTAKE

RANDOM_BYTES = 26  # 10 for the event id, 16 for the salt


@dataclass(frozen=True, slots=True)
class Draft:
    """An event ready to be signed: its id, the framed record, and the leaf that a signature covers."""

    event_id: bytes
    value: bytes
    leaf: bytes


def uuid7(unix_ms: int, random: bytes) -> bytes:
    """Return a UUIDv7 (RFC 9562, section 5.7) from a time and 10 random bytes."""
    value = bytearray(unix_ms.to_bytes(6, "big") + random[:10])
    value[6] = value[6] & 0x0F | 0x70
    value[8] = value[8] & 0x3F | 0x80
    return bytes(value)


def draft_event(
    tenant: str,
    genesis: bytes,
    body: Body,
    *,
    principal_id: str,
    session_id: bytes | None,
    seq: int,
    now_ms: int,
    random: bytes,
    causation_id: bytes | None = None,
    on_behalf_of: bytes | None = None,
) -> Draft:
    """Return an event to sign. `random` is 26 fresh bytes; `seq` must be above every earlier one of the key."""
    header = Header(
        event_id=uuid7(now_ms, random),
        session_id=session_id,
        principal_id=principal_id,
        seq=seq,
        issued_at=now_ms,
        causation_id=causation_id,
        on_behalf_of=on_behalf_of,
        salt=random[10:26],
    )
    datum = codec.encode(Event(header=header, body=body))
    schema = codec.current("Event")
    place_genesis = signing.NO_GENESIS if isinstance(body, TenantFounded) else genesis
    place = Place.of(signing.EVENT_TAG, place_genesis, INTAKE.of(tenant), INTAKE_PARTITION, schema.sha256)
    return Draft(header.event_id, schema.prefix + datum, place.leaf(datum))


def sign_drafts(key: Signs, drafts: Sequence[Draft]) -> list[list[tuple[str, bytes]]]:
    """Return the headers of each draft under one signature over them all."""
    proofs = key.sign_leaves([draft.leaf for draft in drafts])
    return [[(PROOF_HEADER, proof), (KID_HEADER, key.kid)] for proof in proofs]


def offer_key(key: Signs, x25519: bytes, *, role: str, principal_id: str, genesis: bytes) -> KeyOffer:
    """Return the public half of a key pair as an offer for registration, with its proof of possession."""
    message = signing.possession_bytes(genesis, role, principal_id, key.public, x25519)
    return KeyOffer(principal_id=principal_id, ed25519=key.public, x25519=x25519, possession=key.sign(message))
