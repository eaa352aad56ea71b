"""The roots: the founding of a tenant, and the acts of a threshold of root keys on admins and on root keys.

Two sets of keys can rotate the roots, each by the threshold that stands now: the present root keys, and the *next*
ones, of which only digests are on the log. Present keys cannot change a commitment to next keys, nor the
threshold beside it, so a thief of all present keys cannot lock out the owner of the next ones. A recovery by next keys
commits to further ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

from processors.identity import engines
from processors.identity.keys import spend
from processors.identity.registry import check_offer, check_point, enter, revoke_keys, unrevoked
from processors.policy import names
from processors.proof import signing
from processors.proof.signing import SignatureError
from processors.refusal import Refusal
from processors.state.tables import SINGLETON, Tables
from schemas import codec, limits
from schemas.events.keys import (
    AdminAdded,
    AdminAddition,
    AdminRemoval,
    AdminRemoved,
    KeyOffer,
    RootAct,
    RootRotated,
    RootRotation,
    RootSignature,
)
from schemas.reasons import Reason
from schemas.records import TenantFounded
from schemas.rows import TenantRow
from schemas.words import Role

A = TypeVar("A")

ROOT = "root"  # the principal of every root key
ORGANISATION = "organisation"  # the principal of the organisation's key, where the founding event names one
_RECOVERY = 1 << 63


def found(tables: Tables, body: TenantFounded, datum: bytes, offset: int) -> None:
    """Found the tenant.

    Raises:
        Refusal: NOT_GENESIS unless this is the configured founding event at offset 0; BAD_ROOT_SIGNATURES, BAD_KEY and
            others for keys that cannot be a tenant's.
    """
    if offset != 0 or len(tables.tenant) or sha256(datum).digest() != tables.genesis:
        raise Refusal(Reason.NOT_GENESIS)
    if body.tenant != tables.tenant_id or f"{body.deployment}/{body.tenant}" != tables.origin:
        raise Refusal(Reason.NOT_GENESIS, f"the founding event is not for {tables.origin}, the configured tenant")
    check_roots(body.root_keys, body.root_threshold, body.next_root_digests)
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
        check_point(key)
        enter_root(tables, key)
    _enter_organisation(tables, body)
    for role, offer in ((Role.ADMIN, body.admin), (Role.MONITOR, body.monitor)):
        names.check_name(offer.principal_id)
        check_offer(offer, role, signing.NO_GENESIS)
        enter(tables, offer, role, by=tables.genesis)


def _enter_organisation(tables: Tables, body: TenantFounded) -> None:
    """Enter the organisation's key, if the tenant has one, before anybody can take its name. Raises Refusal."""
    key = body.organisation_key
    if key is None:
        return
    check_point(key)
    if signing.kid_of(key) in body.next_root_digests:
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, "the organisation's key is a next root key: one key has one role")
    offer = KeyOffer(principal_id=ORGANISATION, ed25519=key, x25519=b"", possession=b"")
    enter(tables, offer, Role.ORGANISATION, by=tables.genesis)


def add_admin(tables: Tables, body: AdminAdded) -> bytes:
    """Add an admin key and return its kid. Raises Refusal BAD_ROOT_SIGNATURES, BAD_KEY and those of a registration.

    In a tenant that has an organisation, an act in its name adds a key of the organisation.
    """
    _check_consents(tables, body)
    act = decoded(body, AdminAddition)
    names.check_name(act.admin.principal_id)
    known = tables.principals.get(act.admin.principal_id.encode())
    role = Role.ORGANISATION if known is not None and known.role == Role.ORGANISATION else Role.ADMIN
    check_offer(act.admin, role, tables.genesis)
    kid = enter(tables, act.admin, role, by=tables.genesis)
    _end_epoch(tables)
    return kid


def remove_admin(tables: Tables, body: AdminRemoved) -> tuple[bytes, ...]:
    """Revoke one key of an admin or of the organisation, or all of them, and return their kids.

    Raises:
        Refusal: BAD_ROOT_SIGNATURES, UNKNOWN_PRINCIPAL if there is no such admin or key, LIMIT_EXCEEDED.
    """
    act = _removal(tables, body)
    kids = revoke_keys(tables, act.principal_id, act.kid)
    _end_epoch(tables)
    return kids


def removed_by(tables: Tables, body: AdminRemoved) -> tuple[bytes, ...]:
    """Return the kids of the keys that an act would revoke now. Raises Refusal as `remove_admin`."""
    act = _removal(tables, body)
    return unrevoked(tables, act.principal_id, act.kid)


def _removal(tables: Tables, body: AdminRemoved) -> AdminRemoval:
    """Return the act, if the roots have signed it for an admin. Raises Refusal."""
    _check_consents(tables, body)
    act = decoded(body, AdminRemoval)
    if len(act.reason) > limits.REASON_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"the reason is longer than {limits.REASON_CHARS_MAX} characters")
    principal = tables.principals.get(act.principal_id.encode("utf-8", "surrogatepass"))
    if principal is None or principal.role not in {Role.ADMIN, Role.ORGANISATION}:
        raise Refusal(Reason.UNKNOWN_PRINCIPAL, "no admin has this name")
    return act


def _end_epoch(tables: Tables) -> None:
    """Let no act that was signed up to now count again: one root key could submit it once more, years later."""
    row = tables.tenant.rows[SINGLETON]
    tables.tenant.put(SINGLETON, replace(row, root_epoch=row.root_epoch + 1))


def recovery_epoch(next_digests: Sequence[bytes]) -> int:
    """Return the epoch under which next root keys sign a recovery: 2^63 + 63 bits of the SHA-256 of the commitment.

    It stays as long as the commitment does. Under the epoch of other acts a thief of the present keys could outrun a
    recovery, by one act after another.
    """
    return int.from_bytes(sha256(b"".join(next_digests)).digest()[:8], "big") | _RECOVERY


def rotate_roots(tables: Tables, body: RootRotated) -> int:
    """Put other root keys in the place of the present ones, and return the new epoch.

    A key that is in both sets stays as it is. Every other present key is revoked. Acts that were signed in an earlier
    epoch count no more.

    Raises:
        Refusal: BAD_ROOT_SIGNATURES, BAD_KEY, KEY_TAKEN, LIMIT_EXCEEDED.
    """
    act, founding = _rotation(body), tables.tenant.rows[SINGLETON]
    if not _is_recovery(tables, body, founding, act):
        _check_may_rotate(tables, body, founding, act)
    _replace_roots(tables, founding, act, {signing.kid_of(key) for key in act.root_keys})
    return founding.root_epoch + 1


def check_recovery(tables: Tables, body: RootRotated) -> None:
    """Raise Refusal unless the next root keys would recover the tenant with this act now."""
    if not _is_recovery(tables, body, tables.tenant.rows[SINGLETON], _rotation(body)):
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, "the act is not a recovery by the next root keys")


def _rotation(body: RootRotated) -> RootRotation:
    """Return the act of a rotation with well-formed keys. Raises Refusal."""
    act = decoded(body, RootRotation)
    _check_form(body, 2 * limits.ROOT_KEYS_MAX)  # of the present or next keys, and of the new ones
    if len(act.reason) > limits.REASON_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"the reason is longer than {limits.REASON_CHARS_MAX} characters")
    check_roots(act.root_keys, act.root_threshold, act.next_root_digests)
    for key in act.root_keys:
        check_point(key)
    return act


def _is_recovery(tables: Tables, body: RootRotated, founding: TenantRow, act: RootRotation) -> bool:
    """Return True if a threshold of next root keys, and every new root key, signed the act as a recovery."""
    committed = set(founding.next_root_digests)
    good = _consents(tables, body, act.root_keys, recovery_epoch(founding.next_root_digests))
    return len(good & committed) >= founding.root_threshold and {signing.kid_of(key) for key in act.root_keys} <= good


def _check_may_rotate(tables: Tables, body: RootRotated, founding: TenantRow, act: RootRotation) -> None:
    """Raise Refusal BAD_ROOT_SIGNATURES unless enough present root keys, and every new one, consent."""
    good = _consents(tables, body, [*founding.root_keys, *act.root_keys], founding.root_epoch)
    if not {signing.kid_of(key) for key in act.root_keys} <= good:
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, "each new root key must sign the act, to show that it is held")
    present = {signing.kid_of(key) for key in founding.root_keys}
    if len(good & present) < founding.root_threshold:
        got = f"got {len(good & present)} good signatures of present root keys, want {founding.root_threshold}"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, got)
    if not founding.next_root_digests:
        return
    if act.next_root_digests != founding.next_root_digests or act.root_threshold != founding.root_threshold:
        want = (
            "present root keys cannot change the next ones or their threshold: repeat both, or sign with the next keys"
        )
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)


def _replace_roots(tables: Tables, founding: TenantRow, act: RootRotation, new: set[bytes]) -> None:
    old = {signing.kid_of(key) for key in founding.root_keys}
    for kid in sorted(old - new):
        tables.keys.put(kid, replace(tables.keys.rows[kid], revoked_at=tables.now))
        spend(tables, kid)
    principal = tables.principals.rows[ROOT.encode()]
    kept = tuple(kid for kid in principal.kids if kid in new)
    tables.principals.put(ROOT.encode(), replace(principal, kids=kept))
    for key in act.root_keys:
        if signing.kid_of(key) not in old:
            enter_root(tables, key)
    rotated = replace(
        founding,
        root_keys=act.root_keys,
        root_threshold=act.root_threshold,
        next_root_digests=act.next_root_digests,
        root_epoch=founding.root_epoch + 1,
    )
    tables.tenant.put(SINGLETON, rotated)


def enter_root(tables: Tables, key: bytes) -> None:
    """Enter a root key. Raises Refusal KEY_TAKEN."""
    offer = KeyOffer(principal_id=ROOT, ed25519=key, x25519=b"", possession=b"")
    enter(tables, offer, Role.ROOT, by=tables.genesis)


def check_roots(keys: Sequence[bytes], threshold: int, next_digests: Sequence[bytes]) -> None:
    """Check a set of root keys with their threshold and the digests of the next ones. Raises Refusal."""
    if not 1 <= threshold <= len(set(keys)) == len(keys) <= limits.ROOT_KEYS_MAX:
        want = f"a tenant has 1 to {limits.ROOT_KEYS_MAX} distinct root keys, and a threshold of 1 to their number"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)
    distinct = len(set(next_digests))
    if not next_digests:
        return
    sizes = {len(digest) for digest in next_digests}
    if not threshold <= distinct == len(next_digests) <= limits.ROOT_KEYS_MAX or sizes != {32}:
        want = "`next_root_digests` is empty, or has the threshold to 16 distinct digests of 32 bytes"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)
    if set(next_digests) & {signing.kid_of(key) for key in keys}:
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, "a next root key must not be in use: keep it elsewhere until then")


# ---- signatures


def decoded(body: RootAct, kind: type[A]) -> A:
    """Return the act inside a root act. Raises Refusal BAD_ROOT_SIGNATURES for another act, UNDECODABLE."""
    schema = codec.current(kind.__name__)
    if body.act[:32] != schema.sha256:
        want = f"`act` does not begin with the digest of the schema {kind.__name__}"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)
    try:
        act: A = codec.decode(schema, body.act[32:])
    except codec.SchemaError as exc:
        raise Refusal(Reason.UNDECODABLE, str(exc)) from exc
    return act


def _check_form(body: RootAct, most: int) -> None:
    sizes = {(len(one.kid), len(one.signature)) for one in body.root_signatures}
    if len(body.root_signatures) > most or sizes - {(32, signing.SIGNATURE_BYTES)}:
        want = f"an act has at most {most} root signatures, each a kid of 32 bytes and one of 64"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, want)


def _check_consents(tables: Tables, body: RootAct) -> None:
    """Raise Refusal BAD_ROOT_SIGNATURES unless a threshold of present root keys signed the act."""
    _check_form(body, limits.ROOT_KEYS_MAX)
    founding = tables.tenant.rows[SINGLETON]
    good = _consents(tables, body, founding.root_keys, founding.root_epoch)
    if len(good) < founding.root_threshold:
        got = f"got {len(good)} good signatures of root keys, want {founding.root_threshold}"
        raise Refusal(Reason.BAD_ROOT_SIGNATURES, got)


def _consents(tables: Tables, body: RootAct, keys: Iterable[bytes], epoch: int) -> set[bytes]:
    """Return the kids of those `keys` that signed the act. A bad signature does not count; the threshold decides."""
    by_kid = {signing.kid_of(key): key for key in keys}
    message = signing.root_act_bytes(tables.genesis, epoch, body.act)
    return {one.kid for one in body.root_signatures if _is_good(by_kid.get(one.kid), message, one)}


def _is_good(key: bytes | None, message: bytes, consent: RootSignature) -> bool:
    if key is None:
        return False
    try:
        signing.verify_signature(key, message, consent.signature)
    except SignatureError:
        return False
    return True
