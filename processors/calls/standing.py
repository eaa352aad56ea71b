"""The attestations and approvals that count for one call now, as policies look at them (docs/mapl.md 8).

An approval stands while its session or key is not revoked and it is known what its giver is, and counts for what its
giver was then and is now.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from processors.calls.attestations import PHISHING_RESISTANT, records_of
from processors.identity.attributes import subject_of
from processors.identity.delegations import Chain
from processors.identity.sessions import person_now
from processors.policy.evaluation import Approval, Approver, Record
from processors.policy.names import known_as
from processors.policy.resolve import Subject
from processors.proof.signing import tagged_digest
from processors.state.tables import Tables
from schemas.rows import ApprovalGiven, GrantRow, RequestRow
from schemas.words import Role, Status

REQUEST_TAG = b"macaw/request/v1\n"
REQUESTER_TAG = b"macaw/requester/v1\n"
GRANT_TAG = b"macaw/grant/v1\n"
_UNKNOWN = 2**62  # uses: as many as there can be
BOUND = -1  # the position of an approval of this very call; those of records and grants are audit indexes


def request_id(event: bytes, key: str) -> bytes:
    """Return the key of the row of an approval that a call asks for."""
    return tagged_digest(REQUEST_TAG, event, key.encode())


def requester_id(chain: Chain) -> bytes:
    """Return who asks: the root user and the program that acts."""
    return tagged_digest(REQUESTER_TAG, chain.root.principal.encode(), chain.acting.encode())


def grant_id(root: str, acting: str, key: str) -> bytes:
    """Return the id of a grant, by which it can be revoked."""
    return tagged_digest(GRANT_TAG, root.encode(), acting.encode(), key.encode())


class Attested:
    """What has been attested for one call: the read-only view that policies look at."""

    __slots__ = ("_chain", "_event", "_session_id", "_tables")

    def __init__(self, tables: Tables, session_id: bytes, chain: Chain, event: bytes) -> None:
        self._tables, self._session_id, self._chain, self._event = tables, session_id, chain, event

    def records(self, key: str) -> Sequence[Record]:
        if key == PHISHING_RESISTANT and self._chain.hops and not self._chain.bound:
            # It is the root's, as it was when the first hop was granted; the signer's own says nothing of that person.
            # How often it served is not known any more: a policy that limits that is not met.
            at = self._chain.login_at or 0  # rows of older versions do not say: the login is as old as can be
            return (Record(position=0, set_at=at, uses=_UNKNOWN),) if self._chain.phishing_resistant else ()
        return records_of(self._tables, self._session_id, key)

    def approvals(self, key: str) -> Sequence[Approval]:
        tables, found = self._tables, []
        request = tables.requests.get(request_id(self._event, key))
        if request is not None and request.waits:
            found.append(_bound(tables, request))
        grant = tables.grants.get(grant_id(self._chain.root.principal, self._chain.acting, key))
        if grant is not None:
            found.append(_granted(tables, grant, names_in(self._chain)))
        return found

    def open_requests(self) -> int:
        return len(self._tables.requests.of(requester_id(self._chain)))


def _bound(tables: Tables, row: RequestRow) -> Approval:
    at = max((one.at for one in row.approvals), default=row.asked_at)
    grant = grant_of(tables, row)
    return Approval(
        position=BOUND,
        at=at,
        bound=True,
        approvers=standing(tables, row.approvals),
        denied=row.closed == Status.DENIED,
        # While this call waited for others, a later one may have used what was approved, or it was revoked.
        revoked=grant is not None and grant.revoked,
        uses=0 if grant is None else grant.uses,
    )


def grant_of(tables: Tables, row: RequestRow) -> GrantRow | None:
    """Return the grant that the approvals of a request have made, None where there is none, or another's."""
    grant = tables.grants.get(grant_id(row.root, row.acting, row.key))
    made = grant is not None and any(one in grant.approvals for one in row.approvals)
    return grant if made else None


def _granted(tables: Tables, row: GrantRow, chain: frozenset[str]) -> Approval:
    # A grant is asked for by one chain, and may be used by another between the same ends.
    others = [one for one in row.approvals if names_of(then_of(one)).isdisjoint(chain)]
    return Approval(
        position=row.position,
        at=row.at,
        bound=False,
        approvers=standing(tables, others),
        revoked=row.revoked,
        uses=row.uses,
        expires_at=row.expires_at,
        max_uses=row.max_uses,
    )


def standing(tables: Tables, given: Sequence[ApprovalGiven]) -> tuple[Approver, ...]:
    """Return whose approval stands, with the criteria met at the approval and now."""
    found = []
    for one in given:
        then, now = then_of(one), _subject_now(tables, one)
        if now is not None:
            found.append(Approver(user_of(then), criteria_of(then) & criteria_of(now)))
    return tuple(found)


def then_of(one: ApprovalGiven) -> Subject:
    """Return what an approver was at the approval."""
    return subject_of(one.attributes, one.role, one.principal_id)


def _subject_now(tables: Tables, one: ApprovalGiven) -> Subject | None:
    """Return what an approver is now, None where the session or key was revoked, or nobody knows the person.

    A session that has run out takes nothing back. The newest one of the same person says what the person is now.
    """
    if one.role == Role.APPROVER:
        row = tables.keys.get(one.session_id)
        if row is None or row.revoked_at is not None:
            return None
        return subject_of(row.attributes, row.role, row.principal_id)
    signed = tables.sessions.get(one.session_id)
    if signed is not None and signed.revoked:
        return None
    attributes = person_now(tables, one.principal_id)
    return None if attributes is None else subject_of(attributes, one.role, one.principal_id)


def user_of(subject: Subject) -> str:
    """Return the one name under which a person counts, in whatever session."""
    return subject.user or subject.principal


def names_of(subject: Subject) -> frozenset[str]:
    """Return every name of a person, whatever its spelling: for comparisons that forbid.

    Nobody becomes two people by a session that leaves one of them out, or writes it in another case.
    """
    return frozenset(known_as(name) for name in (subject.principal, subject.user, subject.email) if name)


def names_in(chain: Chain) -> frozenset[str]:
    """Return every name of everybody in whose name a call is made: none of them approves it."""
    return frozenset(name for subject in chain.subjects for name in names_of(subject))


@functools.lru_cache(maxsize=256)  # each keeps its subject, which may be large
def criteria_of(subject: Subject) -> frozenset[str]:
    """Return every criterion that a subject meets with its own attributes."""
    users = (f"user:{name}" for name in (subject.user, subject.email) if name)
    roles, groups = (f"role:{role}" for role in subject.roles), (f"group:{group}" for group in subject.groups)
    teams = (f"team:{subject.team}",) if subject.team else ()
    return frozenset((*users, *roles, *groups, *teams))
