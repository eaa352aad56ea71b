"""Acts of the administrator after founding: registering approvers and attesters, revoking sessions."""

from __future__ import annotations

from collections.abc import Mapping

from macaw.installation.tenancy import admin_control
from producers.control import Control
from producers.home import Home, TenantHome
from producers.keys import KeyPair
from producers.outcomes import digest_of
from producers.registering import register_key
from schemas.records import Attestation, SessionRevoked
from schemas.workflow import AttestationSet


def register_with_admin(
    home: Home, folder: TenantHome, role: str, name: str, attributes: Mapping[str, object]
) -> KeyPair:
    """Register an approver or attester with the admin key and keep its new key file. Raises RefusedError."""
    with admin_control(home, folder) as control:
        return register_key(control, folder.key_file(role, name), role, name, attributes)


def revoke_session(home: Home, folder: TenantHome, session_id: bytes, *, reason: str) -> None:
    """End a session with the admin key. Raises RefusedError UNKNOWN_SESSION."""
    with admin_control(home, folder) as control:
        control.tell(SessionRevoked(session=session_id, reason=reason))


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
    with Control(home, folder, KeyPair.load(folder.key_file("attester", name)), name) as control:
        control.tell(body)
