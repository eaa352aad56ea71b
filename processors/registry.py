"""Who is who: the fold of founding, registration and revocation.

The registry holds public keys, each under one role. A key enters with a proof that its owner holds it, and is checked
once as a curve point; a revoked key stays as a row, so that it can never be registered again.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from nacl import bindings
from nacl.exceptions import CryptoError

from processors import bridges, sealing, signing
from processors.attributes import subject_of
from processors.authority import ROLES, check_may_register
from processors.intake import Signer
from processors.keys import ENROLMENT_ROLE, live_keys, payer_of, spend
from processors.policy.errors import PolicyError
from processors.policy.limits import PATTERNS_MAX
from processors.policy.paths import parse_path
from processors.policy.patterns import check_pattern
from processors.refusal import Refusal
from processors.signing import SignatureError
from processors.tables import SINGLETON, Tables
from schemas import codec, limits
from schemas.reasons import Reason
from schemas.records import (
    AdminAdded,
    AdminAddition,
    EnrolmentGrant,
    KeyOffer,
    PrincipalRegistered,
    PrincipalRevoked,
    TenantFounded,
    ToolDeclaration,
)
from schemas.rows import KeyRow, PrincipalRow, ResourceRow, TenantRow

PERSON_PREFIX = "user:"
_PROBE = bytes([1] * 32)  # any scalar: the product with a small-order X25519 point is zero, and libsodium says so


def found(tables: Tables, body: TenantFounded, datum: bytes, offset: int) -> None:
    """Found the tenant. Raises Refusal NOT_GENESIS unless this is the configured founding event at offset 0."""
    if offset != 0 or len(tables.tenant) or sha256(datum).digest() != tables.genesis:
        raise Refusal(Reason.NOT_GENESIS)
    if body.tenant != tables.tenant_id or f"{body.deployment}/{body.tenant}" != tables.origin:
        raise Refusal(Reason.NOT_GENESIS, "the founding event names another tenant or deployment")
    distinct = len(set(body.root_keys))
    if not 1 <= body.root_threshold <= distinct == len(body.root_keys) <= limits.ROOT_KEYS_MAX:
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, "want 1 to 16 distinct root keys and a threshold among them")
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
        ),
    )
    for key in body.root_keys:
        _check_point(key)
        _enter(
            tables, KeyOffer(principal_id="root", ed25519=key, x25519=b"", possession=b""), "root", by=tables.genesis
        )
    for role, offer in (("admin", body.admin), ("monitor", body.monitor)):
        check_name(offer.principal_id)
        check_offer(offer, role, signing.NO_GENESIS)
        _enter(tables, offer, role, by=tables.genesis)


def add_admin(tables: Tables, body: AdminAdded) -> bytes:
    """Add an admin key by a threshold of root keys and return its kid. Raises Refusal BAD_ROOT_SIGNATURES, BAD_KEY."""
    schema = codec.current("AdminAddition")
    sizes = {(len(one.kid), len(one.signature)) for one in body.root_signatures}
    if len(body.root_signatures) > limits.ROOT_KEYS_MAX or sizes - {(32, signing.SIGNATURE_BYTES)}:
        want = f"want at most {limits.ROOT_KEYS_MAX} root signatures, each a kid of 32 bytes and a signature of 64"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)
    if body.act[:32] != schema.sha256:
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, "the act is not an AdminAddition")
    _check_root_signatures(tables, body)
    try:
        act: AdminAddition = codec.decode(schema, body.act[32:])
    except codec.SchemaError as exc:
        raise Refusal(Reason.UNDECODABLE, str(exc)) from exc
    check_name(act.admin.principal_id)
    check_offer(act.admin, "admin", tables.genesis)
    return _enter(tables, act.admin, "admin", by=tables.genesis)


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
            continue  # a bad signature is no consent; the count below decides
        good.add(consent.kid)
    if len(good) < founding.root_threshold:
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, f"got {len(good)} root signatures, want {founding.root_threshold}")


def register(tables: Tables, signer: Signer, body: PrincipalRegistered) -> bytes:
    """Register a key of a principal and return its kid.

    Raises:
        Refusal: the signer may not, the key or its possession is bad, the name is not allowed, a limit is met, or the
            principal stands with another role, other tools or another owner of a resource.
    """
    check_may_register(signer.role, body.role)
    check_name(body.key.principal_id)
    if body.expires_at is not None and body.expires_at <= tables.now:
        raise Refusal(Reason.EXPIRED_KEY, "the registration ends before it begins")
    subject_of(body.attributes, body.role, body.key.principal_id)
    if signer.role == ENROLMENT_ROLE:
        _charge_enrolment(tables, signer, body)
    _check_grant(body)
    if body.role == "bridge":
        bridges.check_bridge(tables, body.attributes)
    if body.role == "attester":
        _check_attester(body)
    check_offer(body.key, body.role, tables.genesis)
    kid = _enter(tables, body.key, body.role, by=signer.kid, registered=body)
    _declare_tools(tables, signer, body)
    return kid


def revoke(tables: Tables, signer: Signer, body: PrincipalRevoked) -> tuple[bytes, ...]:
    """Revoke one key or all keys of a principal and return their kids; sessions they opened end with them.

    Keys that have expired too: what was said with them would count on.

    Raises:
        Refusal: WRONG_PRINCIPAL for anybody but an admin or the principal itself, UNKNOWN_PRINCIPAL.
    """
    if signer.role != "admin" and signer.principal_id != body.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "only an admin or the principal itself may revoke it")
    principal = tables.principals.get(body.principal_id.encode())
    ever = [k for k in tables.keys.of(body.principal_id) if body.kid in {None, k}]
    kids = tuple(k for k in ever if tables.keys.rows[k].revoked_at is None)
    if principal is None or not kids or principal.role == "root":
        raise Refusal(Reason.UNKNOWN_PRINCIPAL)
    for kid in kids:
        tables.keys.put(kid, replace(tables.keys.rows[kid], revoked_at=tables.now))
        spend(tables, kid)
    left = tuple(k for k in principal.kids if k not in kids)
    tables.principals.put(body.principal_id.encode(), replace(principal, kids=left))
    return kids


def check_name(name: str) -> None:
    """Raise Refusal NAME_INVALID unless `name` may be that of a program: printable, and not a person's."""
    check_printable(name)
    if name.startswith(PERSON_PREFIX):
        raise Refusal(Reason.NAME_INVALID, f"names that begin with {PERSON_PREFIX} are persons'")


def check_printable(name: str) -> None:
    """Raise Refusal NAME_INVALID unless `name` is 1 to 256 printable characters without outer blanks or `*`."""
    if not 0 < len(name) <= limits.NAME_CHARS_MAX or not name.isprintable() or name != name.strip() or "*" in name:
        raise Refusal(Reason.NAME_INVALID, "want 1 to 256 printable characters without * or outer blanks")
    if unicodedata.normalize("NFC", name) != name:
        # Policies are looked up by names in NFC: another spelling would inherit what is somebody else's.
        raise Refusal(Reason.NAME_INVALID, "want a name in Unicode's normal form C")


def check_offer(offer: KeyOffer, role: str, genesis: bytes) -> None:
    """Check an offered key pair and the proof that its owner holds it.

    Raises:
        Refusal: BAD_KEY or BAD_POSSESSION.
    """
    _check_point(offer.ed25519)
    if len(offer.x25519) != sealing.KEY_BYTES:  # libsodium would read on in memory
        raise Refusal(Reason.BAD_KEY, f"an X25519 key is {sealing.KEY_BYTES} bytes")
    try:
        bindings.crypto_scalarmult(_PROBE, offer.x25519)
    except (CryptoError, TypeError, ValueError) as exc:
        raise Refusal(Reason.BAD_KEY, "not a usable X25519 key") from exc
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
    """Return the kid of a public key that no role holds yet. Raises Refusal KEY_TAKEN."""
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
        raise Refusal(Reason.REGISTRATION_CONFLICT, f"the principal is registered with role {principal.role!r}")
    live = tuple(kid for kid, _ in live_keys(tables, offer.principal_id))  # expired instances make room
    if len(live) >= limits.INSTANCE_KEYS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a principal has at most {limits.INSTANCE_KEYS_MAX} live keys")
    tables.principals.put(name, replace(principal, kids=(*live, kid)))
    tables.keys.put(
        kid,
        KeyRow(
            role=role,
            principal_id=offer.principal_id,
            ed25519=offer.ed25519,
            x25519=offer.x25519,
            attributes=registered.attributes if registered else "{}",
            registered_at=tables.now,
            expires_at=registered.expires_at if registered else None,
            enrolment=registered.enrolment if registered else None,
            enrolled=0,
            payer=payer_of(tables, offer.principal_id) if registered else "",  # founders' and roots' acts stay possible
        ),
    )
    return kid


def _charge_enrolment(tables: Tables, signer: Signer, body: PrincipalRegistered) -> None:
    row = tables.keys.rows[signer.kid]
    grant = row.enrolment
    if grant is None or body.role not in grant.roles:
        raise Refusal(Reason.WRONG_ROLE, f"this enrolment key may not register role {body.role!r}")
    principal = tables.principals.get(body.key.principal_id.encode())
    if principal is not None and not _is_renewal(tables, principal.registered_by, signer):
        # Or it could give itself another's attributes, or become a recipient of what is sealed to another's tool.
        raise Refusal(Reason.REGISTRATION_CONFLICT, "the name was registered by another key: an admin adds instances")
    if not _matches(grant.name_pattern, body.key.principal_id):
        raise Refusal(Reason.NAME_INVALID, "the name is outside the enrolment key's pattern")
    size = row.enrolled_bytes + _registry_bytes(body)
    if row.enrolled >= grant.count_max or size > limits.ENROLLED_BYTES_MAX:
        raise Refusal(Reason.ENROLMENT_EXCEEDED, "an admin registers a further enrolment key under the same name")
    tables.keys.put(signer.kid, replace(row, enrolled=row.enrolled + 1, enrolled_bytes=size))


def _is_renewal(tables: Tables, registered_by: bytes, signer: Signer) -> bool:
    """Whether a principal was registered by this enrolment key, or by an earlier one under the same name."""
    row = tables.keys.get(registered_by)
    return row is not None and row.role == ENROLMENT_ROLE and row.principal_id == signer.principal_id


def _registry_bytes(body: PrincipalRegistered) -> int:
    """Return about how much a registration takes of what clients read of the registry, for ever."""
    texts = [body.attributes]
    for declared in body.tools:
        texts += (declared.resource, declared.description, *declared.attests, *declared.prompts)
    return limits.SESSION_OWN_BYTES + sum(len(text.encode("utf-8", "surrogatepass")) + 8 for text in texts)


def _matches(pattern: str, name: str) -> bool:
    """Whether `name` is `pattern` with each `*` standing for any run of characters; linear in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == first
    if not name.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found_at = name.find(piece, at)
        if found_at < 0:
            return False
        at = found_at + len(piece)
    return len(name) - len(rest[-1]) >= at and name.endswith(rest[-1])


def _check_grant(body: PrincipalRegistered) -> None:
    grant: EnrolmentGrant | None = body.enrolment
    if (grant is not None) != (body.role == "enrolment"):
        raise Refusal(Reason.NAME_INVALID, "an enrolment key, and no other, says what it may register")
    if grant is not None and len(grant.name_pattern) > limits.NAME_CHARS_MAX:
        raise Refusal(Reason.NAME_INVALID, f"want a name pattern of at most {limits.NAME_CHARS_MAX} characters")
    if grant is not None and (
        not 0 < len(grant.roles) <= len(ROLES)
        or set(grant.roles) - {"agent", "service", "tool"}
        or not 0 < grant.count_max <= limits.KEYS_MAX
    ):
        raise Refusal(Reason.NAME_INVALID, "an enrolment key registers agents, services or tools, 1 or more")


def _declare_tools(tables: Tables, signer: Signer, body: PrincipalRegistered) -> None:
    """Give the tool its resources; each instance declares exactly what the first did."""
    if bool(body.tools) != (body.role == "tool") or len(body.tools) > limits.TOOLS_PER_PRINCIPAL_MAX:
        raise Refusal(Reason.REGISTRATION_CONFLICT, "a tool, and no other, declares 1 to 512 operations")
    kept = {declared.resource for declared in body.tools}
    if len(kept) < len(body.tools):
        raise Refusal(Reason.REGISTRATION_CONFLICT, "a tool declares each operation once")
    name = body.key.principal_id
    principal = tables.principals.rows[name.encode()]
    if len(principal.kids) > 1 and principal.tools != body.tools:
        raise Refusal(Reason.REGISTRATION_CONFLICT, "other instances of the tool declare other operations")
    for declared in principal.tools:
        if declared.resource not in kept:
            tables.resources.delete(declared.resource.encode())
    for declared in body.tools:
        if signer.role == "enrolment" and not declared.resource.startswith(f"tool:{name}/"):
            # The name pattern would else bind names only, and any tool could take another's resources.
            raise Refusal(Reason.RESOURCE_INVALID, f"an enrolled tool offers resources under tool:{name}/")
        _declare(tables, name, declared)
    tables.principals.put(name.encode(), replace(principal, tools=body.tools))


def _declare(tables: Tables, name: str, declared: ToolDeclaration) -> None:
    key = declared.resource.encode()
    owner = tables.resources.get(key)
    if owner is not None and owner.principal_id != name:
        raise Refusal(Reason.RESOURCE_TAKEN, f"{owner.principal_id!r} offers it")
    if not declared.resource.isprintable() or not 0 < len(declared.resource) <= limits.RESOURCE_CHARS_MAX:
        raise Refusal(Reason.RESOURCE_INVALID)
    if not 0 < declared.timeout_ms <= limits.TOOL_TIMEOUT_MS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a tool runs at most {limits.TOOL_TIMEOUT_MS_MAX} ms")
    _check_declared(declared)
    row = ResourceRow(
        principal_id=name,
        timeout_ms=declared.timeout_ms,
        idempotent=declared.idempotent,
        attests=declared.attests,
        prompts=declared.prompts,
        payer=payer_of(tables, name),
    )
    tables.resources.put(key, row)


def _check_declared(declared: ToolDeclaration) -> None:
    """Check the patterns and paths of a declaration: they are matched later, for whoever calls."""
    _check_patterns(declared.attests)
    if len(declared.description) > limits.DESCRIPTION_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want a description of at most {limits.DESCRIPTION_CHARS_MAX} characters")
    if len(declared.prompts) > PATTERNS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"an operation declares at most {PATTERNS_MAX} prompts")
    try:
        for path in declared.prompts:
            if len(path) > limits.RESOURCE_CHARS_MAX:
                raise Refusal(Reason.LIMIT_EXCEEDED, f"want paths of at most {limits.RESOURCE_CHARS_MAX} characters")
            parse_path(path, "")
    except PolicyError as exc:
        raise Refusal(Reason.PROMPT_MISMATCH, "want paths to parameters") from exc


def _check_patterns(patterns: Sequence[str]) -> None:
    if len(patterns) > PATTERNS_MAX:  # each is held against every key that is attested
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want at most {PATTERNS_MAX} patterns in a list")
    try:
        for pattern in patterns:
            check_pattern(pattern, "")
    except PolicyError as exc:
        raise Refusal(Reason.ATTESTATION_FORM, "want patterns of attestation keys") from exc


def _check_attester(body: PrincipalRegistered) -> None:
    """Check what an attester may say, and of whom."""
    attributes = json.loads(body.attributes)
    for name in ("attests", "subjects"):
        listed = attributes.get(name, [])
        _check_patterns((listed,) if isinstance(listed, str) else listed)
