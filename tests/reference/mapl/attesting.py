"""Attestation records: the valid ones, and those that a decision uses (docs/mapl.md 8)."""

from dataclasses import dataclass, field

from tests.reference.mapl.names import grants
from tests.reference.mapl.requirements import Requirement
from tests.reference.mapl.text import jcs_order, known_as
from tests.reference.mapl.world import Call, Record

NEVER = float("inf")


@dataclass
class Externals:
    """What stage 11 found: requirements that fail with a code, and those that wait for an approval."""

    failed: list[tuple[str, Requirement]] = field(default_factory=list)
    outstanding: list[Requirement] = field(default_factory=list)
    used: list[int] = field(default_factory=list)


def expires_at(record: Record, requirement: Requirement | None) -> float:
    """t0 + ttl, the stricter of setter's and policy's."""
    lengths = [record.time_to_live, requirement.meta.time_to_live if requirement else None]
    return min((record.at + 1000 * ttl for ttl in lengths if ttl is not None), default=NEVER)


def uses_max(record: Record, requirement: Requirement | None) -> float:
    """min(max_uses, 1 if one_time), the stricter of setter's and policy's."""
    limits: list[float] = [NEVER]
    limits += [record.max_uses] if record.max_uses is not None else []
    limits += [1] if record.one_time else []
    if requirement is not None:
        limits += [requirement.meta.max_uses] if requirement.meta.max_uses is not None else []
        limits += [1] if requirement.is_one_time else []
    return min(limits)


def attested_keys(records: list[Record], now: int) -> set[str]:
    """Section 7, has_attestation: a valid unconsumed internal record exists, by the setter's own bounds."""
    return {
        r.key
        for r in records
        if r.status is None and not r.revoked and now < expires_at(r, None) and r.uses < uses_max(r, None)
    }


def internal_fault(requirement: Requirement, records: list[Record], now: int) -> tuple[str | None, int | None]:
    """(reason, None), or (None, the record that serves). With several faults the earliest code of section 12."""
    candidates = [i for i, r in enumerate(records) if r.key == requirement.key and r.status is None]
    faults = {i: record_fault(records[i], requirement, now) for i in candidates}
    valid = [i for i in candidates if faults[i] is None]
    if valid:
        return None, best_record(valid, records, requirement)
    order = ["ATTESTATION_EXPIRED", "ATTESTATION_CONSUMED", "ATTESTATION_REVOKED", "ATTESTATION_WRONG_SETTER"]
    return next((code for code in order if code in faults.values()), "ATTESTATION_MISSING"), None


def record_fault(record: Record, requirement: Requirement, now: int) -> str | None:
    if now >= expires_at(record, requirement):
        return "ATTESTATION_EXPIRED"
    if record.uses >= uses_max(record, requirement):
        return "ATTESTATION_CONSUMED"
    if record.revoked:
        return "ATTESTATION_REVOKED"
    set_by = requirement.meta.set_by
    if set_by and (record.setter is None or not any(grants(pattern, record.setter) for pattern in set_by)):
        return "ATTESTATION_WRONG_SETTER"
    return None


def best_record(indexes: list[int], records: list[Record], requirement: Requirement) -> int:
    """Unlimited first, then max_uses, then one_time; then earliest expiry; then lowest log position."""

    def rank(i: int) -> tuple[int, float, int]:
        uses = uses_max(records[i], requirement)
        kind = 0 if uses == NEVER else 2 if uses == 1 else 1
        return kind, expires_at(records[i], requirement), i

    return min(indexes, key=rank)


def judge_externals(
    requirements: list[Requirement], call: Call, records: list[Record], requesters: set[str]
) -> Externals:
    """Externals by priority, then key."""
    found = Externals()
    for requirement in sorted(requirements, key=lambda r: (r.meta.priority, jcs_order(r.key))):
        serving = [i for i, r in enumerate(records) if serves(r, requirement)]
        valid = [i for i in serving if is_valid_approval(records[i], requirement, call.now, requesters)]
        if any(records[i].status == "denied" and records[i].bound for i in serving):
            found.failed.append(("APPROVAL_DENIED", requirement))
        elif valid:
            found.used.append(best_record(valid, records, requirement))
        else:
            code = resumption_fault(requirement, call, [records[i] for i in serving], requesters)
            if code is None:
                found.outstanding.append(requirement)
            else:
                found.failed.append((code, requirement))
    if any(r.meta.timeout == 0 for r in found.outstanding):
        first = next(r for r in found.outstanding if r.meta.timeout == 0)
        found.failed.append(("APPROVAL_REQUIRED", first))
    return found


def serves(record: Record, requirement: Requirement) -> bool:
    """An approval of this very call, or, for a requirement that is not one_time, a grant."""
    same_key = record.key == requirement.key and record.status is not None
    return same_key and (record.bound or not requirement.is_one_time)


def has_quorum(record: Record, requirement: Requirement, requesters: set[str]) -> bool:
    """Distinct users who meet any listed criterion, the requester and its chain left out."""
    users = {known_as(user) for user, meets in record.by if set(meets) & set(requirement.meta.criteria)}
    return len(users - requesters) >= requirement.meta.quorum


def is_valid_approval(record: Record, requirement: Requirement, now: int, requesters: set[str]) -> bool:
    return (
        record.status == "approved"
        and not record.revoked
        and now < expires_at(record, requirement)
        and record.uses < uses_max(record, requirement)
        and has_quorum(record, requirement, requesters)
    )


def resumption_fault(requirement: Requirement, call: Call, serving: list[Record], requesters: set[str]) -> str | None:
    """APPROVAL_EXPIRED, APPROVAL_CONSUMED and "new on resumption" arise on resumption only; else it is outstanding."""
    if not call.resumed:
        return None
    asked = call.requested is None or requirement.key in call.requested
    standing = [r for r in serving if r.status == "approved" and not r.revoked]
    approved = [r for r in standing if has_quorum(r, requirement, requesters)]
    spent = [r for r in approved if r.bound or not asked]  # an old grant says nothing about a request that is open
    if any(call.now >= expires_at(r, requirement) for r in spent):
        return "APPROVAL_EXPIRED"
    if spent:
        return "APPROVAL_CONSUMED"
    return None if asked else "APPROVAL_REQUIRED"
