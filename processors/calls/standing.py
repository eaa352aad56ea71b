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
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from processors.calls.attestations import PHISHING_RESISTANT, records_of
from processors.calls.narrowing import narrowing
from processors.calls.parameters import parse_parameters
from processors.identity.approver_limits import answers_key, may_speak_for, scope_of
from processors.identity.attributes import subject_of
from processors.identity.delegations import Chain
from processors.identity.sessions import person_now
from processors.policy.delegation import Scope
from processors.policy.evaluation import Approval, Approver, Record, Work, spend
from processors.policy.limits import TEXT_BYTE_UNITS
from processors.policy.names import PERSON_PREFIX, known_as
from processors.policy.patterns import ResourceName
from processors.policy.resolve import Subject
from processors.proof.jcs import JSONValue
from processors.proof.signing import tagged_digest
from processors.state.groups import person_known_as
from processors.state.tables import Tables
from schemas.events.attributes import ApproverLimits
from schemas.rows import ApprovalGiven, GrantRow, RequestRow
from schemas.words import Role, Status

REQUEST_TAG = b"macaw/request/v1\n"
REQUESTER_TAG = b"macaw/requester/v1\n"
GRANT_TAG = b"macaw/grant/v1\n"
_UNKNOWN = 2**62  # uses that nobody counted: more than any policy permits
SAME_NAME_MAX = 16  # persons with one name; nobody is said to have answered under a name that more of them have
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
            found.append(_granted(tables, grant, self._chain))
        return found

    def open_requests(self) -> int:
        return len(self._tables.requests.of(requester_id(self._chain)))


def _bound(tables: Tables, row: RequestRow) -> Approval:
    at = max((one.at for one in row.approvals), default=row.asked_at)
    grant = grant_of(tables, row)
    others = row.approvals
    if any(one.said_by is not None for one in others):
        # A login may have told since that a person whom an approver spoke for is one of the call.
        of_call = names_of_call(tables, row)
        others = tuple(one for one in others if one.said_by is None or names_given(tables, one).isdisjoint(of_call))
    narrow = narrowing(row.approvals)
    return Approval(
        position=BOUND,
        at=at,
        bound=True,
        approvers=standing(tables, others, row.key, masked=row.masked),
        denied=row.closed == Status.DENIED,
        # While this call waited for other approvals, a later call may have used the grant, or it was revoked.
        revoked=grant is not None and grant.revoked,
        uses=0 if grant is None else grant.uses,
        expires_at=None if narrow.for_ms is None else _whole_at(row, at) + narrow.for_ms,
        max_uses=narrow.uses,
    )


def _whole_at(row: RequestRow, newest: int) -> int:
    """Return when the quorum was complete: a further yes gives one for a shorter time no more of it."""
    quorum = max(one.quorum for one in row.required_by)
    return row.approvals[quorum - 1].at if len(row.approvals) >= quorum else newest


def grant_of(tables: Tables, row: RequestRow) -> GrantRow | None:
    """Return the grant that the approvals of a request have made; None if there is none, or others made it."""
    grant = tables.grants.get(grant_id(row.root, row.acting, row.key))
    made = grant is not None and any(one in grant.approvals for one in row.approvals)
    return grant if made else None


def _granted(tables: Tables, row: GrantRow, chain: Chain) -> Approval:
    # The chain that asked for a grant and the chain that uses it may differ between the same ends. An approver who is
    # a member of the chain that uses it does not count.
    names = names_in(chain)
    if any(one.said_by is not None for one in row.approvals):
        names = with_other_logins(tables, names, [subject.principal for subject in chain.subjects])
    others = [one for one in row.approvals if names_given(tables, one).isdisjoint(names)]
    return Approval(
        position=row.position,
        at=row.at,
        bound=False,
        approvers=standing(tables, others, row.key),
        revoked=row.revoked,
        uses=row.uses,
        expires_at=row.expires_at,
        max_uses=row.max_uses,
    )


class _AsMasked(NamedTuple):
    """A scope that is held against the masked form of a call: people were asked about that one."""

    scope: Scope
    masked: str

    def holds(self, name: ResourceName, parameters: Mapping[str, JSONValue], now: int, work: Work) -> bool:  # noqa: ARG002 - as the protocol names it
        """Return whether the call is within the scope. Raises WorkExceededError."""
        spend(work, TEXT_BYTE_UNITS * len(self.masked))
        return self.scope.holds(name, parse_parameters(self.masked).value, now, work)


def standing(
    tables: Tables, given: Sequence[ApprovalGiven], key: str, *, masked: str | None = None
) -> tuple[Approver, ...]:
    """Return an approver for each approval under a key that stands, with the criteria met both at the approval and now.

    `masked` is the form of the call that people were asked about, where it is another than its caller signed.

    A registered approver stands with its limits. Where it speaks for a person, that person is counted; the criteria are
    those that the approver meets, without those that name one user: the log has the answer from the approver alone.
    """
    found = []
    for one in _by_persons(tables, given):
        then, now, most = then_of(one), _subject_now(tables, one), _limits_of(tables, one)
        if now is None or (most is not None and not answers_key(most, key)):
            continue
        meets, scope = criteria_of(then) & criteria_of(now), None if most is None else scope_of(most)
        bounds = _AsMasked(scope, masked) if scope is not None and masked is not None else scope
        if one.said_by is None:
            found.append(Approver(user_of(then), meets, bounds))
        elif may_speak_for(most, one.said_by):
            found.append(Approver(_user_passed_on(tables, one.said_by), passing_on(meets), bounds))
    return tuple(found)


def _by_persons(tables: Tables, given: Sequence[ApprovalGiven]) -> Sequence[ApprovalGiven]:
    """Return approvals without further ones by the same person, under any name known now.

    They were compared when they came; a login may have told more since of a person that an approver spoke for.
    """
    if all(one.said_by is None for one in given):
        return given
    found, seen = [], set[str]()
    for one in given:
        names = all_names(tables, one)
        if names.isdisjoint(seen):
            found.append(one)
        seen |= names
    return found


def _limits_of(tables: Tables, one: ApprovalGiven) -> ApproverLimits | None:
    row = tables.keys.get(one.session_id) if one.role == Role.APPROVER else None
    return None if row is None else row.approver


def passing_on(meets: frozenset[str]) -> frozenset[str]:
    """Return the criteria that an approver meets where it passes on a person's answer: those of no single user."""
    return frozenset(one for one in meets if not one.startswith("user:"))


def names_given(tables: Tables, one: ApprovalGiven) -> frozenset[str]:
    """Return every known name of the person behind an approval: its signer, or the one that an approver spoke for."""
    return names_of(then_of(one)) if one.said_by is None else names_passed_on(tables, one.said_by)


def all_names(tables: Tables, one: ApprovalGiven) -> frozenset[str]:
    """Return the names as `names_given` does, with those of a person's other logins."""
    given = names_given(tables, one)
    return given | names_passed_on(tables, one.principal_id) if one.role == Role.USER else given


def names_passed_on(tables: Tables, person: str) -> frozenset[str]:
    """Return every name of a person that an approver speaks for, as far as logins have told them: also earlier ones.

    A newest login that leaves out a name must not make two persons of one. Nor must two names that are both other than
    the principal's: the persons are looked up by each name that their newest login tells.
    """
    told = {known_as(person)}
    for name in dict.fromkeys((person, f"{PERSON_PREFIX}{known_as(person)}", *persons_known_as(tables, person))):
        now = person_now(tables, name)
        earlier = [tables.sessions.rows[one].attributes for one in tables.sessions.of(name)]
        for attributes in (*earlier, *([] if now is None else [now])):
            told |= names_of(subject_of(attributes, Role.USER, name))
    return frozenset(told)


def persons_known_as(tables: Tables, person: str) -> list[str]:
    """Return the persons whose newest logins tell this name as another one of theirs, at most SAME_NAME_MAX of them."""
    return [name.decode() for name in tables.persons.of(person_known_as(known_as(person)))[:SAME_NAME_MAX]]


def names_of_call(tables: Tables, row: RequestRow) -> frozenset[str]:
    """Return every name of the members of a call, as far as logins have told them; an approver speaks for none."""
    session = tables.sessions.get(row.session_id)
    caller = () if session is None else (session.principal_id,)
    return with_other_logins(tables, frozenset(row.chain), (row.root, row.acting, *caller))


def with_other_logins(tables: Tables, names: frozenset[str], principals: Sequence[str]) -> frozenset[str]:
    """Return the names of the members of a call with those that their other logins have told."""
    persons = (*principals, *(f"{PERSON_PREFIX}{name}" for name in sorted(names)))
    told = (names_passed_on(tables, one) for one in dict.fromkeys(persons) if one.startswith(PERSON_PREFIX))
    return names.union(*told)


def _user_passed_on(tables: Tables, person: str) -> str:
    known = person_now(tables, person)
    return person if known is None else user_of(subject_of(known, Role.USER, person))


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
