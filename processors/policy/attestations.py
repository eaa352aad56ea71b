"""The judgement of attestation requirements (docs/mapl.md 8): by records of tools, and by approvals of people.

Internal requirements come first, and a failed one denies, so that people are never asked in vain. The decision names
the records that serve a call; the fold consumes them in the same transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from processors.policy import limits
from processors.policy.errors import BodyUnseenError
from processors.policy.evaluation import Approval, CallScope, Evaluation, Record, spend
from processors.policy.globs import grant_glob
from processors.policy.names import known_as
from processors.policy.requirements import Meta, Requirement

# Reasons in the order in which they are told.
_INTERNAL = ("EXPIRED", "CONSUMED", "REVOKED", "WRONG_SETTER")
_NEVER = 2**62


class Use(NamedTuple):
    """A record, or a grant, that served a call: to be counted once, however many requirements it met."""

    key: str
    position: int


class Request(NamedTuple):
    """An approval to be asked for, with the terms of each policy that requires it; `open_until` is log time in ms."""

    key: str
    required_by: tuple[tuple[str, Meta], ...]
    open_until: int


def judge_internal(requirement: Requirement, call: Evaluation) -> tuple[str, Use | None]:
    """Return the reason for which an internal requirement is not met, or the record that meets it."""
    meta = requirement.meta
    records = call.tables.attestations.records(requirement.key)
    spend(call.work, limits.RECORD_UNITS * (1 + len(records)))
    found = [(_fault(record, meta, call), record) for record in records]
    valid = [record for fault, record in found if not fault]
    if valid:
        best = min(valid, key=lambda record: _preference(record, meta))
        return "", Use(requirement.key, best.position)
    faults = {fault for fault, _ in found}
    return f"ATTESTATION_{next((name for name in _INTERNAL if name in faults), 'MISSING')}", None


def _fault(record: Record, meta: Meta, call: Evaluation) -> str:
    """Return the fault of a record by the stricter terms of its setter and the policy, or "" if it has none."""
    uses = _uses_max(record, meta)
    if call.now >= _ends(record, meta):
        return "EXPIRED"
    if uses is not None and record.uses >= uses:
        return "CONSUMED"
    if record.revoked:
        return "REVOKED"
    return "WRONG_SETTER" if meta.set_by and not _is_setter(record.setter, meta, call) else ""


def _is_setter(setter: str, meta: Meta, call: Evaluation) -> bool:
    for glob in map(grant_glob, meta.set_by):
        spend(call.work, glob.base + glob.units * len(setter))
        if glob.meets(setter):
            return True
    return False


def _uses_max(record: Record, meta: Meta) -> int | None:
    known = (record.max_uses, 1 if record.one_time else None, meta.uses_max, meta.max_uses)
    return min((uses for uses in known if uses is not None), default=None)


def _ends(record: Record, meta: Meta) -> int:
    by_setter = _NEVER if record.expires_at is None else record.expires_at
    return by_setter if meta.time_to_live_ms is None else min(by_setter, record.set_at + meta.time_to_live_ms)


def _preference(record: Record, meta: Meta) -> tuple[int, int, int]:
    """Return a sort key: unlimited records first, then those of several uses, then of one; then the earliest expiry."""
    uses = _uses_max(record, meta)
    return (0 if uses is None else 2 if uses == 1 else 1), _ends(record, meta), record.position


# ---- what people approve


@dataclass(slots=True)
class Approvals:
    """The result of the external requirements of one call."""

    reason: str = ""
    deciding: "External | None" = None
    uses: list[Use] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    pending: bool = False


class External(NamedTuple):
    """An external requirement with the document that it is from."""

    requirement: Requirement
    policy_id: str
    digest: bytes


def judge_external(required: Sequence[External], call: Evaluation) -> Approvals:
    """Judge the external requirements of a call, in the order of their priority and key."""
    answer, outstanding = Approvals(), []
    for one in sorted(required, key=lambda one: (one.requirement.meta.priority, one.requirement.key)):
        reason, use = _approved(one.requirement, call)
        if reason == "":
            answer.uses.append(use) if use is not None else outstanding.append(one)
        else:
            return Approvals(reason=reason, deciding=one)
    if not outstanding:
        return answer
    return _outstanding(outstanding, answer, call)


def _approved(requirement: Requirement, call: Evaluation) -> tuple[str, Use | None]:
    """Return a reason to deny, or the approval that meets a requirement; neither where it is outstanding."""
    meta, key = requirement.meta, requirement.key
    faults = []
    approvals = call.tables.attestations.approvals(key)
    people = sum(len(approval.approvers) for approval in approvals)
    spend(call.work, limits.RECORD_UNITS * (1 + len(approvals)) + limits.APPROVER_UNITS * people)
    for approval in approvals:
        if approval.bound and approval.denied:
            return "APPROVAL_DENIED", None
        if not approval.bound and (meta.once or approval.denied):
            continue  # an approval of another call serves this one only as a grant
        if _standing(approval, meta, call) < meta.quorum or approval.revoked:
            continue
        fault = _used_up(approval, meta, call.now)
        if not fault:
            return "", Use(key, approval.position)
        faults.append((approval.bound, fault))
    # What is over when a call is asked about for the first time is asked for again, and then waited for. What was good
    # then, and is over when the call is decided again, is too late.
    was_good = call.resumed is not None and key not in call.resumed
    late = [fault for bound, fault in faults if bound or was_good]
    if late:
        return min(late, key=("APPROVAL_EXPIRED", "APPROVAL_CONSUMED").index), None
    return "", None


def _standing(approval: Approval, meta: Meta, call: Evaluation) -> int:
    """Return how many people's approvals count: each person's once, and never one's own of one's own call."""
    own = {known_as(name) for name in (call.subject.user, call.subject.email, call.subject.principal) if name}
    people = {
        known_as(one.user)
        for one in approval.approvers
        if not one.meets.isdisjoint(meta.criteria) and (one.scope is None or _within(one.scope, call))
    }
    return len(people - own)


def _within(scope: CallScope, call: Evaluation) -> bool:
    """Return whether a call is within what an approver may approve. A value that no rule can see is not."""
    spend(call.work, limits.SCOPE_UNITS)
    try:
        return scope.holds(call.name, call.parameters, call.now, call.work)
    except BodyUnseenError:
        return False


def _used_up(approval: Approval, meta: Meta, now: int) -> str:
    ends = _NEVER if meta.time_to_live_ms is None else approval.at + meta.time_to_live_ms
    if now >= ends or (approval.expires_at is not None and now >= approval.expires_at):
        return "APPROVAL_EXPIRED"
    uses = min((most for most in (meta.uses_max, approval.max_uses) if most is not None), default=None)
    return "APPROVAL_CONSUMED" if uses is not None and approval.uses >= uses else ""


def _outstanding(missing: list[External], answer: Approvals, call: Evaluation) -> Approvals:
    answer.deciding = missing[0]
    new = next((one for one in missing if call.resumed is not None and one.requirement.key not in call.resumed), None)
    if new is not None:
        return Approvals(reason="APPROVAL_REQUIRED", deciding=new)
    now, room = call.now, limits.OPEN_REQUESTS_MAX - call.tables.attestations.open_requests()
    at_once = next((one for one in missing if one.requirement.meta.timeout_ms == 0), None)
    if at_once is not None:
        # A call that will not wait leaves requests only for grants, which a later call can use.
        grants = [one for one in missing if not one.requirement.meta.once] if call.resumed is None else []
        requests = _requests(grants, now + limits.GRANT_REQUEST_MS)[: max(room, 0)]
        return Approvals(reason="APPROVAL_REQUIRED", deciding=at_once, requests=requests)
    answer.pending = True
    if call.resumed is None:  # else the requests are open, and their deadline never moves
        deadline = min(now + min(one.requirement.meta.timeout_ms for one in missing), call.session.expires_at)
        answer.requests = _requests(missing, deadline)
        if len(answer.requests) > room:
            return Approvals(reason="LIMIT_EXCEEDED", deciding=missing[0])
    return answer


def _requests(missing: list[External], open_until: int) -> list[Request]:
    """Return one request for each key, also if several policies require it."""
    by_key: dict[str, list[tuple[str, Meta]]] = {}
    for one in missing:
        by_key.setdefault(one.requirement.key, []).append((one.policy_id, one.requirement.meta))
    return [Request(key, tuple(dict.fromkeys(required)), open_until) for key, required in by_key.items()]
