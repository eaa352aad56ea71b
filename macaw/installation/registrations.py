"""Acts of the administrator after founding: registering approvers and attesters, revoking sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from macaw.installation.tenancy import admin_connection
from processors.identity.attributes import attributes_from
from processors.proof.signing import kid_of
from producers.client.delegations import scope_text
from producers.client.inputs import digest_of
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from producers.kafka.followed_topic import FollowedTopic
from producers.kafka.outcomes import RefusedError
from producers.kafka.registering import register_key
from schemas import codec
from schemas.events.attributes import ApproverLimits
from schemas.events.workflow import AttestationSet
from schemas.reasons import Reason
from schemas.records import Attestation, Event, SessionOpened, SessionRevoked
from schemas.topics import SESSIONS
from schemas.words import SessionKind

EVERYTHING = ("**",)


def register_with_admin(
    home: Home,
    folder: TenantHome,
    role: str,
    name: str,
    attributes: Mapping[str, object],
    approver: ApproverLimits | None = None,
) -> KeyPair:
    """Register an approver or attester with the admin key and keep its new key file; `approver` are its limits.

    Raises:
        AttributeInvalidError: an attribute has an unknown name or a value of another type.
        RefusedError: the log refused it.
    """
    known = attributes_from(attributes)
    with admin_connection(home, folder) as connection:
        return register_key(connection, folder.key_file(role, name), role, name, known, approver=approver)


def limits_from(
    *,
    resources: Sequence[str] = (),
    operations: Sequence[str] = (),
    conditions: Mapping[str, Any] | None = None,
    keys: Sequence[str] = (),
    once_only: bool = False,
    speaks_for: Sequence[str] = (),
) -> ApproverLimits | None:
    """Return the limits of an approver, in the words of a delegation; None where nothing is limited.

    Where only conditions are given, they bound calls of every resource; without `keys` every attestation key is meant.

    Raises:
        PolicyError: the resources, operations and conditions are not the scope of a delegation.
    """
    if not (resources or operations or conditions or keys or once_only or speaks_for):
        return None
    scope = None
    if resources or operations or conditions:
        covered = resources if resources or operations else EVERYTHING
        scope = scope_text(covered, operations, conditions)
    return ApproverLimits(
        scope=scope, keys=tuple(keys) or EVERYTHING, once_only=once_only, speaks_for=tuple(speaks_for)
    )


def revoke_session(home: Home, folder: TenantHome, session_id: bytes, *, reason: str) -> None:
    """End a session with the admin key. Raises RefusedError UNKNOWN_SESSION."""
    with admin_connection(home, folder) as connection:
        connection.ask(SessionRevoked(session=session_id, reason=reason))


def revoke_sessions_of(home: Home, folder: TenantHome, name: str, *, reason: str) -> list[bytes]:
    """End every session of a principal with the admin key, one event each, and return the ids of those that it ended.

    Sessions that are over, but whose rows still stand, are revoked as well: their delegations end. It looks again until
    no session is left that it has not tried, so one that is opened meanwhile ends too.

    Raises:
        RefusedError: the log refused it.
        RegistryError: the sessions cannot be read.
    """
    revoked, tried = [], set[bytes]()
    with admin_connection(home, folder) as connection, closing(_SessionsOf(home, folder, name)) as standing:
        while left := standing.now() - tried:
            for session_id in sorted(left):
                tried.add(session_id)
                try:
                    connection.ask(SessionRevoked(session=session_id, reason=reason))
                except RefusedError as exc:
                    if exc.reason != Reason.UNKNOWN_SESSION:  # revoked already, or its row has left
                        raise
                else:
                    revoked.append(session_id)
    return revoked


class _SessionsOf:
    """The sessions of one principal whose rows stand, by the topic of sessions."""

    def __init__(self, home: Home, folder: TenantHome, name: str) -> None:
        self._name, self._standing = name, set[bytes]()
        self._topic = FollowedTopic(home.bootstrap, SESSIONS, folder.tenant, self._fold, home.security)
        self.close = self._topic.close

    def now(self) -> set[bytes]:
        """Return the ids of the sessions, as far as the log has come. Raises RegistryError."""
        self._topic.refresh()
        return set(self._standing)

    def _fold(self, message: Any) -> None:
        kind, _, name = (message.key() or b"").decode(errors="backslashreplace").partition("/")
        if kind != SessionKind.SESSION:
            return
        if message.value() is None:
            self._standing -= {one for one in self._standing if one.hex() == name}
            return
        try:
            event = codec.decode_as(Event, message.value())
        except codec.SchemaError:
            return  # the monitor writes no such record; the log refuses to revoke what it did not open
        if isinstance(event.body, SessionOpened) and event.body.principal_id == self._name:
            self._standing.add(kid_of(event.body.key.ed25519))


def attest_as(home: Home, folder: TenantHome, name: str, session: str, said: Attestation) -> None:
    """Sign an attestation about a session as a registered attester. Raises RefusedError, MalformedIdError."""
    body = AttestationSet(
        session=digest_of(session, "a session's id"),
        key=said.key,
        value=said.value,
        one_time=said.one_time,
        max_uses=said.max_uses,
        ttl_ms=said.ttl_ms,
    )
    with Connection(home, folder, folder.keys.load(folder.key_file("attester", name)), name) as connection:
        connection.ask(body)
