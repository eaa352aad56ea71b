"""Sessions: each is a fresh key that signs for a principal for a limited time. The key's kid is the session id.

An agent, service or tool opens its own session with its registered key; policies read the attributes of its
registration, never attributes that the event claims. A bridge opens sessions of persons and of workloads after it has
identified them. Only names of persons begin with `user:`, and only names of workloads with `workload:`, so no program
can pass for one. The bridge verifies the token of an identity provider, and its session is held against the tenant's
trust in that provider (`providers.py`) and against the proof of its login (`login_proof.py`). In tenants that were
founded for development a file of persons is an issuer too.

A workload is a service; its name and attributes come with each login. No row of persons is made for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from processors.effects import Effects
from processors.identity import issuers, login_proof, providers, registry
from processors.identity.attributes import subject_of
from processors.identity.keys import is_revoked, payer_of
from processors.intake.identify import Signer
from processors.policy import names
from processors.refusal import Refusal
from processors.state.measures import lean_attributes
from processors.state.shares import check_room, payer
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import limits
from schemas.events.attributes import Attributes
from schemas.reasons import Reason
from schemas.records import SessionOpened, SessionRevoked, SignedEvent
from schemas.rows import KeyRow, OfferRow, PersonRow, SessionRow
from schemas.words import ProviderSubjects, Role

_OF_BRIDGES = ("attributes", "issuer", "token_sha256", "login_ref", "subject_ref", "methods", "actors", "login")
_OF_LOGINS = _OF_BRIDGES[2:]


def open_session(tables: Tables, signer: Signer, body: SessionOpened, signed: SignedEvent | None = None) -> bytes:
    """Open a session and return its id.

    `signed` is the event as it stood on intake: the proof of the session for readers of its vault values and requests.

    Raises:
        Refusal: the signer may not open a session for this principal, or not with these attributes or this issuer; the
            session key or its proof is bad, or the key is taken; or the session would last too long.
    """
    owner = tables.keys.rows[signer.kid]
    is_bridge = signer.role == Role.BRIDGE
    role, attributes = _identified(tables, owner, body) if is_bridge else _program(signer, owner, body)
    if body.key.principal_id != body.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "`key.principal_id` is not the principal of the session")
    if not 0 < body.ttl_ms <= limits.SESSION_TTL_MS_MAX:
        raise Refusal(Reason.SESSION_TTL)
    if body.login is not None:
        login_proof.check_time(tables.now, body.login)
    login_proof.check_key(tables.genesis, signer.kid, body)
    session_id = registry.check_free(tables, body.key.ed25519)
    expires_at = tables.now + body.ttl_ms
    row = SessionRow(
        principal_id=body.principal_id,
        role=role,
        opened_by=signer.kid,
        ed25519=body.key.ed25519,
        x25519=body.key.x25519,
        attributes=attributes,
        opened_at=tables.now,
        expires_at=expires_at if owner.expires_at is None else min(expires_at, owner.expires_at),
        opened=signed,
        payer=_payer(tables, signer, body),
        issuer=body.issuer or "",
        login_ref=body.login_ref,
        subject_ref=body.subject_ref,
        actors=body.actors,
    )
    tables.sessions.put(session_id, row)
    return session_id


def _payer(tables: Tables, signer: Signer, body: SessionOpened) -> str:
    """Return the payer of a session: its principal, with a sponsor that vouches for it.

    A provider is the sponsor of its principals, whichever bridge verified their tokens: many providers may have one
    bridge, and each has a share of its own. A person of a file is known only from a bridge, so the bridge is the
    sponsor. A program pays as its registration says.
    """
    if issuers.is_provided(body.issuer):
        return payer(body.principal_id, providers.sponsor_of(body.issuer or ""))
    return payer(body.principal_id, signer.kid) if body.issuer else payer_of(tables, body.principal_id)


def admit(tables: Tables, session_id: bytes) -> None:
    """Check that the tables have room for a new session, and keep its person's attributes.

    Only the monitor calls it: followers of the registry take over every session that the monitor admitted.

    Raises:
        Refusal: LIMIT_EXCEEDED.
    """
    row = tables.sessions.rows[session_id]
    check_room(tables.sessions, row)
    if row.role != Role.USER and not issuers.is_provided(row.issuer):
        return
    opened = [i for i in tables.sessions.of(row.principal_id) if tables.sessions.rows[i].opened_by == row.opened_by]
    if len(opened) > limits.SESSIONS_PER_PERSON_MAX:
        raise Refusal(
            Reason.LIMIT_EXCEEDED,
            f"a principal has at most {limits.SESSIONS_PER_PERSON_MAX} sessions through one bridge; close one first",
        )
    if row.role != Role.USER:
        return
    person = _person_row(session_id, row)
    tables.persons.put(row.principal_id.encode(), person)
    check_room(tables.persons, person)


def _program(signer: Signer, owner: KeyRow, body: SessionOpened) -> tuple[str, Attributes]:
    """Return role and attributes of a program's own session. Raises Refusal."""
    if body.principal_id != signer.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a program opens sessions for itself only")
    if (name := _first_set(body, _OF_BRIDGES)) is not None:
        raise Refusal(Reason.WRONG_ROLE, f"only a bridge may set `{name}`")
    return signer.role, owner.attributes


def _first_set(body: SessionOpened, names: Collection[str]) -> str | None:
    # An empty text or digest is set too.
    return next((name for name in names if getattr(body, name) not in (None, ())), None)


def _identified(tables: Tables, owner: KeyRow, body: SessionOpened) -> tuple[str, Attributes]:
    """Return role and attributes of the session of a person or a workload. Raises Refusal."""
    if not issuers.speaks_for(owner.attributes, body.issuer):
        raise Refusal(Reason.WRONG_ROLE, "the bridge is not registered for this issuer")
    if body.issuer != issuers.DEVELOPMENT_ISSUER:
        provider = providers.check_session(tables, body)
        login_proof.check_methods(body.methods)
        role = Role.USER if provider.subjects == ProviderSubjects.USER else Role.SERVICE
        assert body.attributes is not None
        attributes = lean_attributes(body.attributes)  # so that the subject is kept under those of the row
        subject_of(attributes, role, body.principal_id)
        return role, attributes
    issuers.check_development(tables)
    if (name := _first_set(body, _OF_LOGINS)) is not None:
        raise Refusal(Reason.NOT_SUPPORTED, f"a file of persons has no tokens: leave `{name}` out")
    if not body.principal_id.startswith(names.PERSON_PREFIX):
        want = f"a bridge opens sessions only for names that begin with {quoted(names.PERSON_PREFIX)}"
        raise Refusal(Reason.WRONG_PRINCIPAL, want)
    if body.principal_id == names.PERSON_PREFIX:
        raise Refusal(Reason.NAME_INVALID, f"the name has no character after {quoted(names.PERSON_PREFIX)}")
    names.check_printable(body.principal_id)
    if body.attributes is None:
        raise Refusal(Reason.ATTRIBUTE_INVALID, "`attributes` is missing: a bridge must give the person's attributes")
    subject_of(body.attributes, Role.USER, body.principal_id)
    return Role.USER, body.attributes


# ---- the attributes of a person


def person_now(tables: Tables, name: str) -> Attributes | None:
    """Return the attributes of the newest session that was opened for a person, None without one.

    An ended session counts too: otherwise a person with reduced rights could get the old ones back by closing the
    newest session. A session that a revoked key opened does not count; the newest one before it does.
    """
    row = tables.persons.get(name.encode())
    if row is not None and is_revoked(tables, row.opened_by):
        row = _said_before(tables, name)
    return None if row is None or tables.now >= row.until else row.attributes


def _person_row(session_id: bytes, row: SessionRow) -> PersonRow:
    return PersonRow(
        sponsor=providers.sponsor_of(row.issuer) if issuers.is_provided(row.issuer) else None,
        session_id=session_id,
        opened_by=row.opened_by,
        attributes=row.attributes,
        opened_at=row.opened_at,
        until=row.opened_at + limits.PERSON_KEPT_MS,
    )


def forget_what_was_said(tables: Tables, ended: Collection[bytes]) -> None:
    """Restore the attributes that persons had before the sessions `ended` were opened.

    They come from an earlier session that is still in the table and is not revoked. Without one the person is unknown
    until the next login, and approvals in that name do not count until then.
    """
    for name in sorted({tables.sessions.rows[session_id].principal_id for session_id in ended}):
        row = tables.persons.get(name.encode())
        if row is not None and row.session_id in ended:
            fall_back(tables, name.encode())


def forget_persons_of(tables: Tables, issuer: str) -> None:
    """Forget the attributes that an identity provider gave its persons, also in sessions that have left.

    Requires that its sessions are ended.
    """
    sponsor = providers.sponsor_of(issuer)
    for name in sorted(name for name, row in tables.persons.rows.items() if row.sponsor == sponsor):
        fall_back(tables, name)


def fall_back(tables: Tables, name: bytes) -> None:
    """Restore a person's attributes from an earlier session, or delete the person's row if there is none."""
    before = _said_before(tables, name.decode())
    if before is not None:
        tables.persons.put(name, before)
    else:
        # No empty row stays: a thief of a bridge's key could fill the table with them for a year.
        tables.persons.delete(name)


def _said_before(tables: Tables, name: str) -> PersonRow | None:
    sessions = ((i, tables.sessions.rows[i]) for i in tables.sessions.of(name))
    left = [(row.opened_at, i, row) for i, row in sessions if not row.revoked]
    left = [one for one in left if not is_revoked(tables, one[2].opened_by)]
    if not left:
        return None
    _, session_id, row = max(left, key=lambda one: one[:2])
    return _person_row(session_id, row)


# ---- their end


def end_sessions(tables: Tables, kids: tuple[bytes, ...]) -> list[bytes]:
    """End every session that one of these keys opened, now, and return their ids.

    Sessions that are over already are included: their delegations and approvals must end too, or a thief of the key
    could keep them by closing the session first.
    """
    # Sorted, because the order of rows in memory is not the log's: an aborted transaction or a restart changes it.
    known = frozenset(kids)
    ended = sorted(i for i, s in tables.sessions.rows.items() if not s.revoked and not known.isdisjoint(keys_behind(s)))
    end_each(tables, ended)
    return ended


def keys_behind(row: SessionRow) -> tuple[bytes, ...]:
    """Return the kids of the keys without which a session would not be open: its opener's, and that of its renewal."""
    return (row.opened_by,) if row.renewed is None else (row.opened_by, row.renewed.kid)


def end_sessions_of(tables: Tables, issuer: str) -> list[bytes]:
    """End every session that an identity provider opened, now, and return their ids."""
    ended = sorted(i for i, s in tables.sessions.rows.items() if s.issuer == issuer and not s.revoked)
    end_each(tables, ended)
    return ended


def end_each(tables: Tables, session_ids: Iterable[bytes]) -> None:
    """End sessions as revoked, now."""
    for session_id in session_ids:
        _end(tables, session_id, revoked=True)


def close(tables: Tables, signer: Signer) -> None:
    """End the signer's own session. Its delegations stay in force."""
    _end(tables, signer.kid, revoked=False)


def revoke(tables: Tables, signer: Signer, body: SessionRevoked) -> list[bytes]:
    """End a session for a bridge or an admin, and return its id; the caller ends the delegations that it granted.

    Raises:
        Refusal: UNKNOWN_SESSION; WRONG_PRINCIPAL for a bridge that did not open it, with this or an earlier key.
    """
    row = tables.sessions.get(body.session)
    if row is None or row.revoked:
        raise Refusal(Reason.UNKNOWN_SESSION)
    if signer.role == Role.BRIDGE and tables.keys.rows[row.opened_by].principal_id != signer.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a bridge revokes only sessions that it opened")
    # A session that has run out can be revoked too: that ends its delegations, and its approvals no longer stand.
    _end(tables, body.session, revoked=True)
    return [body.session]


def _end(tables: Tables, session_id: bytes, *, revoked: bool) -> None:
    """End a session now. Its own calls that wait for approvals are denied with the next record."""
    row = tables.sessions.rows[session_id]
    tables.sessions.put(session_id, replace(row, expires_at=min(row.expires_at, tables.now), revoked=revoked))
    for leaf in list(tables.pending.of(session_id)):
        tables.pending.put(leaf, replace(tables.pending.rows[leaf], deadline=tables.now))


def lives(tables: Tables, session_id: bytes) -> bool:
    """Return True if a session is open now. Rows that depend on a closed one count as gone, even before they leave."""
    row = tables.sessions.get(session_id)
    return row is not None and tables.now < row.expires_at


def remove(tables: Tables, effects: Effects, session_id: bytes) -> None:
    """Delete a session, its offer and their sequences. Any further event of these keys would be too old."""
    effects.leave_sessions(session_id, is_renewed=tables.sessions.rows[session_id].renewed is not None)
    offer = forget(tables, session_id)
    for kid in (session_id,) if offer is None else (session_id, offer.kid):
        if tables.sequences.get(kid) is not None:
            tables.sequences.delete(kid)


def forget(tables: Tables, session_id: bytes) -> OfferRow | None:
    """Delete the row of a session and that of its offer, and return the latter."""
    tables.sessions.delete(session_id)
    offer = tables.offers.get(session_id)
    if offer is not None:
        tables.offers.delete(session_id)
    return offer
