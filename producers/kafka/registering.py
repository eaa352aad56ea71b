"""Registering the principals of an installation: which key may register them, and how no new key is lost on the way.

A new key is written to its file before it is registered: a key that is registered and lost could never speak.
Registering again with the same key, role and attributes changes nothing.

An administrator's key may register every principal, an enrolment key those in its grant
(`processors.identity.enrolment`). The key in `enrolments/NAME.key` is for the principal NAME, or for the names that
`enrolment=NAME` asks for; `enrol.key`, made when the tenant was founded, is for agents and services without attributes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from processors.identity import enrolment as grants
from producers.home.home import HomeError, TenantHome
from producers.home.keys import KeyPair
from producers.home.keystores.stores import KeyStores
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from schemas.events.attributes import ApproverLimits, Attributes
from schemas.reasons import Reason
from schemas.records import EnrolmentGrant, PrincipalRegistered
from schemas.rows import KeyRow
from schemas.words import Role

log = logging.getLogger(__name__)

FIRST_ADMIN = "admin"  # the administrator whose key was made at founding
ENROLMENT_PREFIX = "enrolment:"  # of the names of enrolment keys: a star of no pattern meets it
_OUTSIDE_GRANT = frozenset(
    {Reason.WRONG_ROLE, Reason.NAME_INVALID, Reason.ATTRIBUTE_INVALID, Reason.ENROLMENT_EXCEEDED}
    | {Reason.ATTESTATION_NOT_DECLARED, Reason.EXPIRED_KEY, Reason.REVOKED_KEY}
)


class Registrar(NamedTuple):
    """The key that registers, and its principal, for as long as the registry does not name it."""

    key: KeyPair
    principal_id: str


def registrar(
    folder: TenantHome, role: str, name: str, *, enrolment: str | None = None, as_admin: bool = True
) -> Registrar:
    """Return the key in a tenant's folder that registers a principal; without `as_admin` never the administrator's.

    Raises:
        HomeError: no key here may; the message says how to get one.
        KeyAccessError: it cannot be had.
    """
    if as_admin and enrolment is None and (folder.path / "admin.key").exists():
        return Registrar(folder.key("admin"), FIRST_ADMIN)
    path = folder.key_file("enrolment", enrolment or name)
    if enrolment is not None or path.exists():
        return Registrar(folder.keys.load(path), f"{ENROLMENT_PREFIX}{enrolment or name}")
    if role != Role.TOOL and (folder.path / "enrol.key").exists():
        return Registrar(folder.key("enrol"), "enrol")
    raise HomeError(
        f"no key in {folder.path} may register the {role} {name!r}: where admin.key is, run "
        f"`macaw enrolment create {quote(name)} --for {role} --home FOLDER`, and run this in FOLDER or a copy of it"
    )


def register_key(
    connection: Connection,
    path: Path,
    role: str,
    name: str,
    attributes: Attributes,
    *,
    enrolment: EnrolmentGrant | None = None,
    expires_at: int | None = None,
    keys: KeyStores | None = None,
    only_within_calls: bool = False,
    approver: ApproverLimits | None = None,
) -> KeyPair:
    """Register the key in a file, or a new one that is written there first, and return it.

    The fixed attributes of the registrar's grant are added. A new key is removed again if the log refuses it. `keys`
    are the stores of `path` where it lies in another installation than the connection's.

    Raises:
        RefusedError: the log refused it; KEY_TAKEN if the key is registered with another name, role or attributes.
        NoAnswerError, PublishError: it is not known whether the key is registered; to ask again is safe.
        KeyAccessError: the key cannot be had, or its store does not take it.
    """
    keys, made = keys or connection.tenant.keys, not path.exists()
    key = keys.create(path, role) if made else keys.load(path)
    body = PrincipalRegistered(
        role=role,
        key=key.offer(role, name, connection.tenant.genesis),
        attributes=attributes_with_grant(connection, attributes),
        expires_at=expires_at,
        tools=(),
        enrolment=enrolment,
        only_within_calls=only_within_calls,
        approver=approver,
    )
    try:
        connection.ask(body)
    except RefusedError as exc:
        row = connection.registry.live_key(key.kid, role) if exc.reason == Reason.KEY_TAKEN else None
        if row is not None and _is_registered_as(row, body):
            return key
        if made:
            keys.discard(path)
        raise outside_grant(connection, role, name, exc) from exc
    return key


def _is_registered_as(row: KeyRow, body: PrincipalRegistered) -> bool:
    now = (row.principal_id, row.attributes, row.enrolment, row.only_within_calls, row.approver)
    return now == (body.key.principal_id, body.attributes, body.enrolment, body.only_within_calls, body.approver)


def attributes_with_grant(connection: Connection, attributes: Attributes) -> Attributes:
    """Return the attributes to register: those given, and the fixed ones of the registrar's own grant."""
    connection.registry.await_key(connection.key.kid)  # it may have been registered a moment ago
    row = connection.registry.key(connection.key.kid)
    if row is None or row.enrolment is None:
        return attributes
    return grants.with_fixed(attributes, row.enrolment.attributes)


def outside_grant(connection: Connection, role: str, name: str, exc: RefusedError) -> RefusedError:
    """Return a refusal with the next step added where the enrolment key may not register this principal."""
    row = connection.registry.key(connection.key.kid)
    if row is None or row.role == Role.ADMIN or exc.reason not in _OUTSIDE_GRANT:
        return exc
    return RefusedError(
        f"{exc}; the enrolment key {connection.principal_id!r} may not do that: register where admin.key is, or have a "
        f"key made there with `macaw enrolment create {quote(name)} --for {role}`, see its --help",
        reason=exc.reason,
        answer=exc.answer,
    )
