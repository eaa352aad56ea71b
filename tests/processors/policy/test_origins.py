"""Rules on where a value came from, beside the log: their words, their warnings, and values that cannot be seen."""

import json
from collections.abc import Sequence

import pytest

from macaw.policies.never import never_meets
from processors.policy.call import PLAIN
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_inline, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.evaluation import HIDDEN, OPAQUE, Lookups, Work, new_work, spend
from processors.policy.insight.effective import rule_in_words
from processors.policy.insight.explain import explain
from processors.policy.resolve import Subject

ANN = Subject(principal="ann", user="ann", roles=("r",))
RULE = {"id": "r", "when": "tool:bank/**", "not_from": "tool:web/*"}


class Everything:
    """The view in which every value was heard."""

    def from_resources(self, pattern: str, work: object, *, cleared_by: str = "") -> "Everything | None":
        assert pattern == RULE["not_from"]
        return None if cleared_by == "judge" else self

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


def test_the_verifier_that_a_rule_names_is_the_one_that_is_asked():
    assert decide(policy(unless_cleared_by="verifier:judge"), ANN, "tool:bank/pay", {"to": "eve"}, HEARING).reason == ""
    told = explain(policy(unless_cleared_by="verifier:other"), ANN, "tool:bank/pay", {"to": "eve"}, HEARING)
    assert told["reason"] == "SEQUENCE_PROVENANCE"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("judge", "E_SEQUENCE"), ("verifier:", "E_SEQUENCE"), ("verifier:Judge", "E_SEQUENCE"),
        ("verifier:j", "E_SEQUENCE"), ("tool:judge", "E_SEQUENCE"), ("verifier:judge:x", "E_SEQUENCE"),
        ("verifier:" + "j" * 33, "E_SEQUENCE"), ("verifier:judge\n", "E_SEQUENCE"), ("", "E_SEQUENCE"),
        ("verifier:*", "E_SEQUENCE"), (["verifier:judge"], "E_TYPE"), (None, "E_TYPE"), (True, "E_TYPE"),
    ],
)  # fmt: skip
def test_a_rule_names_one_verifier_by_its_prefix(given, code):
    with pytest.raises(PolicyError) as refused:
        policy(unless_cleared_by=given)
    assert (refused.value.code, refused.value.pointer) == (code, "/sequence/0/unless_cleared_by")


def test_rules_of_other_kinds_and_documents_of_calls_name_no_verifier():
    rule = {"id": "r", "when": "tool:bank/**", "tainted_by": "tool:web/*", "unless_cleared_by": "verifier:judge"}
    with pytest.raises(PolicyError) as refused:
        parse_policy(json.dumps({"policy_id": "role:r", "sequence": [rule]}).encode())
    assert refused.value.code == "E_SEQUENCE"
    inline = {"sequence": [{**RULE, "unless_cleared_by": "verifier:judge"}]}
    with pytest.raises(PolicyError) as refused:
        parse_inline(json.dumps(inline).encode())
    assert refused.value.code == "E_UNKNOWN_FIELD"


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
    (rule,) = policy(unless_cleared_by="verifier:judge").by_id["role:r"].policy.document.sequence
    assert rule_in_words(rule) == (
        "every argument not from results of tool:web/* that no person said and verifier judge has not passed"
    )
    text = {"policy_id": "role:r", "sequence": [{**RULE, "not_from": "tool:web/[a-z]"}]}
    found = list(never_meets(parse_policy(json.dumps(text).encode())))
    assert ("W_ORDINARY", "/sequence/0/not_from", "") in found
