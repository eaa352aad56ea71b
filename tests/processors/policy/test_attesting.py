"""Attestations as conditions: which record serves, who is asked, what is used up, and a call that is decided again."""

import json
from itertools import pairwise
from typing import Any

import pytest

from processors.policy import limits
from processors.policy.attestations import Use
from processors.policy.call import Circumstances
from processors.policy.decide import decide, index_policies
from processors.policy.evaluation import Approval, Approver, Lookups, Record, Session, new_work
from processors.policy.index import PolicyIndex
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from schemas.words import Outcome, Stage
from tests.processors.policy.written import policies_of

NOW = 1_772_463_600_000
ENDS = NOW + 3_600_000
EVE = Subject(user="eve", principal="eve")
LEAD = Approver("lee", frozenset({"role:lead"}))
OTHER_LEAD = Approver("lou", frozenset({"role:lead", "team:x"}))


class View:
    """What has been attested, and a count of open requests."""

    def __init__(self, records: Any = (), approvals: Any = (), waiting: int = 0) -> None:
        self._records, self._approvals, self._waiting = dict(records), dict(approvals), waiting

    def records(self, key: str) -> list[Record]:
        return self._records.get(key, [])

    def approvals(self, key: str) -> list[Approval]:
        return self._approvals.get(key, [])

    def open_requests(self) -> int:
        return self._waiting


def requiring(*needs: str, more: Any = None, **metas: Any) -> PolicyIndex:
    document = {
        "policy_id": "user:eve",
        "resources": ["**"],
        "attestations": list(needs),
        "constraints": {"attestations": metas, **(more or {})},
    }
    return index_policies(policies_of([document]))


def asked(index: PolicyIndex, view: View, **how: Any) -> Verdict:
    call = Circumstances(
        now=NOW, session=Session(session_id="5e", expires_at=ENDS), tables=Lookups(attestations=view), **how
    )
    return decide(index, EVE, "tool:x", {}, call)


# ---- records


RECORDS = [
    (Record(1, NOW), ""),
    (Record(1, NOW, revoked=True), "REVOKED"),
    (Record(1, NOW, one_time=True, uses=1), "CONSUMED"),
    (Record(1, NOW, one_time=True), ""),
    (Record(1, NOW, max_uses=3, uses=2), "CONSUMED"),  # the policy says two
    (Record(1, NOW, max_uses=2, uses=1), ""),
    (Record(1, NOW - 59_999), ""),
    (Record(1, NOW - 60_000), "EXPIRED"),
    (Record(1, NOW, expires_at=NOW), "EXPIRED"),
    (Record(1, NOW, expires_at=NOW + 1), ""),
    (Record(1, NOW, setter="tool:b"), "WRONG_SETTER"),
    (Record(1, NOW, setter="tool:b", revoked=True), "REVOKED"),
    (Record(1, NOW - 60_000, uses=9, revoked=True), "EXPIRED"),
]


@pytest.mark.parametrize(("record", "fault"), RECORDS)
def test_the_stricter_of_setter_and_policy_counts(record, fault):
    """Age, uses, revocation, setter; of several faults the earlier code is told."""
    index = requiring("k", k={"time_to_live": 60, "max_uses": 2, "set_by": ["tool:a/*"]})
    record = record if record.setter else record._replace(setter="tool:a/op")

    assert asked(index, View({"k": [record]})).reason == (f"ATTESTATION_{fault}" if fault else "")
    assert asked(index, View()).reason == "ATTESTATION_MISSING"
    assert asked(index, View({"other": [record]})).reason == "ATTESTATION_MISSING"


def test_of_several_records_the_one_that_costs_least_serves():
    """Unlimited first, then several uses, then one; the earliest to expire; a bad one harms nobody."""
    records = [
        Record(9, NOW, revoked=True), Record(5, NOW, one_time=True), Record(4, NOW, max_uses=2), Record(3, NOW),
        Record(2, NOW, expires_at=NOW + 5), Record(1, NOW, expires_at=NOW + 9),
    ]  # fmt: skip
    served = []
    for _ in range(5):
        (use,) = asked(requiring("k"), View({"k": records})).effects.uses
        served.append(use.position)
        records = [record for record in records if record.position != use.position]

    assert served == [2, 1, 3, 4, 5]


def test_a_record_is_used_once_however_many_requirements_it_meets():
    """Also where two documents ask for it; and only by a call that is allowed."""
    view = View({"k": [Record(7, NOW)]})
    twice = index_policies(
        policies_of([{"policy_id": one, "resources": ["**"], "attestations": ["k"]} for one in ("user:eve", "tool:x")])
    )

    assert asked(twice, view).effects.uses == (Use("k", 7),)
    assert asked(requiring("k", "j"), view).effects.uses == ()


def test_the_key_deny_is_met_by_nothing():
    """Neither records nor approvals of that name help."""
    view = View({"deny": [Record(1, NOW)]}, {"deny": [Approval(2, NOW, True, (LEAD,))]})

    assert asked(requiring("deny"), view).reason == "CONDITION_DENIED"


# ---- people

TWO = {"approval_criteria": ["role:lead", "user:sam"], "quorum": 2, "timeout": 60}


def test_a_quorum_is_of_distinct_users_who_meet_a_criterion():
    """The same user twice is one; whoever meets none is nobody; an internal record is no approval."""
    index = requiring("ok", ok=TWO)
    nobody = Approver("ned", frozenset({"role:other"}))

    for approvers, outcome in (
        ((LEAD, OTHER_LEAD), "allowed"), ((LEAD, Approver("sam", frozenset({"user:sam"}))), "allowed"),
        ((LEAD, LEAD), "pending"), ((LEAD, nobody), "pending"), ((), "pending"),
    ):  # fmt: skip
        verdict = asked(index, View(approvals={"ok": [Approval(3, NOW, True, approvers)]}))
        assert verdict.outcome == outcome, approvers
        assert verdict.effects.uses == ((Use("ok", 3),) if outcome == "allowed" else ())
    assert asked(index, View({"ok": [Record(1, NOW)]})).outcome == "pending"
    denied = Approval(3, NOW, True, (LEAD, OTHER_LEAD), denied=True)
    assert asked(index, View(approvals={"ok": [denied]})).reason == "APPROVAL_DENIED"
    assert asked(index, View(approvals={"ok": [denied._replace(denied=False, revoked=True)]})).outcome == "pending"


def test_an_approval_of_another_call_serves_only_as_a_grant():
    """One use is the default: then it must be bound to this very call."""
    grant = Approval(3, NOW, False, (LEAD, OTHER_LEAD))

    assert asked(requiring("ok", ok=TWO), View(approvals={"ok": [grant]})).outcome == "pending"
    assert asked(requiring("ok", ok={**TWO, "one_time": False}), View(approvals={"ok": [grant]})).outcome == "allowed"
    several = requiring("ok", ok={**TWO, "max_uses": 2})
    assert asked(several, View(approvals={"ok": [grant._replace(uses=1)]})).outcome == "allowed"
    assert asked(several, View(approvals={"ok": [grant._replace(uses=2)]})).outcome == "pending"
    assert asked(several, View(approvals={"ok": [grant._replace(denied=True)]})).outcome == "pending"


@pytest.mark.parametrize(
    ("approval", "asked_for", "was_good"),
    [
        (Approval(3, NOW, False, (LEAD, OTHER_LEAD), expires_at=NOW), "APPROVAL_PENDING", "APPROVAL_EXPIRED"),
        (Approval(3, NOW - 90_000, False, (LEAD, OTHER_LEAD)), "APPROVAL_PENDING", "APPROVAL_EXPIRED"),
        (Approval(3, NOW, False, (LEAD, OTHER_LEAD), uses=1, max_uses=1), "APPROVAL_PENDING", "APPROVAL_CONSUMED"),
        (Approval(3, NOW - 90_000, True, (LEAD, OTHER_LEAD)), "APPROVAL_EXPIRED", "APPROVAL_EXPIRED"),
        (Approval(3, NOW - 89_999, True, (LEAD, OTHER_LEAD)), "", ""),
    ],
)
def test_what_is_over_is_asked_for_again_and_waited_for(approval, asked_for, was_good):
    """A grant that was over when the call came; one that was good then, and the call's own approval, are too late."""
    index = requiring("ok", ok={**TWO, "one_time": False, "time_to_live": 90})

    assert asked(index, View(approvals={"ok": [approval]})).reason == asked_for
    assert asked(index, View(approvals={"ok": [approval]}), resumed={"ok"}).reason == asked_for
    assert asked(index, View(approvals={"ok": [approval]}), resumed={"other"}).reason == was_good


def test_of_approvals_that_are_over_the_expiry_is_told_first():
    """In whatever order they came."""
    index = requiring("ok", ok={**TWO, "one_time": False, "time_to_live": 90})
    expired = Approval(3, NOW - 90_000, False, (LEAD, OTHER_LEAD))
    consumed = Approval(4, NOW, False, (LEAD, OTHER_LEAD), uses=1, max_uses=1)

    for approvals in ([expired, consumed], [consumed, expired]):
        assert asked(index, View(approvals={"ok": approvals}), resumed=set()).reason == "APPROVAL_EXPIRED"


def test_a_pending_call_asks_once_for_each_key_until_the_least_timeout():
    """Never beyond the session; a call that is decided again asks for nothing anew."""
    other = {"approval_criteria": "role:head", "timeout": 30, "priority": 1}
    index = requiring("ok", "ok", "also", ok=TWO, also=other, more={"require_approval": True})
    verdict = asked(index, View())

    assert (verdict.outcome, verdict.reason, verdict.stage.number) == ("pending", "APPROVAL_PENDING", 12)
    assert verdict.detail == "/attestations/2"  # of priority 1
    assert [request.key[:9] for request in verdict.effects.requests] == ["also", "approval:", "ok"]
    assert {request.open_until for request in verdict.effects.requests} == {NOW + 30_000}
    short = Circumstances(now=NOW, session=Session(expires_at=NOW + 5), tables=Lookups())
    assert {one.open_until for one in decide(index, EVE, "tool:x", {}, short).effects.requests} == {NOW + 5}
    keys = {request.key for request in verdict.effects.requests}
    assert asked(index, View(), resumed=keys).effects.requests == ()
    assert asked(index, View(), resumed=keys - {"also"}).reason == "APPROVAL_REQUIRED"


def test_a_call_that_will_not_wait_is_denied_and_may_leave_a_request_for_a_grant():
    """Timeout 0: nothing is opened for one use, because the call will be another when it is repeated."""
    once, grant = {"approval_criteria": "role:lead"}, {"approval_criteria": "role:lead", "one_time": False}

    for metas, requests in (({"ok": once}, []), ({"ok": grant}, ["ok"]), ({"ok": grant, "also": once}, ["ok"])):
        verdict = asked(requiring(*metas, **metas), View())
        assert (verdict.outcome, verdict.reason) == ("denied", "APPROVAL_REQUIRED")
        assert [one.key for one in verdict.effects.requests] == requests
        assert all(one.open_until == NOW + 3_600_000 for one in verdict.effects.requests)


def test_a_requester_waits_for_a_hundred_approvals_at_most():
    """The hundredth request is the last; a call that does not wait opens none either."""
    index = requiring("ok", ok=TWO)

    assert asked(index, View(waiting=99)).outcome == "pending"
    assert asked(index, View(waiting=100)).reason == "LIMIT_EXCEEDED"
    assert asked(index, View(waiting=100), resumed={"ok"}).outcome == "pending"
    grant = requiring("ok", ok={"approval_criteria": "role:lead", "one_time": False})
    assert asked(grant, View(waiting=100)).effects.requests == ()


def test_the_first_requirement_that_finds_no_room_is_named():
    """By priority and key; a requester beyond the bound opens nothing, whatever is asked for."""
    metas = {"a": TWO, "b": {**TWO, "priority": 1}}
    verdict = asked(requiring("a", "b", **metas), View(waiting=99))
    assert (verdict.reason, verdict.detail) == ("LIMIT_EXCEEDED", "/attestations/1")

    grant = {"approval_criteria": "role:lead", "one_time": False}
    beyond = asked(requiring("a", "b", a=grant, b=grant), View(waiting=101))
    assert (beyond.reason, beyond.effects.requests) == ("APPROVAL_REQUIRED", ())


def test_a_request_costs_and_its_decision_does_not_cost_again():
    """The rate is charged when the call becomes pending, and not looked at when it is decided again."""
    index = requiring("ok", ok=TWO, more={"rate_limit": 1})
    full = Lookups(buckets=lambda _key: (NOW + 60_000) * 1000, attestations=View())
    approved = Lookups(
        buckets=lambda _key: (NOW + 60_000) * 1000,
        attestations=View(approvals={"ok": [Approval(3, NOW, True, (LEAD, OTHER_LEAD))]}),
    )

    assert len(asked(index, View()).effects.buckets) == 1
    assert decide(index, EVE, "tool:x", {}, Circumstances(now=NOW, tables=full)).reason == "RATE_LIMITED"
    verdict = decide(index, EVE, "tool:x", {}, Circumstances(now=NOW, tables=approved, resumed={"ok"}))
    assert (verdict.outcome, verdict.effects.buckets) == ("allowed", ())
    plain = index_policies(
        policies_of([{"policy_id": "user:eve", "resources": ["**"], "constraints": {"rate_limit": 1}}])
    )
    verdict = decide(plain, EVE, "tool:x", {}, Circumstances(now=NOW, tables=full, resumed=set()))
    assert (verdict.outcome, verdict.effects.buckets) == ("allowed", ())


def test_of_two_roles_the_one_that_allows_is_charged_and_used():
    """Allowed before pending, pending before denied; the other branch pays nothing."""
    documents = [
        {"policy_id": "role:a", "resources": ["**"], "constraints": {"rate_limit": 5, "require_approval": True}},
        {"policy_id": "role:b", "resources": ["**"], "attestations": ["k"], "constraints": {"rate_limit": 7}},
    ]
    both = Subject(roles=("a", "b"), principal="p")
    index = index_policies(policies_of(documents))

    pending = decide(index, both, "tool:x", {}, Circumstances(now=NOW))
    assert (pending.outcome, pending.branch) == ("pending", "role:a")
    view = Lookups(attestations=View({"k": [Record(1, NOW)]}))
    allowed = decide(index, both, "tool:x", {}, Circumstances(now=NOW, tables=view))
    assert (allowed.outcome, allowed.branch) == ("allowed", "role:b")
    assert [key for key, _ in allowed.effects.buckets] == [b"p\x00role:b"]
    assert json.loads(json.dumps(allowed.effects.uses)) == [["k", 1]]


# ---- what it costs


def units(index: PolicyIndex, view: View) -> int:
    work = new_work()
    call = Circumstances(now=NOW, session=Session(session_id="5e", expires_at=ENDS), tables=Lookups(attestations=view))
    decide(index, EVE, "tool:x", {}, call, work)
    return limits.WORK_UNITS_MAX - work[0]


def test_each_approver_that_is_looked_at_costs_work_for_every_document_that_asks() -> None:
    """Otherwise a hundred documents that ask for sixteen people each held up every tenant of a worker for seconds."""
    index = requiring("k", k={"approval_criteria": "role:lead", "timeout": 60})
    one, two = (Approval(1, NOW, bound=False, approvers=people) for people in ((LEAD,), (LEAD, OTHER_LEAD)))

    told = [units(index, View(approvals={"k": approvals})) for approvals in ([], [one], [two], [one, two])]

    a_first, one_more, another = (more - less for less, more in pairwise(told))
    assert one_more == limits.APPROVER_UNITS
    assert a_first == another == limits.RECORD_UNITS + limits.APPROVER_UNITS


def test_each_record_and_each_pattern_of_setters_costs_work() -> None:
    record = Record(position=1, set_at=NOW, setter="tool:desk/check")
    plain, bound = requiring("k"), requiring("k", k={"set_by": ["tool:a/*", "tool:b/*"]})

    def cost(index: PolicyIndex, count: int) -> int:
        return units(index, View(records={"k": [record] * count}))

    assert cost(plain, 10) - cost(plain, 1) == 9 * limits.RECORD_UNITS
    assert cost(bound, 10) - cost(bound, 1) > 9 * (limits.RECORD_UNITS + 2 * (limits.ITEM_UNITS + len(record.setter)))


def test_a_call_whose_approvals_cost_too_much_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPROVER_UNITS", limits.WORK_UNITS_MAX)
    index = requiring("k", k={"approval_criteria": "role:lead", "timeout": 60})
    approval = Approval(-1, NOW, bound=True, approvers=(LEAD,))

    verdict = asked(index, View(approvals={"k": [approval]}))

    assert (verdict.outcome, verdict.reason, verdict.stage) == (Outcome.DENIED, "LIMIT_EXCEEDED", Stage.APPROVALS)
