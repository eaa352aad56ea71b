"""The registry of principals and their public keys: the fold of registration and revocation.

Each key has one role. A key enters with a proof that its owner holds the secret half, and is checked once as a curve
point. A revoked key stays as a row, so that it can never be registered again.
"""

from __future__ import annotations

from dataclasses import replace

from nacl import bindings
from nacl.exceptions import CryptoError

from processors.identity import approver_limits, declarations, enrolment, issuers, verifiers
from processors.identity.attributes import subject_of
from processors.identity.keys import is_live, live_keys, payer_of, spend
from processors.intake.authority import check_may_register
from processors.intake.identify import Signer
from processors.policy import names
from processors.proof import sealing, signing
from processors.proof.signing import SignatureError
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import limits
from schemas.events.attributes import NONE
from schemas.events.keys import KeyOffer
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered, PrincipalRevoked
from schemas.rows import KeyRow, PrincipalRow
from schemas.words import Role

_PROBE = bytes([1] * 32)  # any scalar: libsodium raises if the product is zero, as with a small-order X25519 point


def register(tables: Tables, signer: Signer, body: PrincipalRegistered) -> bytes | None:
    """Register a key of a principal and return its kid, None if a key of a tool or verifier only declares anew.

    Raises:
        Refusal: the signer may not register it, the key or its possession proof is bad, the name is not allowed, a
            limit is met, or the principal is registered with another role, other tools, another tool's resource or
            another verifier's prefix.
    """
    check_may_register(signer.role, body.role, tables.engine.number)
    names.check_name(body.key.principal_id)
    if body.role == Role.TOOL:
        names.check_tool_name(body.key.principal_id)
    if body.expires_at is not None and body.expires_at <= tables.now:
        raise Refusal(Reason.EXPIRED_KEY, "`expires_at` is not in the future")
    subject_of(body.attributes, body.role, body.key.principal_id)
    again = _declares_again(tables, body)
    if signer.role == Role.ENROLMENT:
        enrolment.charge(tables, signer, body)
    enrolment.check_grant(body)
    declarations.check_offers(body)
    approver_limits.check_limits(body)
    if body.role == Role.BRIDGE:
        issuers.check_bridge(tables, body.attributes)
    if body.role == Role.ATTESTER:
        declarations.check_attester(body)
    check_offer(body.key, body.role, tables.genesis)
    kid = None if again else enter(tables, body.key, body.role, by=signer.kid, registered=body)
    declarations.declare_tools(tables, body, again=again)
    verifiers.declare(tables, body)
    return kid


def _declares_again(tables: Tables, body: PrincipalRegistered) -> bool:
    """Return True if a live key of a tool or verifier is registered so, and only its declarations can be new.

    The X25519 half is not compared: a follower of the compacted registry may not have seen each of its rotations. It is
    not changed by a declaration either.
    """
    row = tables.keys.get(signing.kid_of(body.key.ed25519))
    return (
        row is not None
        and body.role == row.role
        and body.role in (Role.TOOL, Role.VERIFIER)
        and row.principal_id == body.key.principal_id
        and row.attributes == body.attributes
        and row.expires_at == body.expires_at
        and row.only_within_calls == body.only_within_calls
        and is_live(row, tables.now)
    )


def revoke(tables: Tables, signer: Signer, body: PrincipalRevoked) -> tuple[bytes, ...]:
    """Revoke one key or all keys of a principal and return their kids. The caller ends the sessions that they opened.

    Expired keys are revoked too, because statements that were made with them would still count.

    Raises:
        Refusal: WRONG_PRINCIPAL if the signer is not an admin or the principal itself, or an admin would revoke the
            organisation; UNKNOWN_PRINCIPAL.
    """
    if signer.role != Role.ADMIN and signer.principal_id != body.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a principal is revoked by itself or by an admin")
    principal = tables.principals.get(body.principal_id.encode())
    if principal is None or principal.role == Role.ROOT:
        raise Refusal(Reason.UNKNOWN_PRINCIPAL)
    if principal.role == Role.ORGANISATION != signer.role:
        raise Refusal(Reason.WRONG_PRINCIPAL, "the organisation's key is revoked by itself, or by the roots")
    return revoke_keys(tables, body.principal_id, body.kid)


def unrevoked(tables: Tables, principal_id: str, kid: bytes | None) -> tuple[bytes, ...]:
    """Return one key of a principal, or all if `kid` is None, without the revoked ones; expired ones are among them."""
    ever = (one for one in tables.keys.of(principal_id) if kid in {None, one})
    return tuple(one for one in ever if tables.keys.rows[one].revoked_at is None)


def revoke_keys(tables: Tables, principal_id: str, kid: bytes | None) -> tuple[bytes, ...]:
    """Revoke one key of a principal, or all if `kid` is None, and return their kids.

    Raises:
        Refusal: UNKNOWN_PRINCIPAL if there is no such key, or it is revoked already.
    """
    kids = unrevoked(tables, principal_id, kid)
    if not kids:
        raise Refusal(Reason.UNKNOWN_PRINCIPAL)
    for one in kids:
        tables.keys.put(one, replace(tables.keys.rows[one], revoked_at=tables.now))
        spend(tables, one)
    principal = tables.principals.rows[principal_id.encode()]
    left = tuple(one for one in principal.kids if one not in kids)
    tables.principals.put(principal_id.encode(), replace(principal, kids=left))
    return kids


def check_offer(offer: KeyOffer, role: str, genesis: bytes) -> None:
    """Check an offered key pair and the proof that its owner holds it.

    Raises:
        Refusal: BAD_KEY or BAD_POSSESSION.
    """
    check_key_pair(offer, signing.possession_bytes(genesis, role, offer.principal_id, offer.ed25519, offer.x25519))


def check_key_pair(offer: KeyOffer, message: bytes) -> None:
    """Check an offered key pair, and that its `possession` is the signature of its Ed25519 half over `message`.

    Raises:
        Refusal: BAD_KEY or BAD_POSSESSION.
    """
    check_point(offer.ed25519)
    if len(offer.x25519) != sealing.KEY_BYTES:  # libsodium would read on in memory
        raise Refusal(Reason.BAD_KEY, f"got an X25519 key of {len(offer.x25519)} bytes, want {sealing.KEY_BYTES}")
    try:
        bindings.crypto_scalarmult(_PROBE, offer.x25519)
    except (CryptoError, TypeError, ValueError) as exc:
        raise Refusal(Reason.BAD_KEY, "the X25519 key is not usable: it is of small order") from exc
    try:
        signing.verify_signature(offer.ed25519, message, offer.possession)
    except SignatureError as exc:
        raise Refusal(Reason.BAD_POSSESSION) from exc


def check_point(key: bytes) -> None:
    """Raise Refusal BAD_KEY unless this is an Ed25519 point of prime order."""
    try:
        signing.check_public_key(key)
    except SignatureError as exc:
        raise Refusal(Reason.BAD_KEY, str(exc)) from exc


def check_free(tables: Tables, public_key: bytes) -> bytes:
    """Return the kid of a public key that is not registered, a session's or an offer's. Raises Refusal KEY_TAKEN."""
    kid = signing.kid_of(public_key)
    if tables.keys.get(kid) is not None or tables.sessions.get(kid) is not None or tables.offers.of(("key", kid)):
        raise Refusal(Reason.KEY_TAKEN)
    return kid


def enter(
    tables: Tables, offer: KeyOffer, role: str, *, by: bytes, registered: PrincipalRegistered | None = None
) -> bytes:
    """Enter a key of a principal into the registry and return its kid. Requires an offer that was checked.

    Raises:
        Refusal: KEY_TAKEN, REGISTRATION_CONFLICT, LIMIT_EXCEEDED.
    """
    kid = check_free(tables, offer.ed25519)
    name = offer.principal_id.encode()
    principal = tables.principals.get(name) or PrincipalRow(role=role, registered_by=by, kids=(), tools=())
    if principal.role != role:
        raise Refusal(Reason.REGISTRATION_CONFLICT, f"the principal is registered with role {quoted(principal.role)}")
    alike = tables.keys.of(("known as", names.known_as(offer.principal_id)))
    for other in alike[:1]:  # one is enough: this check keeps the names of all of them equal
        if tables.keys.rows[other].principal_id != offer.principal_id:
            raise Refusal(Reason.REGISTRATION_CONFLICT, "another spelling of this name is registered; use that one")
    live = tuple(kid for kid, _ in live_keys(tables, offer.principal_id))  # an expired key makes room
    if len(live) >= limits.INSTANCE_KEYS_MAX:
        want = f"a principal has at most {limits.INSTANCE_KEYS_MAX} live keys; revoke one first"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)
    tables.principals.put(name, replace(principal, kids=(*live, kid)))
    tables.keys.put(
        kid,
        KeyRow(
            role=role,
            principal_id=offer.principal_id,
            ed25519=offer.ed25519,
            x25519=offer.x25519,
            attributes=registered.attributes if registered else NONE,
            registered_at=tables.now,
            expires_at=registered.expires_at if registered else None,
            enrolment=registered.enrolment if registered else None,
            enrolled=0,
            only_within_calls=registered is not None and registered.only_within_calls,
            approver=registered.approver if registered else None,
            payer=payer_of(tables, offer.principal_id) if registered else "",  # the roots' keys count in no share
        ),
    )
    return kid
