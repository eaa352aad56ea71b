"""Acts of the administrator after founding: registering approvers and attesters, revoking sessions."""

from __future__ import annotations

from collections.abc import Mapping

from macaw.installation.tenancy import admin_connection
from processors.identity.attributes import attributes_from
from producers.client.inputs import digest_of
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from producers.kafka.registering import register_key
from schemas.events.workflow import AttestationSet
from schemas.records import Attestation, SessionRevoked


def register_with_admin(
    home: Home, folder: TenantHome, role: str, name: str, attributes: Mapping[str, object]
) -> KeyPair:
    """Register an approver or attester with the admin key and keep its new key file.

    Raises:
        AttributeInvalidError: an attribute has an unknown name or a value of another type.
        RefusedError: the log refused it.
    """
    known = attributes_from(attributes)
    with admin_connection(home, folder) as connection:
        return register_key(connection, folder.key_file(role, name), role, name, known)


def revoke_session(home: Home, folder: TenantHome, session_id: bytes, *, reason: str) -> None:
    """End a session with the admin key. Raises RefusedError UNKNOWN_SESSION."""
    with admin_connection(home, folder) as connection:
        connection.ask(SessionRevoked(session=session_id, reason=reason))


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
