"""A call as its signer put it on the log: the same value when it comes and when it is decided again."""

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
    """A call: what is asked, by which session, and the signed bytes that say so.

    `salt` is that of its payload and of what decisions say in the clear: the same when the call is decided again.
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
        """Who signed."""
        return self.session.principal_id


def asked_now(effects: Effects, signer: Signer, event: Event, body: InvocationRequested) -> Call:
    """Return the call that this record is. Requires a verified event of a session."""
    session = signer.session
    assert session is not None
    leaf = effects.claim.leaf
    salt = payload_salt(leaf, event.header.salt)
    return Call(event, body, leaf, signer.kid, session, effects.signed_event(), salt)


def asked_before(tables: Tables, leaf: bytes, row: PendingRow) -> Call | None:
    """Return the call that waits, None where its session is gone or was ended."""
    session = tables.sessions.get(row.session_id)
    if session is None or tables.now >= session.expires_at:
        return None
    event: Event = codec.decode_as(Event, row.call.event)
    salt = payload_salt(leaf, event.header.salt)
    return Call(event, body_of(row.call, event), leaf, row.session_id, session, row.call, salt)


def body_of(call: SignedEvent, event: Event | None = None) -> InvocationRequested:
    """Return what a call that waits asks for."""
    body = (event or codec.decode_as(Event, call.event)).body
    assert isinstance(body, InvocationRequested)
    return body
