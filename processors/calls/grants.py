"""Grants: approvals that serve later calls too, and the uses that a decision takes from them (docs/mapl.md 8).

A request is one call's question to people, a grant the lasting permission that their answer makes. A decision names the
approval that served it by key and position (`Use`), and `use_up` finds the grant to count:

    Use("manager", BOUND)  people approved this very call: count a use of the grant that this approval made, if any
    Use("manager", 4711)   a grant made at audit index 4711 served: count a use of it, if no newer one took its place
    Use("mfa", 4650)       a record of the session was made at 4650: that record is counted (`consume_record`)

One (root, acting, key) has one grant, and a new grant overwrites a spent one. A call that still waits may hold the
approvals behind the spent grant, so `_replace_over` takes them from it first:

    call C waits for two keys; mia approves the first, `manager`, which makes a grant for one use
    call B uses the grant, so it is spent; ben approves call D, whose grant for `manager` takes its place
    call C loses mia's approval at that moment: otherwise it would go on with an approval that B has used up
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from processors.calls.attestations import consume_record
from processors.calls.narrowing import NOT_NARROWED, Narrowing, lasting_for, least, narrowing
from processors.calls.requests import close
from processors.calls.standing import BOUND, grant_id, grant_of, request_id
from processors.identity.delegations import Chain
from processors.identity.providers import is_of
from processors.intake.identify import Signer
from processors.policy.attestations import Use
from processors.refusal import Refusal
from processors.state.groups import OPEN
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.events.workflow import AttestationRevoked
from schemas.reasons import Reason
from schemas.rows import ApprovalGiven, GrantRow, RequestRow
from schemas.words import Role, Status


def make_grant(tables: Tables, row: RequestRow) -> None:
    """Write the grant of an approved request, if its policies and all its approvals let it serve later calls."""
    lasting, narrow = lasting_for(row), narrowing(row.approvals)
    if not lasting:
        return
    key = grant_id(row.root, row.acting, row.key)
    known = grant_of(tables, row)
    if known is not None:  # a further approval of the same request adds a person, but no use
        tables.grants.put(key, known := _narrowed(tables, replace(known, approvals=row.approvals), narrow))
        check_room(tables.grants, known)
        return
    if narrow.once:
        return
    _replace_over(tables, row, tables.grants.get(key))
    life = least(narrow.for_ms, *(one.time_to_live_ms for one in lasting))
    ends = None if life is None else tables.now + life
    grant = GrantRow(
        root=row.root,
        acting=row.acting,
        key=row.key,
        position=tables.next_index,
        at=tables.now,
        expires_at=ends,
        max_uses=least(narrow.uses, *(one.max_uses for one in lasting)),
        uses=0,
        revoked=False,
        approvals=row.approvals,
        until=limits.FOR_EVER_MS if ends is None else ends + limits.ATTESTATION_LINGER_MS,
        payer=row.payer,
    )
    tables.grants.put(key, grant)
    check_room(tables.grants, grant)


def _narrowed(tables: Tables, grant: GrantRow, narrow: Narrowing) -> GrantRow:
    """Return a grant that stands, as a further approval narrows it. After a `once` it serves no further call.

    It is not deleted: the call that waits must still see how often it was used.
    """
    if narrow == NOT_NARROWED:
        return grant
    until = None if narrow.for_ms is None else grant.at + narrow.for_ms
    ends = least(grant.expires_at, until, tables.now if narrow.once else None)
    return counted(tables, replace(grant, expires_at=ends, max_uses=least(grant.max_uses, narrow.uses)))


def _replace_over(tables: Tables, row: RequestRow, over: GrantRow | None) -> None:
    """Take the approvals behind a spent or revoked grant from calls that wait, before another grant takes its place.

    Once its row is overwritten, no row shows any more that these approvals were used or revoked.
    """
    if over is None or not is_over(over):
        return
    for key in list(tables.requests.of(row.requester)):
        other = tables.requests.rows[key]
        if other.key == row.key and any(one in over.approvals for one in other.approvals):
            left = tuple(one for one in other.approvals if one not in over.approvals)
            tables.requests.put(key, replace(other, approvals=left))


def use_up(tables: Tables, session_id: bytes, chain: Chain, uses: Sequence[Use], *, event: bytes) -> None:
    """Consume the attestations and grants that served a decision, in the transaction of that decision."""
    for use in uses:
        if use.position == BOUND or not consume_record(tables, session_id, use):
            _consume_grant(tables, chain, use, event)


def _consume_grant(tables: Tables, chain: Chain, use: Use, event: bytes) -> None:
    """Count one use of a grant: of the one that served a decision, or for BOUND of the one that the approval made."""
    key = grant_id(chain.root.principal, chain.acting, use.key)
    if use.position == BOUND:
        row = grant_of(tables, tables.requests.rows[request_id(event, use.key)])
    else:
        row = tables.grants.get(key)
    if row is None or use.position not in {BOUND, row.position}:
        return
    tables.grants.put(key, counted(tables, replace(row, uses=min(row.uses + 1, limits.USES_COUNTED_MAX))))


def revoke(tables: Tables, signer: Signer, body: AttestationRevoked) -> None:
    """Revoke a grant. Raises Refusal ATTESTATION_UNKNOWN, WRONG_PRINCIPAL."""
    grant = tables.grants.get(body.record)
    if grant is None:
        raise Refusal(Reason.ATTESTATION_UNKNOWN)
    approvers = {name for one in grant.approvals for name in (one.principal_id, one.said_by)}
    if signer.role != Role.ADMIN and signer.principal_id not in approvers:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a grant is revoked by one of its approvers or by an admin")
    tables.grants.put(body.record, counted(tables, replace(grant, revoked=True)))


def withdraw_given_by(tables: Tables, ended: Collection[bytes], kids: Collection[bytes]) -> None:
    """Take back the approvals of the revoked sessions `ended`, of the keys `kids`, and of sessions that they opened.

    Keys are compared as well as sessions, because the row of a session may leave before the requests and grants.
    """
    _withdraw(tables, lambda one: one.session_id in ended or one.opened_by in kids)


def withdraw_given_through(tables: Tables, issuer: str) -> None:
    """Take back the approvals by persons of an identity provider, also those of sessions that have left."""
    provider = tables.providers.rows[issuer.encode()]

    def is_over(one: ApprovalGiven) -> bool:
        session = tables.sessions.get(one.session_id)
        return is_of(provider, one.principal_id) and (session is None or session.issuer == issuer)

    _withdraw(tables, is_over)


def _withdraw(tables: Tables, is_over: Callable[[ApprovalGiven], bool]) -> None:
    for key in list(tables.requests.of(OPEN)):
        row = tables.requests.rows[key]
        left = _without(row.approvals, is_over)
        if len(left) < len(row.approvals):
            tables.requests.put(key, replace(row, approvals=left))
    left_of = {key: _without(grant.approvals, is_over) for key, grant in tables.grants.rows.items()}
    # Sorted: the order of rows in memory is not the log's.
    for key in sorted(key for key, left in left_of.items() if len(left) < len(tables.grants.rows[key].approvals)):
        tables.grants.put(key, replace(tables.grants.rows[key], approvals=left_of[key]))


def end_all_of(tables: Tables, principal_id: str) -> None:
    """End the grants and open requests of a principal without a key: a later key under its name must not use them."""
    for key in list(tables.requests.of(OPEN)):
        row = tables.requests.rows[key]
        if not row.waits and principal_id in {row.root, row.acting}:  # a call that waits ends with its session
            close(tables, row, Status.CANCELLED)
    for key in sorted(tables.grants.rows):
        grant = tables.grants.rows[key]
        if principal_id in {grant.root, grant.acting} and not grant.revoked:
            tables.grants.put(key, counted(tables, replace(grant, revoked=True)))


def _without(given: Sequence[ApprovalGiven], is_over: Callable[[ApprovalGiven], bool]) -> tuple[ApprovalGiven, ...]:
    return tuple(one for one in given if not is_over(one))


def counted(tables: Tables, grant: GrantRow) -> GrantRow:
    """Return a grant with its deadline: one that is over leaves as soon as no call that it served can still wait."""
    if not is_over(grant):
        return grant
    return replace(grant, until=min(grant.until, tables.now + limits.GRANT_OVER_MS))


def is_over(grant: GrantRow) -> bool:
    """Return True if a grant is revoked or used up, so that it serves no further call."""
    return grant.revoked or (grant.max_uses is not None and grant.uses >= grant.max_uses)
