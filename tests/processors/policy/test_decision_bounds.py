"""What no other quick test noticed when the decision was changed: docs/testing.md, "Mutants of the decision path"."""

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from processors.policy import limits
from processors.policy.attestations import Use
from processors.policy.call import Circumstances
from processors.policy.decide import decide, index_policies
from processors.policy.delegation import Hop, Scope, chain_fault, parse_scope
from processors.policy.documents import parse_policy
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Approval, Approver, Lookups, Record, Work, new_work
from processors.policy.index import PolicyIndex, StoredPolicy, index_stored
from processors.policy.patterns import resource_name
from processors.policy.resolve import Subject
from tests.processors.policy.written import policies_of

EVE = Subject(user="eve")
BOT = Subject(service="bot", type="service")
HOP = Hop(delegator="eve", delegate="bot", scope=Scope(resources=("**",)), expires_at=2**62)


@dataclass(frozen=True, slots=True)
class Attested:
    """What has been attested, whatever the key."""

    found: tuple[Record, ...] = ()
    approved: tuple[Approval, ...] = ()

    def records(self, key: str) -> tuple[Record, ...]:
        return self.found

    def approvals(self, key: str) -> tuple[Approval, ...]:
        return self.approved

    def open_requests(self) -> int:
        return 0


def policies(*ids: str, **more: Any) -> PolicyIndex:
    return index_policies(policies_of([{"policy_id": one, "resources": ["**"], **more} for one in ids]))


def reason(index: PolicyIndex, subjects: Subject | list[Subject], call: Circumstances) -> str:
    return decide(index, subjects, "tool:x", {}, call).reason


OPEN = policies("user:eve", "service:bot")


def test_a_lone_subject_has_no_chain_and_one_that_claims_a_chain_is_judged_by_it() -> None:
    """A bound call, or one with a hop, is never judged as a plain call because its subjects are missing."""
    assert reason(OPEN, EVE, Circumstances()) == ""
    assert reason(OPEN, [EVE], Circumstances()) == ""
    assert reason(OPEN, EVE, Circumstances(bound=True)) == "DELEGATION_BROKEN"
    assert reason(OPEN, EVE, Circumstances(hops=(HOP,))) == "DELEGATION_BROKEN"
    assert reason(OPEN, [EVE, BOT], Circumstances(hops=(HOP,), bound=True)) == ""


def test_a_call_of_nobody_is_denied() -> None:
    """An empty list of subjects is no subject that all policies let through."""
    assert reason(OPEN, [], Circumstances()) == "NO_POLICY"


def test_a_chain_names_every_document_that_one_of_its_members_was_judged_by() -> None:
    """Each digest once, in their order; also where all are judged by the same documents, and so but once."""
    both = Circumstances(hops=(HOP,))
    mine, its = (decide(OPEN, one, "tool:x", {}).policies for one in (EVE, BOT))
    alike = decide(policies("tool:x"), [EVE, BOT], "tool:x", {}, both)

    assert mine != its
    assert decide(OPEN, [EVE, BOT], "tool:x", {}, both).policies == tuple(sorted((*mine, *its)))
    assert (alike.outcome, len(alike.policies)) == ("allowed", 1)


def test_a_chain_is_charged_for_all_its_members_or_not_at_all() -> None:
    """Also where one of them has nothing to pay; a denied call pays nothing, a waiting one uses nothing up."""
    limited = {"policy_id": "user:eve", "resources": ["**"], "attestations": ["k"], "constraints": {"rate_limit": 5}}
    asking = {"policy_id": "service:bot", "resources": ["**"], "constraints": {"require_approval": True}}
    attested = Lookups(attestations=Attested(found=(Record(1, 0),)))

    def effects(its: dict[str, Any]) -> tuple[str, int, int]:
        index = index_policies(policies_of([limited, its]))
        verdict = decide(index, [EVE, BOT], "tool:x", {}, Circumstances(hops=(HOP,), tables=attested))
        return verdict.outcome, len(verdict.effects.buckets), len(verdict.effects.uses)

    assert effects({"policy_id": "service:bot", "resources": ["**"]}) == ("allowed", 1, 1)
    payer_last = index_policies(
        policies_of([{"policy_id": "user:eve", "resources": ["**"]}, limited | {"policy_id": "service:bot"}])
    )
    paid = decide(payer_last, [EVE, BOT], "tool:x", {}, Circumstances(hops=(HOP,), tables=attested)).effects
    assert (len(paid.buckets), len(paid.uses)) == (1, 1)
    assert effects(asking) == ("pending", 1, 0)
    assert effects({"policy_id": "service:bot", "resources": ["tool:y"]}) == ("denied", 0, 0)


def test_a_plan_is_made_once_and_intents_do_not_drive_the_others_out() -> None:
    """What a caller writes has a store of its own."""
    index = policies("user:eve")
    intent = Circumstances(intents=(json.dumps({"purpose": "x"}),))
    for call in (Circumstances(), Circumstances(), intent, intent):
        assert reason(index, EVE, call) == ""

    assert decide(index, EVE, "tool:y", {}).outcome == "allowed"

    assert (len(index.plans), len(index.inline_plans)) == (2, 1)


def test_one_member_of_a_chain_is_not_judged_by_what_another_is_or_pays() -> None:
    """Also where all are judged by the same documents: a role is held by one, a rate is counted for each."""
    asking = policies("tool:x", constraints={"roles": ["lead"]})
    chain = Circumstances(hops=(HOP,))
    lead = Subject(user="eve", roles=("lead",))
    assert reason(asking, [lead, BOT], chain) == "ROLE_REQUIRED"
    assert reason(asking, [lead, Subject(service="bot", type="service", roles=("lead",))], chain) == ""

    limited = policies("tool:x", constraints={"rate_limit": 5})
    assert len(decide(limited, [EVE, BOT], "tool:x", {}, chain).effects.buckets) == 2


def test_a_policy_row_that_was_altered_denies_and_is_named() -> None:
    """A text that is not what its digest says is a fault inside, not a policy."""
    true, false = json.dumps({"policy_id": "user:eve"}), json.dumps({"policy_id": "user:eve", "resources": ["**"]})
    digest = parse_policy(true.encode()).digest
    altered = index_stored([StoredPolicy("user:eve", digest, false, None)])

    verdict = decide(altered, EVE, "tool:x", {})

    assert (verdict.outcome, verdict.reason, verdict.policies) == ("denied", "INTERNAL_ERROR", (digest,))


@pytest.mark.parametrize(("spent", "expected"), [(0, ""), (1, "LIMIT_EXCEEDED")])
def test_a_role_may_spend_the_last_unit_but_none_more(spent: int, expected: str) -> None:
    """Another role is asked if the first one's denial was paid for; what it could not pay for denies."""
    first = {"allowed_values": [f"{at}*" for at in range(1000)]}
    roles: list[dict[str, Any]] = [
        {"policy_id": "role:a", "resources": ["**"], "constraints": {"parameters": {"**": {"text": first}}}},
        {"policy_id": "role:b", "resources": ["**"]},
    ]
    index = index_policies(policies_of(roles))

    def judged(text: str, work: Work) -> str:
        return decide(index, Subject(user="eve", roles=("a", "b")), "tool:x", {"text": text}, work=work).reason

    whole = new_work()
    assert judged("x" * 5000, whole) == ""
    taken = limits.WORK_UNITS_MAX - whole[0]
    assert judged("x" * 5000, [taken - spent, 0]) == expected


# ---- delegation


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"ticket_id": "T-1"}, None),
        ({"ticket_id": 7.0}, None),
        ({"ticket_id": "T-2"}, ("DELEGATION_CONDITION", 0)),
        ({"ticket_id": None}, ("DELEGATION_CONDITION", 0)),
        ({}, ("DELEGATION_CONDITION", 0)),
    ],
)
def test_a_scope_of_tickets_lets_in_these_tickets_and_no_other(
    parameters: dict[str, Any], fault: tuple[str, int] | None
) -> None:
    """A ticket that is there is not yet one of those."""
    scope = Scope(resources=("**",), ticket_ids=("T-1", 7))
    hop = Hop(delegator="eve", delegate="bot", scope=scope, expires_at=1)

    assert chain_fault([hop], [EVE, BOT], resource_name("tool:x"), parameters, 0, new_work(), bound=False) == fault
    assert scope.permits(parameters, 0, new_work()) is (fault is None)
    assert Scope(resources=("**",)).permits(parameters, 0, new_work()) is True


def test_a_chain_of_the_greatest_length_is_not_called_too_long() -> None:
    """What else is wrong with it is told."""
    chain = [Subject(user=f"u{at}") for at in range(limits.DELEGATION_DEPTH_MAX + 2)]

    def fault(hops_count: int, scope: Scope) -> tuple[str, int] | None:
        hops = [
            Hop(delegator=one.principal, delegate=other.principal, scope=scope, expires_at=1)
            for one, other in pairwise(chain[: hops_count + 1])
        ]
        return chain_fault(hops, chain[: hops_count + 1], resource_name("tool:x"), {}, 0, new_work(), bound=False)

    assert fault(limits.DELEGATION_DEPTH_MAX, Scope(resources=("**",))) is None
    assert fault(limits.DELEGATION_DEPTH_MAX, Scope(resources=("tool:y",))) == ("DELEGATION_SCOPE", 0)
    assert fault(limits.DELEGATION_DEPTH_MAX + 1, Scope(resources=("tool:y",))) == ("DELEGATION_DEPTH", 0)


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        ({}, ""),
        ({"max_amounts": 5}, "E_UNKNOWN_FIELD at '/conditions/max_amounts'"),
        (
            {"time_window": {"start": "2026-03-02T15:00:00Z", "until": 1}},
            "E_UNKNOWN_FIELD at '/conditions/time_window/until'",
        ),
        ({"time_window": {}}, "E_TIME at '/conditions/time_window'"),
        ({"time_window": {"start": "2026-03-02T15:00:00Z"}}, "E_TIME at '/conditions/time_window'"),
    ],
)
def test_a_scope_with_a_condition_that_cannot_be_honoured_is_no_scope(conditions: dict[str, Any], code: str) -> None:
    """A condition that is misspelt, or half there, is never left out."""
    text = json.dumps({"resources": ["**"], "conditions": conditions}).encode()
    if not code:
        assert parse_scope(text) == Scope(resources=("**",))
        return
    with pytest.raises(PolicyError, match=f"^{re.escape(code)}$"):
        parse_scope(text)


@pytest.mark.parametrize("pattern", ["", " tool:x", "*a" * (limits.PATTERN_STARS_MAX + 1)])
def test_a_scope_of_what_is_no_pattern_is_no_scope(pattern: str) -> None:
    """It is refused when it is granted, not left to match nothing, or to cost too much, when it is used."""
    with pytest.raises(PolicyError, match=r"^E_PATTERN at '/resources/1'$"):
        parse_scope(json.dumps({"resources": ["tool:y", pattern]}).encode())


def test_a_scope_is_read_up_to_its_greatest_length() -> None:
    """A byte more is refused before it is read."""
    text = b'{"resources": ["**"]}'.ljust(limits.INLINE_BYTES_MAX)

    assert parse_scope(text) == Scope(resources=("**",))
    with pytest.raises(PolicyError, match=r"^E_LIMIT at ''$"):
        parse_scope(text + b" ")


# ---- attestations


@pytest.mark.parametrize(
    "records",
    [(Record(1, 0, one_time=True), Record(2, 0, max_uses=2)), (Record(1, 0, max_uses=2), Record(2, 0))],
)
def test_a_record_of_fewer_uses_is_kept_for_last_wherever_it_stands(records: tuple[Record, ...]) -> None:
    """Also where it is the older one: what serves more often goes first."""
    tables = Lookups(attestations=Attested(found=records))
    verdict = decide(policies("user:eve", attestations=["k"]), EVE, "tool:x", {}, Circumstances(tables=tables))

    assert verdict.effects.uses == (Use("k", 2),)


@pytest.mark.parametrize(("by_policy", "by_grant"), [(4, 2), (2, 4), (2, 2)])
def test_a_grant_serves_as_often_as_the_stricter_of_policy_and_grant_says(by_policy: int, by_grant: int) -> None:
    """Else an approver's own bound would be lifted by a policy that is more generous."""
    meta = {"approval_criteria": "role:lead", "one_time": False, "max_uses": by_policy, "timeout": 60}
    index = policies("user:eve", attestations=["k"], constraints={"attestations": {"k": meta}})
    lee = Approver("lee", frozenset({"role:lead"}))

    for uses, expected in ((1, ""), (2, "APPROVAL_PENDING")):
        grant = Approval(1, 0, bound=False, approvers=(lee,), uses=uses, max_uses=by_grant)
        assert reason(index, EVE, Circumstances(tables=Lookups(attestations=Attested(approved=(grant,))))) == expected
