"""The attestations and approvals that count for one call now, as policies look at them (docs/mapl.md 8).

An approval stands while its session or key is not revoked and the attributes of its giver are known. It meets the
criteria that the giver met at the approval and meets now. Three examples, where a policy asks for `role:manager`:

    mia approved as manager; she is still a manager     Approver("mia", {"role:manager", …}): the approval counts
    mia approved as manager; her newest login is clerk  Approver("mia", {…}) without the role: it does not count
    mia approved as manager; her session was revoked    no Approver: the approval does not stand

An approval of the very call has the position BOUND; a record or a grant has the audit index at which it was made.
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
_UNKNOWN = 2**62  # uses that nobody counted: more than any policy permits
BOUND = -1  # the position of an approval of this very call; no audit index is negative


def request_id(event: bytes, key: str) -> bytes:
    """Return the key of the row of an approval that a call asks for."""
    return tagged_digest(REQUEST_TAG, event, key.encode())


def requester_id(chain: Chain) -> bytes:
    """Return the id of the requester: the digest of the root user and of the program that acts."""
    return tagged_digest(REQUESTER_TAG, chain.root.principal.encode(), chain.acting.encode())


def grant_id(root: str, acting: str, key: str) -> bytes:
    """Return the id of a grant, by which it can be revoked."""
    return tagged_digest(GRANT_TAG, root.encode(), acting.encode(), key.encode())


class Attested:
    """The attestations and approvals for one call: the read-only view that policies look at.

    It serves one decision, in which nothing is written: each key is looked up once, however many documents ask for it.
    """

    __slots__ = ("_approvals", "_chain", "_event", "_outer", "_records", "_session_id", "_tables")

    def __init__(
        self, tables: Tables, session_id: bytes, chain: Chain, event: bytes, outer: Sequence[Chain] = ()
    ) -> None:
        """Look at a call of a session; `outer` are the callers around it, each with its own session first."""
        self._outer = outer
        self._tables, self._session_id, self._chain, self._event = tables, session_id, chain, event
        self._records: dict[str, Sequence[Record]] = {}
        self._approvals: dict[str, Sequence[Approval]] = {}

    def records(self, key: str) -> Sequence[Record]:
        found = self._records.get(key)
        if found is None:
            found = self._records[key] = self._recorded(key)
        return found

    def approvals(self, key: str) -> Sequence[Approval]:
        found = self._approvals.get(key)
        if found is None:
            found = self._approvals[key] = self._approved(key)
        return found

    def _recorded(self, key: str) -> Sequence[Record]:
        # The login of the session that asks says nothing of the persons for whom it does.
        if key == PHISHING_RESISTANT and not all(map(self._has_strong_login, self._outer)):
            return ()
        if key == PHISHING_RESISTANT and self._chain.hops and not self._chain.bound:
            # The login that counts is the root's, as it was when the first hop was granted: the signer's own login
            # says nothing of that person. Its uses are not known any more, so a policy that limits them is not met.
            at = self._chain.login_at or 0  # rows of older versions lack the time: then the login is as old as can be
            return (Record(position=0, set_at=at, uses=_UNKNOWN),) if self._chain.phishing_resistant else ()
        return records_of(self._tables, self._session_id, key)

    def _has_strong_login(self, caller: Chain) -> bool:
        """Whether a caller around the call is no person, or has a login that resists phishing."""
        if caller.root.type != Role.USER:
            return True
        if caller.hops and not caller.bound:
            return caller.phishing_resistant
        return bool(records_of(self._tables, bytes.fromhex(caller.sessions[0]), PHISHING_RESISTANT))

    def _approved(self, key: str) -> Sequence[Approval]:
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
        # While this call waited for other approvals, a later call may have used the grant, or it was revoked.
        revoked=grant is not None and grant.revoked,
        uses=0 if grant is None else grant.uses,
    )


def grant_of(tables: Tables, row: RequestRow) -> GrantRow | None:
    """Return the grant that the approvals of a request have made; None if there is none, or others made it."""
    grant = tables.grants.get(grant_id(row.root, row.acting, row.key))
    made = grant is not None and any(one in grant.approvals for one in row.approvals)
    return grant if made else None


def _granted(tables: Tables, row: GrantRow, chain: frozenset[str]) -> Approval:
    # The chain that asked for a grant and the chain that uses it may differ between the same ends. An approver who is
    # a member of the chain that uses it does not count.
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
    """Return the approvers whose approval stands, each with the criteria met both at the approval and now."""
    found = []
    for one in given:
        then, now = then_of(one), _subject_now(tables, one)
        if now is not None:
            found.append(Approver(user_of(then), criteria_of(then) & criteria_of(now)))
    return tuple(found)


def then_of(one: ApprovalGiven) -> Subject:
    """Return an approver with the attributes that counted at the approval."""
    return subject_of(one.attributes, one.role, one.principal_id)


def _subject_now(tables: Tables, one: ApprovalGiven) -> Subject | None:
    """Return an approver with the present attributes; None if the session or key was revoked or the person is unknown.

    A session that has run out takes nothing back. The attributes of a person are those of the newest session.
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
    """Return the one name under which a person counts, the same in every session."""
    return subject.user or subject.principal


def names_of(subject: Subject) -> frozenset[str]:
    """Return every name of a person, folded to one spelling: for comparisons that forbid.

    So a person does not count twice through a session that leaves out one name or writes it in another case.
    """
    return frozenset(known_as(name) for name in (subject.principal, subject.user, subject.email) if name)


def names_in(chain: Chain) -> frozenset[str]:
    """Return every name of every member of a chain: no person with one of them may approve the call."""
    return frozenset(name for subject in chain.subjects for name in names_of(subject))


@functools.lru_cache(maxsize=256)  # few, because an entry keeps its subject, which may be large
def criteria_of(subject: Subject) -> frozenset[str]:
    """Return every criterion that a subject meets with its own attributes."""
    users = (f"user:{name}" for name in (subject.user, subject.email) if name)
    roles, groups = (f"role:{role}" for role in subject.roles), (f"group:{group}" for group in subject.groups)
    teams = (f"team:{subject.team}",) if subject.team else ()
    return frozenset((*users, *roles, *groups, *teams))
