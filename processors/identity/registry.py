"""The registry of principals and their public keys: the fold of founding, registration and revocation.

Each key has one role. A key enters with a proof that its owner holds the secret half, and is checked once as a curve
point. A revoked key stays as a row, so that it can never be registered again.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from nacl import bindings
from nacl.exceptions import CryptoError

from processors.identity import declarations, engines, enrolment, issuers
from processors.identity.attributes import subject_of
from processors.identity.keys import live_keys, payer_of, spend
from processors.intake.authority import check_may_register
from processors.intake.identify import Signer
from processors.policy import names
from processors.proof import sealing, signing
from processors.proof.signing import SignatureError
from processors.refusal import Refusal
from processors.state.tables import SINGLETON, Tables
from processors.text.characters import quoted
from schemas import codec, limits
from schemas.events.attributes import NONE
from schemas.events.keys import AdminAdded, AdminAddition, KeyOffer
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered, PrincipalRevoked, TenantFounded
from schemas.rows import KeyRow, PrincipalRow, TenantRow
from schemas.words import Role

_PROBE = bytes([1] * 32)  # any scalar: libsodium raises if the product is zero, as with a small-order X25519 point


def found(tables: Tables, body: TenantFounded, datum: bytes, offset: int) -> None:
    """Found the tenant.

    Raises:
        Refusal: NOT_GENESIS unless this is the configured founding event at offset 0; else the part that is malformed.
    """
    if offset != 0 or len(tables.tenant) or sha256(datum).digest() != tables.genesis:
        raise Refusal(Reason.NOT_GENESIS)
    if body.tenant != tables.tenant_id or f"{body.deployment}/{body.tenant}" != tables.origin:
        raise Refusal(Reason.NOT_GENESIS, f"the founding event is not for {tables.origin}, the configured tenant")
    distinct = len(set(body.root_keys))
    if not 1 <= body.root_threshold <= distinct == len(body.root_keys) <= limits.ROOT_KEYS_MAX:
        want = f"a tenant has 1 to {limits.ROOT_KEYS_MAX} distinct root keys, and a threshold of 1 to their number"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)
    tables.tenant.put(
        SINGLETON,
        TenantRow(
            genesis=tables.genesis,
            tenant=body.tenant,
            deployment=body.deployment,
            root_keys=body.root_keys,
            root_threshold=body.root_threshold,
            next_root_digests=body.next_root_digests,
            root_epoch=0,
            organisation_key=body.organisation_key,
            development=body.development,
            engine=body.engine,
            data=body.data,
        ),
    )
    engines.begin(tables, body)
    for key in body.root_keys:
        _check_point(key)
        _enter(
            tables, KeyOffer(principal_id="root", ed25519=key, x25519=b"", possession=b""), Role.ROOT, by=tables.genesis
        )
    for role, offer in ((Role.ADMIN, body.admin), (Role.MONITOR, body.monitor)):
        names.check_name(offer.principal_id)
        check_offer(offer, role, signing.NO_GENESIS)
        _enter(tables, offer, role, by=tables.genesis)


def add_admin(tables: Tables, body: AdminAdded) -> bytes:
    """Add an admin key by a threshold of root keys and return its kid. Raises Refusal BAD_ROOT_SIGNATURES, BAD_KEY."""
    schema = codec.current("AdminAddition")
    sizes = {(len(one.kid), len(one.signature)) for one in body.root_signatures}
    if len(body.root_signatures) > limits.ROOT_KEYS_MAX or sizes - {(32, signing.SIGNATURE_BYTES)}:
        want = f"an act has at most {limits.ROOT_KEYS_MAX} root signatures, each a kid of 32 bytes and one of 64"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)
    if body.act[:32] != schema.sha256:
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, "`act` does not begin with the digest of the schema AdminAddition")
    _check_root_signatures(tables, body)
    try:
        act: AdminAddition = codec.decode(schema, body.act[32:])
    except codec.SchemaError as exc:
        raise Refusal(Reason.UNDECODABLE, str(exc)) from exc
    names.check_name(act.admin.principal_id)
    check_offer(act.admin, Role.ADMIN, tables.genesis)
    return _enter(tables, act.admin, Role.ADMIN, by=tables.genesis)


def _check_root_signatures(tables: Tables, body: AdminAdded) -> None:
    founding = tables.tenant.rows[SINGLETON]
    keys = {signing.kid_of(key): key for key in founding.root_keys}
    message = signing.root_act_bytes(tables.genesis, founding.root_epoch, body.act)
    good = set()
    for consent in body.root_signatures:
        key = keys.get(consent.kid)
        if key is None:
            continue
        try:
            signing.verify_signature(key, message, consent.signature)
        except SignatureError:
            continue  # a bad signature does not count; the threshold below decides
        good.add(consent.kid)
    if len(good) < founding.root_threshold:
        got = f"got {len(good)} good signatures of root keys, want {founding.root_threshold}"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, got)


def register(tables: Tables, signer: Signer, body: PrincipalRegistered) -> bytes | None:
    """Register a key of a principal and return its kid, None if the key of a tool is known and only declares anew.

    Raises:
        Refusal: the signer may not register it, the key or its possession proof is bad, the name is not allowed, a
            limit is met, or the principal is registered with another role, other tools or another tool's resource.
    """
    check_may_register(signer.role, body.role)
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
    if body.role == Role.BRIDGE:
        issuers.check_bridge(tables, body.attributes)
    if body.role == Role.ATTESTER:
        declarations.check_attester(body)
    check_offer(body.key, body.role, tables.genesis)
    kid = None if again else _enter(tables, body.key, body.role, by=signer.kid, registered=body)
    declarations.declare_tools(tables, body, again=again)
    return kid


def _declares_again(tables: Tables, body: PrincipalRegistered) -> bool:
    """Return True if a tool's live key is registered exactly so, and only the tool's declarations can be new."""
    row = tables.keys.get(signing.kid_of(body.key.ed25519))
    return (
        row is not None
        and body.role == row.role == Role.TOOL
        and row.principal_id == body.key.principal_id
        and row.x25519 == body.key.x25519
        and row.attributes == body.attributes
        and row.expires_at == body.expires_at
        and row.revoked_at is None
        and (row.expires_at is None or tables.now < row.expires_at)
    )


def revoke(tables: Tables, signer: Signer, body: PrincipalRevoked) -> tuple[bytes, ...]:
    """Revoke one key or all keys of a principal and return their kids. The caller ends the sessions that they opened.

    Expired keys are revoked too, because statements that were made with them would still count.

    Raises:
        Refusal: WRONG_PRINCIPAL if the signer is not an admin or the principal itself, UNKNOWN_PRINCIPAL.
    """
    if signer.role != Role.ADMIN and signer.principal_id != body.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a principal is revoked by itself or by an admin")
    principal = tables.principals.get(body.principal_id.encode())
    ever = [k for k in tables.keys.of(body.principal_id) if body.kid in {None, k}]
    kids = tuple(k for k in ever if tables.keys.rows[k].revoked_at is None)
    if principal is None or not kids or principal.role == Role.ROOT:
        raise Refusal(Reason.UNKNOWN_PRINCIPAL)
    for kid in kids:
        tables.keys.put(kid, replace(tables.keys.rows[kid], revoked_at=tables.now))
        spend(tables, kid)
    left = tuple(k for k in principal.kids if k not in kids)
    tables.principals.put(body.principal_id.encode(), replace(principal, kids=left))
    return kids


def check_offer(offer: KeyOffer, role: str, genesis: bytes) -> None:
    """Check an offered key pair and the proof that its owner holds it.

    Raises:
        Refusal: BAD_KEY or BAD_POSSESSION.
    """
    _check_point(offer.ed25519)
    if len(offer.x25519) != sealing.KEY_BYTES:  # libsodium would read on in memory
        raise Refusal(Reason.BAD_KEY, f"got an X25519 key of {len(offer.x25519)} bytes, want {sealing.KEY_BYTES}")
    try:
        bindings.crypto_scalarmult(_PROBE, offer.x25519)
    except (CryptoError, TypeError, ValueError) as exc:
        raise Refusal(Reason.BAD_KEY, "the X25519 key is not usable: it is of small order") from exc
    message = signing.possession_bytes(genesis, role, offer.principal_id, offer.ed25519, offer.x25519)
    try:
        signing.verify_signature(offer.ed25519, message, offer.possession)
    except SignatureError as exc:
        raise Refusal(Reason.BAD_POSSESSION) from exc


def _check_point(key: bytes) -> None:
    try:
        signing.check_public_key(key)
    except SignatureError as exc:
        raise Refusal(Reason.BAD_KEY, str(exc)) from exc


def check_free(tables: Tables, public_key: bytes) -> bytes:
    """Return the kid of a public key that is not registered and not a session's. Raises Refusal KEY_TAKEN."""
    kid = signing.kid_of(public_key)
    if tables.keys.get(kid) is not None or tables.sessions.get(kid) is not None:
        raise Refusal(Reason.KEY_TAKEN)
    return kid


def _enter(
    tables: Tables, offer: KeyOffer, role: str, *, by: bytes, registered: PrincipalRegistered | None = None
) -> bytes:
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
            payer=payer_of(tables, offer.principal_id) if registered else "",  # the roots' keys count in no share
        ),
    )
    return kid
