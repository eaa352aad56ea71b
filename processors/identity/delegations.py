"""Delegations on the log: granted, narrowed, presented with a call, and revoked (docs/mapl.md 11).

A delegation never widens: a call must be within the scope of each hop, and every member of the chain must pass by its
own policies. A delegation outlives the session that granted it, so the row keeps the delegator's attributes of that
time; for a person those of the newest login count.

`chain_of` turns the session that signs and the delegation that it presents into the chain to judge:

    ann signs, none presented            _alone: subjects (ann,), no hops
    bot signs, presents ann -> bot       subjects (ann, bot), one hop; the root is ann, and bot acts
    ann signs, presents ann -> mailer    bound: subjects (ann, mailer), one hop; ann signs, and the service acts

`_line` reads the rows of a delegation once, and `_Known` keeps them until any delegation changes; revocation and
attributes are looked up for each call. Where a person on the line is not known any more, that hop's delegator is set to
"". No subject has that name, so the chain is broken (DELEGATION_BROKEN), and the decision still names all members.

A session whose login named actors adds them behind the chain: no hop leads to them, and each must pass as well.

    alice signs, her login was made by bot      subjects (alice, bot), no hops, 1 actor; bot acts
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from processors.effects import Effects
from processors.identity.attributes import subject_of
from processors.identity.sessions import person_now
from processors.intake.identify import Signer
from processors.policy.delegation import Hop, Scope, parse_scope
from processors.policy.errors import PolicyError
from processors.policy.limits import CACHED_SCOPES_MAX, DELEGATION_DEPTH_MAX
from processors.policy.names import PERSON_PREFIX
from processors.policy.resolve import Subject
from processors.refusal import Refusal
from processors.state.shares import check_room, sponsor_in, with_guest
from processors.state.tables import Tables
from processors.text.forms import fold
from schemas import limits
from schemas.events.attributes import NONE, Attributes
from schemas.events.workflow import DelegationGranted, DelegationRevoked
from schemas.reasons import Reason
from schemas.rows import DelegationRow, KeyRow, SessionRow
from schemas.words import Role


class Chain(NamedTuple):
    """The principals behind a call, made in their name, and the hops between them, the first delegator first.

    `bound` means that the delegator signs itself, and a service acts for it. `sessions` are the sessions that granted
    the hops, in hex. `login_at` is the log time at which the first delegator's login was attested. The last `actors` of
    the subjects are those of the login, the nearest one at the end. `spoken` are the texts of delegations by persons.
    """

    subjects: tuple[Subject, ...]
    hops: tuple[Hop, ...] = ()
    bound: bool = False
    sessions: tuple[str, ...] = ()
    phishing_resistant: bool = False
    login_at: int | None = None
    payer: str = ""  # the payer of the first hop's row
    actors: int = 0
    spoken: tuple[str, ...] = ()

    @property
    def root(self) -> Subject:
        """The first delegator: the call is made in its name."""
        return self.subjects[0]

    @property
    def told(self) -> tuple[str, ...]:
        """The principals that a decision names: all of the chain, none if a signer acts for itself."""
        return tuple(subject.principal for subject in self.subjects) if self.hops or self.actors else ()

    @property
    def acting(self) -> str:
        """The principal that acts: the service for which a user signs, the login's nearest actor, or the signer."""
        return self.subjects[-1 - self.actors if self.bound else -1].principal


def grant(tables: Tables, effects: Effects, signer: Signer, body: DelegationGranted, login_at: int | None) -> None:
    """Grant another principal some of the signer's rights.

    `login_at` is the time of the signer's own phishing-resistant login, None without one that lasts as long as the
    delegation. A delegation under another takes the login of the root.

    Raises:
        Refusal: DELEGATION_SELF, _CYCLE, _DEPTH, _EXPIRED, _PARENT, _FORM, UNKNOWN_PRINCIPAL or LIMIT_EXCEEDED;
            NOT_SUPPORTED for a session with actors.
    """
    session = signer.session
    assert session is not None
    if session.actors:  # a row has no place for them, and without them the delegate could do what they may not
        raise Refusal(Reason.NOT_SUPPORTED, "a session whose login named actors grants no delegations")
    _scope(body.scope)
    if len(body.purpose) > limits.REASON_CHARS_MAX:
        raise Refusal(Reason.DELEGATION_FORM, f"`purpose` has at most {limits.REASON_CHARS_MAX} characters")
    if fold(body.delegate) == fold(signer.principal_id):
        raise Refusal(Reason.DELEGATION_SELF)
    if not _is_known(tables, body.delegate):
        raise Refusal(Reason.UNKNOWN_PRINCIPAL, "`delegate` is not a registered principal and has no session")
    if not tables.now < body.expires_at <= tables.now + limits.DELEGATION_MS_MAX:
        raise Refusal(Reason.DELEGATION_EXPIRED, "`expires_at` is not in the future, or more than 366 days ahead")
    above = () if body.parent is None else _above(tables, signer, body)
    phishing_resistant = login_at is not None
    if above:  # the login is the root's, through every hop
        phishing_resistant, login_at = above[0].phishing_resistant, above[0].login_at
    row = DelegationRow(
        delegator=signer.principal_id,
        delegator_session=signer.kid,
        role=session.role,
        attributes=session.attributes,
        phishing_resistant=phishing_resistant,
        delegate=body.delegate,
        parent=body.parent,
        depth=len(above) + 1,
        scope=body.scope,
        purpose=body.purpose,
        granted_at=tables.now,
        expires_at=body.expires_at,
        revoked=False,
        until=body.expires_at + limits.SESSION_LINGER_MS,
        opened_by=session.opened_by,
        login_at=login_at,
        payer=session.payer,
    )
    tables.delegations.put(effects.claim.leaf, row)
    check_room(tables.delegations, row)


def _above(tables: Tables, signer: Signer, body: DelegationGranted) -> list[DelegationRow]:
    """Return the hops that a delegation narrows, from the root on, none of them dead. Raises Refusal."""
    chain = rows_of(tables, body.parent)
    if not chain or chain[-1].delegate != signer.principal_id:
        raise Refusal(Reason.DELEGATION_PARENT, "`parent` is not a delegation to the signer")
    if any(is_dead(tables, row) for row in chain):
        raise Refusal(Reason.DELEGATION_REVOKED)
    if body.expires_at > chain[-1].expires_at or tables.now >= min(row.expires_at for row in chain):
        raise Refusal(Reason.DELEGATION_EXPIRED, "a delegation ends no later than the one it narrows")
    if fold(body.delegate) in {fold(row.delegator) for row in chain}:
        raise Refusal(Reason.DELEGATION_CYCLE)
    if len(chain) >= DELEGATION_DEPTH_MAX:
        raise Refusal(Reason.DELEGATION_DEPTH, f"a chain has at most {DELEGATION_DEPTH_MAX} hops")
    return chain


def revoke(tables: Tables, signer: Signer, body: DelegationRevoked) -> None:
    """End a delegation and every delegation under it. Raises Refusal DELEGATION_UNKNOWN, WRONG_PRINCIPAL."""
    chain = rows_of(tables, body.delegation)
    if not chain:
        raise Refusal(Reason.DELEGATION_UNKNOWN)
    if signer.role != Role.ADMIN and signer.principal_id not in {row.delegator for row in chain}:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a delegation is revoked by its delegator, one above it, or an admin")
    _revoke(tables, body.delegation, chain[-1])


def revoke_granted_by(tables: Tables, ended: Collection[bytes], kids: Sequence[bytes]) -> None:
    """End the delegations of the revoked sessions `ended`, and of every session that one of these keys opened.

    Keys are compared as well as sessions, because the row of a session may leave before its delegations.
    """
    names = sorted({tables.sessions.rows[session_id].principal_id for session_id in ended})
    granted = [leaf for name in names for leaf in tables.delegations.of(("by", name))]
    granted = [leaf for leaf in granted if tables.delegations.rows[leaf].delegator_session in ended]
    through = [leaf for kid in kids for leaf in tables.delegations.of(("through", kid))]
    _revoke_all(tables, [*granted, *through])


def revoke_granted_through(tables: Tables, sponsor: bytes) -> None:
    """End the delegations that principals of an identity provider granted, also in sessions that have left."""
    rows = tables.delegations.rows
    _revoke_all(tables, sorted(leaf for leaf, row in rows.items() if sponsor_in(row.payer) == sponsor))


def revoke_all_of(tables: Tables, principal_id: str) -> None:
    """End the delegations by and to a principal without a key: a later key under its name must not use them."""
    groups = (("by", principal_id), ("to", principal_id))
    _revoke_all(tables, [leaf for group in groups for leaf in tables.delegations.of(group)])


def _revoke_all(tables: Tables, leaves: list[bytes]) -> None:
    for leaf in leaves:
        row = tables.delegations.rows[leaf]
        if not row.revoked:
            _revoke(tables, leaf, row)


def _revoke(tables: Tables, leaf: bytes, row: DelegationRow) -> None:
    """End a delegation. Its row leaves soon after, so that it no longer counts in the payer's share."""
    until = min(row.until, tables.now + limits.REVOKED_DELEGATION_MS)
    tables.delegations.put(leaf, replace(row, revoked=True, until=until))


def rows_of(tables: Tables, leaf: bytes | None) -> list[DelegationRow]:
    """Return the rows that lead to a delegation, from the root on; empty if one of them is not known."""
    rows: list[DelegationRow] = []
    while leaf is not None:
        row = tables.delegations.get(leaf)
        if row is None or len(rows) > DELEGATION_DEPTH_MAX:
            return []
        rows.append(row)
        leaf = row.parent
    return rows[::-1]


def is_dead(tables: Tables, row: DelegationRow) -> bool:
    """Return True if a hop was revoked: the delegation, the session that granted it, or its delegator."""
    if row.revoked:
        return True
    session = tables.sessions.get(row.delegator_session)
    if session is not None and session.revoked:
        return True
    principal = tables.principals.get(row.delegator.encode())
    return principal is not None and not principal.kids


class _Known(NamedTuple):
    """The part of a chain that is the same for every call under one delegation, until any delegation changes."""

    rows: tuple[DelegationRow, ...]
    hops: tuple[Hop, ...]
    sessions: tuple[str, ...]
    spoken: tuple[str, ...]


def _nothing_known(_rows: dict[bytes, DelegationRow]) -> dict[bytes, _Known]:
    return {}


def _line(tables: Tables, leaf: bytes) -> _Known:
    """Return the line that leads to a delegation, not yet checked for revocation. Raises Refusal DELEGATION_BROKEN."""
    rows = tuple(rows_of(tables, leaf))
    if not rows:
        raise Refusal(Reason.DELEGATION_BROKEN, "`on_behalf_of` is not a known delegation, or one above it is gone")
    return _Known(
        rows=rows,
        hops=tuple(
            Hop(
                delegator=row.delegator,
                delegate=row.delegate,
                scope=_scope(row.scope),
                expires_at=row.expires_at,
                revoked=False,
            )
            for row in rows
        ),
        sessions=tuple(row.delegator_session.hex() for row in rows),
        spoken=tuple(text for row in rows if row.role == Role.USER for text in (row.purpose, row.scope)),
    )


def chain_of(tables: Tables, session: SessionRow, on_behalf_of: bytes | None) -> Chain:
    """Return the chain of principals behind a session's call: itself alone, or the members of a delegation.

    The actors of its login stand at the end.

    Raises:
        Refusal: DELEGATION_BROKEN, the delegation or one above it is not known.
    """
    if on_behalf_of is None and not session.actors:  # the usual case
        return _alone(session.attributes, session.role, session.principal_id)
    chain = _linked(tables, session, on_behalf_of)
    if not session.actors:
        return chain
    actors = actors_of(tables, session)
    return chain._replace(subjects=(*chain.subjects, *actors), actors=len(actors))


def actors_of(tables: Tables, session: SessionRow) -> tuple[Subject, ...]:
    """Return the actors of a session's login, the nearest one last, with the attributes that the log knows of them now.

    These are a person's of the newest login. A workload has its name only, and so has a person
    that has not logged in: then no policy but those of the name can grant.
    """
    return tuple(_actor(tables, name) for name in reversed(session.actors))


def _actor(tables: Tables, name: str) -> Subject:
    if not name.startswith(PERSON_PREFIX):
        return subject_of(NONE, Role.SERVICE, name)
    now = person_now(tables, name)
    return subject_of(NONE if now is None else now, Role.USER, name)


def _linked(tables: Tables, session: SessionRow, on_behalf_of: bytes | None) -> Chain:
    if on_behalf_of is None:
        return _alone(session.attributes, session.role, session.principal_id)
    signer = subject_of(session.attributes, session.role, session.principal_id)
    known: dict[bytes, _Known] = tables.derived(tables.delegations, _nothing_known)
    line = known.get(on_behalf_of)
    if line is None:
        line = known[on_behalf_of] = _line(tables, on_behalf_of)
    rows, hops = line.rows, line.hops
    if any(is_dead(tables, row) for row in rows):
        hops = tuple(replace(hop, revoked=is_dead(tables, row)) for hop, row in zip(hops, rows, strict=True))
    bound = len(rows) == 1 and rows[0].delegator == session.principal_id
    if bound:
        last = _service(tables, rows[0].delegate)
        subjects: tuple[Subject, ...] = (signer, last) if last else (signer,)
    else:
        members = [_member_now(tables, row) for row in rows]
        if None in members:  # a person without attributes breaks the chain, which still names every member
            hops = tuple(hop if one else replace(hop, delegator="") for hop, one in zip(hops, members, strict=True))
        subjects = (*(one or _nobody(row) for one, row in zip(members, rows, strict=True)), signer)
    return Chain(
        subjects=subjects,
        hops=hops,
        bound=bound,
        sessions=line.sessions,
        phishing_resistant=rows[0].phishing_resistant,
        login_at=rows[0].login_at,
        payer=rows[0].payer,
        spoken=line.spoken,
    )


def payer_of(session: SessionRow, chain: Chain) -> str:
    """Return the payer of a session's rows: under a delegation the person at the root, with the delegate as a guest.

    The guest is the delegate that the person chose, not the last one, which acts: otherwise a delegate could take the
    person's whole share by handing its rights on to many others.
    """
    root = chain.root.principal
    if not chain.hops or root == session.principal_id or not root.startswith(PERSON_PREFIX):
        return session.payer
    return with_guest(chain.payer, chain.hops[0].delegate)


def _alone(attributes: Attributes, role: str, principal_id: str) -> Chain:
    """Return the chain of a principal that acts for itself."""
    return Chain((subject_of(attributes, role, principal_id),))


def _service(tables: Tables, name: str) -> Subject | None:
    """Return a registered service with its present attributes, None if it has no live key."""
    principal = tables.principals.get(name.encode())
    attributes = _registered(tables, name) if principal is not None and principal.role == Role.SERVICE else None
    return None if attributes is None else subject_of(attributes, Role.SERVICE, name)


def _member_now(tables: Tables, row: DelegationRow) -> Subject | None:
    """Return a delegator with its present attributes, None for a person without known attributes.

    For a program without a live key the attributes at the time of the grant count.
    """
    if row.role == Role.USER:
        now = person_now(tables, row.delegator)
        return None if now is None else subject_of(now, row.role, row.delegator)
    registered = _registered(tables, row.delegator)
    return subject_of(row.attributes if registered is None else registered, row.role, row.delegator)


def _nobody(row: DelegationRow) -> Subject:
    """Return a person's subject without attributes, for a chain that is broken at this person."""
    return subject_of(NONE, row.role, row.delegator)


def _registered(tables: Tables, name: str) -> Attributes | None:
    """Return the attributes of a program's newest live key, None without one. Its instances' attributes may differ."""
    principal = tables.principals.get(name.encode())
    newest: KeyRow | None = None
    for kid in principal.kids if principal is not None else ():
        row = tables.keys.rows[kid]
        live = row.expires_at is None or tables.now < row.expires_at
        if live and (newest is None or row.registered_at > newest.registered_at):
            newest = row
    return None if newest is None else newest.attributes


def _is_known(tables: Tables, name: str) -> bool:
    return tables.principals.get(name.encode()) is not None or bool(tables.sessions.of(name))


@functools.lru_cache(maxsize=CACHED_SCOPES_MAX)
def _scope(text: str) -> Scope:
    """Return the scope in a JSON text of at most 8 KiB. Raises Refusal DELEGATION_FORM."""
    try:
        return parse_scope(text.encode("utf-8", "surrogatepass"))
    except PolicyError as exc:
        raise Refusal(Reason.DELEGATION_FORM, str(exc)) from exc
