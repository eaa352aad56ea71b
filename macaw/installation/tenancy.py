"""Founding a tenant and registering its principals: the operator's acts, each a signed event."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from macaw.installation.key_names import NEXT, ORGANISATION, ROOT, founding_names
from macaw.installation.locking import update_config
from macaw.installation.tokens import create_token
from processors.identity.attributes import attributes_from
from processors.policy.documents import parse_policy
from processors.proof.authoring import RANDOM_BYTES, draft_event, sign_drafts
from processors.proof.signing import NO_GENESIS, kid_of
from processors.state.engine import ENGINE
from processors.state.engines import installed
from producers.client import NoAnswerError, RefusedError
from producers.home.files import create_private
from producers.home.home import Home, HomeError, TenantHome
from producers.home.keys import KeyPair
from producers.home.keystores.errors import KeyAccessError
from producers.kafka.answers import Answer
from producers.kafka.connection import CONTROL_SECONDS, Connection
from producers.kafka.registering import ENROLMENT_PREFIX, FIRST_ADMIN, register_key, registrar
from schemas import codec, limits
from schemas.events.attributes import NONE, Attributes
from schemas.reasons import Reason
from schemas.records import EnrolmentGrant, Event, PolicyPublished, PrincipalRegistered, PrincipalRevoked, TenantFounded
from schemas.topics import is_tenant_id
from schemas.words import Role
from streams.archive.places import verified_offset
from streams.cluster.founding import create_topics, intake_is_empty, publish_founding

ENROL_COUNT_MAX = 1000
# Files that stand in a tenant's folder until that step of its founding is done.
FOUNDING = "founding.event"
ENROLMENT = "enrolment.pending"
NEW: Final = "new"  # the key of an organisation that is made with the tenant
FOUNDING_KEYS = ("admin", "monitor", "enrol")
OFFERED_IN_DEVELOPMENT = ("**",)  # elsewhere `macaw enrolment create --offers` says it
ROLES_IN_ENROLMENT = (Role.AGENT, Role.SERVICE)  # a tool has an enrolment key of its own, or is registered by the admin


def create_tenant(
    home: Home,
    name: str,
    *,
    development: bool = False,
    replication: int = 1,
    roots: int = 1,
    threshold: int = 1,
    organisation: bytes | Literal["new"] | None = None,
) -> TenantHome:
    """Found a tenant: keys, topics, founding event. `register_enrolment` completes it.

    It has `roots` root keys, of which `threshold` sign an act, and is committed to as many next ones. `organisation` is
    the public key of an organisation, or "new" to make `organisation.key` with the tenant. An interrupted founding
    continues where it ended: files beside the keys name the steps that remain.

    Raises:
        HomeError: the name is not a tenant id, the tenant exists, or the threshold is out of bounds.
        FoundingError: the brokers do not take its topics or its founding event.
    """
    if not is_tenant_id(name):
        raise HomeError(
            f"{name!r} is not a tenant id; use 2 to 40 of a-z, 0-9 and -, beginning with a letter, but not `ops`"
        )
    if not 1 <= threshold <= roots <= limits.ROOT_KEYS_MAX:
        raise HomeError(
            f"{threshold} of {roots} root keys cannot be: a tenant has 1 to {limits.ROOT_KEYS_MAX}, and a threshold of "
            "1 to their number"
        )
    folder = TenantHome(name, home.path / "tenants" / name)
    if not folder.path.exists():
        _prepare(home, folder, roots, threshold, development=development, organisation=organisation)
    pending = folder.path / FOUNDING
    if pending.exists():
        bootstrap, security = home.bootstrap, home.security
        create_topics(bootstrap, name, replication=replication, security=security, verified=verified_offset(home, name))
        if intake_is_empty(bootstrap, name, security=security):
            value = pending.read_bytes()
            publish_founding(bootstrap, name, value, _founding_headers(folder, value), security=security)
        pending.unlink()
    elif not (folder.path / ENROLMENT).exists():
        raise HomeError(f"tenant {name!r} exists in {folder.path}: choose another name")
    if "tenant" not in home.config:
        update_config(home.path.parent, {"tenant": name})
    return folder


def _prepare(
    home: Home,
    folder: TenantHome,
    roots: int,
    threshold: int,
    *,
    development: bool,
    organisation: bytes | Literal["new"] | None,
) -> None:
    """Write keys, genesis and founding event, all or nothing, so that a monitor finds the tenant once it has topics."""
    making = folder.path.with_name(f".{folder.tenant}.{secrets.token_hex(4)}")
    keys: dict[str, KeyPair] = {}
    try:
        for kind in (ROOT, NEXT):
            for name in founding_names(kind, roots):
                keys[name] = folder.keys.create(making / f"{name}.key", ROOT, label=f"{folder.tenant}/{name}")
        for role in (*FOUNDING_KEYS, ORGANISATION) if organisation == NEW else FOUNDING_KEYS:
            keys[role] = folder.keys.create(making / f"{role}.key", role, label=f"{folder.tenant}/{role}")
        if organisation == NEW:
            organisation = keys[ORGANISATION].signing.public
            create_private(making / f"{ORGANISATION}.pub", f"{organisation.hex()}\n".encode())
        value = _founding_value(
            folder.tenant, home.deployment, keys, roots, threshold, development=development, organisation=organisation
        )
        TenantHome(folder.tenant, making).make_state_secret()
        create_private(making / FOUNDING, value)
        create_private(making / ENROLMENT, b"")
        create_private(making / "genesis", kid_of(value[codec.FRAME_BYTES :]).hex().encode() + b"\n")
        for front in ("views", "authzen"):
            create_token(making / f"{front}.token")
        making.rename(folder.path)
    except BaseException:
        with contextlib.suppress(KeyAccessError):  # the fault that is under way is the one to be told
            for name in keys:
                folder.keys.discard(making / f"{name}.key")
        shutil.rmtree(making, ignore_errors=True)
        raise


def _founding_value(
    tenant: str,
    deployment: str,
    keys: Mapping[str, KeyPair],
    roots: int,
    threshold: int,
    *,
    development: bool,
    organisation: bytes | None,
) -> bytes:
    body = TenantFounded(
        tenant=tenant,
        deployment=deployment,
        root_keys=tuple(keys[name].signing.public for name in founding_names(ROOT, roots)),
        root_threshold=threshold,
        next_root_digests=tuple(keys[name].kid for name in founding_names(NEXT, roots)),
        admin=keys["admin"].offer(Role.ADMIN, FIRST_ADMIN, NO_GENESIS),
        monitor=keys["monitor"].offer(Role.MONITOR, "monitor", NO_GENESIS),
        organisation_key=organisation,
        development=development,
        salt=os.urandom(32),
        engine=ENGINE,
        data=installed()[ENGINE].data,
    )
    now_us = time.time_ns() // 1000
    return draft_event(
        tenant,
        NO_GENESIS,
        body,
        principal_id=FIRST_ADMIN,
        session_id=None,
        seq=now_us,
        now_ms=now_us // 1000,
        random=os.urandom(RANDOM_BYTES),
    ).value


def _founding_headers(folder: TenantHome, value: bytes) -> list[tuple[str, bytes]]:
    """Sign the stored founding event. Ed25519 is deterministic: signing again gives the same bytes."""
    from processors.proof.authoring import Draft
    from processors.proof.signing import EVENT_TAG, Place
    from schemas.topics import INTAKE

    schema, datum = codec.unframe(value)
    event: Event = codec.decode(schema, datum)
    place = Place.of(EVENT_TAG, NO_GENESIS, INTAKE.of(folder.tenant), 0, schema.sha256)
    [headers] = sign_drafts(folder.key("admin").signing, [Draft(event.header.event_id, value, place.leaf(datum))])
    return headers


def admin_connection(home: Home, folder: TenantHome, *, name: str = FIRST_ADMIN) -> Connection:
    """Return the connection with which the admin key speaks, under the name that it is registered with.

    `name` is taken for a key that the log does not know yet.
    """
    return Connection.registered(home, folder, folder.key("admin"), name)


def register_enrolment(
    home: Home, folder: TenantHome, *, development: bool = False, seconds: float = CONTROL_SECONDS
) -> Answer | None:
    """Register the enrolment key. None: no monitor answers yet; the event is on the log and takes effect later.

    `development` says how the tenant was just founded; it counts until a monitor has written the founding to the
    registry; the registry counts then.

    Raises:
        RefusedError: the log refused it.
    """
    answer = None
    with admin_connection(home, folder) as connection:
        try:
            body = _enrolment(connection, folder, folder.key("enrol"), development=development)
            answer = connection.ask(body, seconds=seconds)
        except NoAnswerError:
            pass
        except RefusedError as exc:
            if exc.reason != Reason.KEY_TAKEN:  # KEY_TAKEN: the founding was interrupted after this step
                raise
            answer = exc.answer
    (folder.path / ENROLMENT).unlink(missing_ok=True)
    return answer


def _enrolment(
    connection: Connection, folder: TenantHome, key: KeyPair, *, development: bool = False
) -> PrincipalRegistered:
    """Return the registration of the enrolment key: in a tenant for development its programs offer any names."""
    connection.registry.refresh()
    rows = connection.registry.tables.tenant.rows.values()
    offers = OFFERED_IN_DEVELOPMENT if any(row.development for row in rows) or (development and not rows) else ()
    return PrincipalRegistered(
        role=Role.ENROLMENT,
        key=key.offer(Role.ENROLMENT, "enrol", folder.genesis),
        attributes=NONE,
        tools=(),
        enrolment=EnrolmentGrant(
            roles=ROLES_IN_ENROLMENT, name_pattern="*", count_max=ENROL_COUNT_MAX, attributes=Attributes(offers=offers)
        ),
    )


def renew_enrolment(home: Home, folder: TenantHome) -> Path:
    """Replace a used-up enrolment key, revoke it, and return the path to which its file was moved.

    Principals that the old key registered stay, and the new one may add instances to them. A second run continues an
    interrupted one: the new key is saved before the log hears of it.

    Raises:
        RefusedError: the log refused it.
    """
    path, successor = folder.path / "enrol.key", folder.path / "enrol.key.new"
    old = folder.key("enrol")
    if not successor.exists():
        folder.keys.create(successor, "enrol", label=f"{folder.tenant}/enrol")
    with admin_connection(home, folder) as connection:
        for body, done in (
            (_enrolment(connection, folder, folder.keys.load(successor)), Reason.KEY_TAKEN),
            (
                PrincipalRevoked(principal_id="enrol", kid=old.kid, reason="renewed"),
                Reason.UNKNOWN_PRINCIPAL,
            ),
        ):
            try:
                connection.ask(body)
            except RefusedError as exc:
                if exc.reason != done:  # `done`: an earlier run was interrupted after this step
                    raise
    aside = folder.path / f"enrol-{old.kid.hex()[:8]}.key.revoked"
    aside.unlink(missing_ok=True)
    aside.hardlink_to(path)
    successor.replace(path)
    return aside


def register_agent(
    home: Home,
    folder: TenantHome,
    name: str,
    *,
    attributes: Mapping[str, object],
    role: str = Role.AGENT,
    enrolment: str | None = None,
    only_within_calls: bool = False,
) -> KeyPair:
    """Register an agent or service and keep its new key file, with the admin key or, where there is none, an enrolment.

    With `only_within_calls` its sessions call others only while they execute a call.

    Raises:
        AttributeInvalidError: an attribute has an unknown name or a value of another type.
        RefusedError: the log refused it, also for attributes that the enrolment key may not give.
        HomeError: no key here may register it.
    """
    known = attributes_from(attributes)
    by = registrar(folder, role, name, enrolment=enrolment)
    with Connection.registered(home, folder, by.key, by.principal_id) as connection:
        path = folder.key_file("agent", name)
        return register_key(connection, path, role, name, known, only_within_calls=only_within_calls)


def revoke_principal(home: Home, folder: TenantHome, name: str, *, reason: str) -> list[Path]:
    """Revoke every key of a principal and their sessions; return the paths to which its key files were moved.

    Raises:
        RefusedError: no such principal is registered.
    """
    with admin_connection(home, folder) as connection:
        connection.ask(PrincipalRevoked(principal_id=name, kid=None, reason=reason))
    # Kept, because only its owner may destroy a key; moved, because a new registration needs a new one.
    mark = secrets.token_hex(4)
    return [path.rename(path.with_suffix(f".{mark}.revoked")) for path in _key_files(folder, name)]


def _key_files(folder: TenantHome, name: str) -> list[Path]:
    """Return the files of a program's keys, those of several instances of a tool too."""
    kinds = ("agent", "tool", "approver", "attester")
    found = [folder.key_file(kind, name) for kind in kinds]
    if name.startswith(ENROLMENT_PREFIX):
        found.append(folder.key_file("enrolment", name.removeprefix(ENROLMENT_PREFIX)))
    tool = folder.key_file("tool", name)
    instances = sorted(path for path in tool.parent.glob("*.key") if path.stem.rpartition("#")[0] == tool.stem)
    return [path for path in [*found, *instances] if path.exists()]


def publish_policies(
    home: Home,
    folder: TenantHome,
    documents: Sequence[str],
    in_force: Mapping[str, bytes],
    *,
    organisation: Path | None = None,
) -> Answer:
    """Publish documents, all or none. `in_force` gives the digest that each replaces, by policy id.

    `organisation` is the file of the organisation's key, which signs in the place of the admin's.

    Raises:
        PolicyError: a document is wrong; nothing was sent.
        RefusedError: the log refused them, E_CONFLICT where another version is in force.
    """
    shared = organisation is not None
    ids = [parse_policy(document.encode(), organisation=shared).policy_id for document in documents]
    body = PolicyPublished(documents=tuple(documents), previous=tuple(in_force.get(i) for i in ids))
    with publisher(home, folder, organisation) as connection:
        return connection.ask(body)


def publisher(home: Home, folder: TenantHome, organisation: Path | None) -> Connection:
    """Return the connection that publishes: of the organisation with its key in a file, else of the admin."""
    if organisation is None:
        return admin_connection(home, folder)
    return Connection.registered(home, folder, folder.keys.load(organisation), ORGANISATION)
