"""A call as its signer put it on the log: one value, whether it is decided at once or again after approvals."""

from __future__ import annotations

from typing import NamedTuple

from processors.effects import Effects
from processors.intake.identify import Signer
from processors.proof.sealing import payload_salt
from processors.state.tables import Tables
from schemas import codec
from schemas.records import Event, InvocationRequested, SignedEvent
from schemas.rows import PendingRow, SessionRow


class Call(NamedTuple):
    """A call: the operation asked for, the session that asks, and the signed bytes that prove both.

    `salt` enters the payload and the digests that decisions publish; it is the same when the call is decided again.
    """

    event: Event
    body: InvocationRequested
    leaf: bytes
    session_id: bytes
    session: SessionRow
    signed: SignedEvent
    salt: bytes

    @property
    def principal_id(self) -> str:
        """The principal of the session that signed."""
        return self.session.principal_id


def asked_now(effects: Effects, signer: Signer, event: Event, body: InvocationRequested) -> Call:
    """Return the call in this record. Requires a verified event of a session."""
    session = signer.session
    assert session is not None
    leaf = effects.claim.leaf
    salt = payload_salt(leaf, event.header.salt)
    return Call(event, body, leaf, signer.kid, session, effects.signed_event(), salt)


def asked_before(tables: Tables, leaf: bytes, row: PendingRow) -> Call | None:
    """Return the call of a pending row, None if its session has left or has ended."""
    session = tables.sessions.get(row.session_id)
    if session is None or tables.now >= session.expires_at:
        return None
    event: Event = codec.decode_as(Event, row.call.event)
    salt = payload_salt(leaf, event.header.salt)
    return Call(event, body_of(row.call, event), leaf, row.session_id, session, row.call, salt)


def body_of(call: SignedEvent, event: Event | None = None) -> InvocationRequested:
    """Return the body of a waiting call's event."""
    body = (event or codec.decode_as(Event, call.event)).body
    assert isinstance(body, InvocationRequested)
    return body
