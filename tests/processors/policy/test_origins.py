"""Rules on where a value came from, beside the log: their words, their warnings, and values that cannot be seen."""

import json
from collections.abc import Sequence

import pytest

from macaw.policies.never import never_meets
from processors.policy.call import PLAIN
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_policy
from processors.policy.evaluation import HIDDEN, OPAQUE, Lookups, Work, new_work, spend
from processors.policy.insight.effective import rule_in_words
from processors.policy.insight.explain import explain
from processors.policy.resolve import Subject

ANN = Subject(principal="ann", user="ann", roles=("r",))
RULE = {"id": "r", "when": "tool:bank/**", "not_from": "tool:web/*"}


class Everything:
    """The view in which every value was heard."""

    def from_resources(self, pattern: str, work: object) -> "Everything":
        assert pattern == RULE["not_from"]
        return self

    def origin(self, text: str, work: Work, *, exact: bool) -> str:
        spend(work, 1_000)
        return "report ab" if text or exact else ""

    def origin_of_parts(self, parts: Sequence[str], work: Work) -> str:
        return self.origin(" ".join(parts), work, exact=False)


def policy(**more: object):
    document = {"policy_id": "role:r", "resources": ["**"], "sequence": [{**RULE, **more}]}
    return index_policies({"role:r": compile_policy(parse_policy(json.dumps(document).encode()))})


HEARING = PLAIN._replace(tables=Lookups(heard=Everything()))


def test_a_decision_and_its_explanation_say_the_same():
    verdict = decide(policy(), ANN, "tool:bank/pay", {"to": "eve"}, HEARING)
    told = explain(policy(), ANN, "tool:bank/pay", {"to": "eve"}, HEARING)
    assert (verdict.reason, verdict.detail) == ("SEQUENCE_PROVENANCE", "/sequence/0 report ab")
    assert (told["reason"], told["decided_by"]["at"]) == ("SEQUENCE_PROVENANCE", verdict.detail)
    assert told["to_caller"] == {"outcome": "denied", "reason": "SEQUENCE_PROVENANCE"}


@pytest.mark.parametrize("body", [HIDDEN, OPAQUE])
def test_a_value_that_travels_beside_the_call_cannot_be_judged(body):
    """Where nothing came from the source, it need not be."""
    assert decide(policy(), ANN, "tool:bank/pay", {"to": body}, HEARING).reason == "BODY_UNSEEN"
    assert decide(policy(argument="note"), ANN, "tool:bank/pay", {"to": body}, HEARING).outcome == "allowed"
    assert decide(policy(), ANN, "tool:bank/pay", {"to": body}).outcome == "allowed"


def test_looking_costs_work_and_is_bounded():
    work = new_work()
    verdict = decide(policy(), ANN, "tool:bank/pay", {"to": [""] * 11_000}, HEARING, work)
    assert (verdict.reason, work[0] < 0) == ("LIMIT_EXCEEDED", True)


def test_values_that_are_no_texts_are_not_looked_at():
    assert decide(policy(), ANN, "tool:bank/pay", {"a": None, "b": [True, {}]}, HEARING).outcome == "allowed"
    assert decide(policy(), ANN, "tool:bank/pay", {"b": [{"c": {}}]}, HEARING).reason == "SEQUENCE_PROVENANCE"
    assert decide(policy(), ANN, "tool:bank/pay", {"b": [{"eve@x": {}}]}, HEARING).outcome == "denied"
    assert decide(policy(), ANN, "tool:bank/pay", {"eve@x": None}, HEARING).outcome == "allowed"


def test_the_rule_in_words_and_its_warnings():
    (rule,) = policy(argument=["to", "cc[*]"], **{"else": "boss"}).by_id["role:r"].policy.document.sequence
    assert rule_in_words(rule) == (
        "to, cc[*] not from results of tool:web/* that no person said, unless boss is attested"
    )
    text = {"policy_id": "role:r", "sequence": [{**RULE, "not_from": "tool:web/[a-z]"}]}
    found = list(never_meets(parse_policy(json.dumps(text).encode())))
    assert ("W_ORDINARY", "/sequence/0/not_from", "") in found
