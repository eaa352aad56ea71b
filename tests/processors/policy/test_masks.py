"""`masked_parameters`, decided by the engine and by the slow reference: and a further mask never lets more through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.calls.parameters import parse_parameters
from processors.policy import limits
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.delegation import Hop, parse_scope
from processors.policy.documents import parse_inline, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.evaluation import new_work
from processors.policy.insight.effective import lines_of, merged
from processors.policy.insight.explain import explain
from processors.policy.masks import covering, is_named, is_within, judge_mask
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from tests.mapl_strategies import NOW, faults
from tests.reference import mapl

NOTE = "tool:crm/note"
PATHS = ["text", "o", "o.k", "l[*]", "l[*].k", "l[0]", "l[1].k", "*", "o.k.k", "caf\u00e9"]
WRONG = ["", "a..b", "a*", "a[x]", "*.a", "a[-1]", "**"]
paths = st.sampled_from(PATHS)
texts = st.sampled_from(["x", "", 5, None, True])
values: st.SearchStrategy[Any] = st.recursive(
    texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["k", "x"]), inner, max_size=2),
    max_leaves=4,
)
calls = st.dictionaries(st.sampled_from(["text", "o", "l", "o.k", "l[*]", "caf\u00e9", "n"]), values, max_size=4)
masks = st.dictionaries(
    st.sampled_from(["**", "tool:crm/*", "TOOL:CRM/NOTE", "tool:other/*", "tool:crm/note"]),
    st.lists(paths, max_size=3),
    max_size=2,
)
maskable = st.lists(paths, max_size=4, unique=True)


def document(policy_id: str, found: Any, **more: Any) -> str:
    return json.dumps({"policy_id": policy_id, "constraints": {"masked_parameters": found}, **more})


def decided(some: dict[str, str], parameters: Any, declared: list[str]) -> tuple[Verdict, Any]:
    """Decide a call, and look that the explanation says the same."""
    index = index_policies({name: compile_policy(parse_policy(text.encode())) for name, text in some.items()})
    subject = Subject(principal="u", user="u", roles=("r", "s"))
    value = parse_parameters(json.dumps(parameters)).value
    call = Circumstances(NOW, maskable=tuple(declared))
    verdict, told = decide(index, subject, NOTE, value, call), explain(index, subject, NOTE, value, call)
    assert (told["outcome"], told["reason"]) == (str(verdict.outcome), verdict.reason or "ALLOWED")
    assert told.get("masks", []) == list(verdict.masks)
    return verdict, told


def of_reference(some: dict[str, str], parameters: Any, declared: list[str]) -> mapl.Verdict:
    world = mapl.World(some, {"u": {"user": "u", "roles": ["r", "s"]}})
    return mapl.evaluate(world, mapl.Call(NOTE, NOW, ["u"], json.dumps(parameters), maskable=declared))


@settings(max_examples=600, deadline=None)
@given(masks, masks, masks, calls, maskable)
def test_every_call_is_masked_alike(of_role, of_other, of_resource, parameters, declared):
    """Outcome, reason, stage and paths, with two roles of which one grants; also without the last document."""
    some = {
        "role:r": document("role:r", of_role, resources=["**"]),
        "role:s": document("role:s", of_other, resources=["data:**"]),
        "tool:crm": document("tool:crm", of_resource),
    }
    verdict, _ = decided(some, parameters, declared)
    theirs = of_reference(some, parameters, declared)
    assert (str(verdict.outcome), verdict.reason or "ALLOWED", verdict.stage.number, list(verdict.masks)) == (
        theirs.outcome, theirs.reason, theirs.stage, theirs.masks,
    ), theirs  # fmt: skip
    fewer, _ = decided({name: text for name, text in some.items() if name != "tool:crm"}, parameters, declared)
    if verdict.outcome == "allowed":
        assert fewer.outcome == "allowed"
        assert set(fewer.masks) <= set(verdict.masks)


@settings(max_examples=300, deadline=None)
@given(masks, calls, maskable, maskable)
def test_a_further_declared_path_only_opens_what_is_masked_then(some, parameters, declared, more):
    """What a policy masks never depends on the tool; only whether the call may pass does."""
    texts = {"role:r": document("role:r", some, resources=["**"])}
    narrow, _ = decided(texts, parameters, declared)
    wide, _ = decided(texts, parameters, [*declared, *more])
    if narrow.outcome == "allowed":
        assert (wide.outcome, wide.masks) == (narrow.outcome, narrow.masks)


def test_an_answer_that_nobody_carries_out_is_a_denial():
    """Advice and hosts mask nothing, so they do not let pass what should be masked."""
    some = {"role:r": document("role:r", {NOTE: ["text"]}, resources=["**"])}

    assert decided(some, {"text": "x"}, [])[0].reason == "PARAM_NOT_MASKABLE"
    assert decided(some, {"other": "x"}, [])[0].outcome == "allowed"


def test_of_several_subjects_the_masks_of_each_count():
    some = {
        "user:a": document("user:a", {"**": ["text"]}, resources=["**"]),
        "service:b": document("service:b", {"**": ["o"]}, resources=["**"]),
    }
    index = index_policies({name: compile_policy(parse_policy(text.encode())) for name, text in some.items()})
    pair = [Subject(principal="a", user="a"), Subject(principal="b", service="b", type="service")]
    verdict = decide(
        index, pair, NOTE, {"text": "x", "o": "y"}, Circumstances(NOW, hops=(_hop(),), bound=True, maskable=("*",))
    )

    assert (str(verdict.outcome), verdict.masks) == ("allowed", ("o", "text"))


def _hop() -> Hop:
    scope = parse_scope(b'{"resources": ["**"]}')
    return Hop(delegator="a", delegate="b", scope=scope, expires_at=NOW + 1, revoked=False)


def test_the_explanation_has_each_path_with_what_it_says():
    some = {"role:r": document("role:r", {NOTE: ["text", "o.k", "l"]}, resources=["**"])}
    _, told = decided(some, {"text": "x", "o": "y"}, ["text"])
    checks = {one["path"]: one["result"] for one in told["checks"] if "masked" in one["at"]}

    assert checks == {"text": "masks", "o.k": "PARAM_TYPE", "l": "no match"}


# ---- documents

forms = st.sampled_from(
    [{NOTE: WRONG[:1]}, *({NOTE: [path]} for path in WRONG), {"text": ["a"]}, {NOTE: "text"}, {NOTE: [5]}, [], 5,
     {"tool:a*b*": ["*"]}, {"": ["a"]}, {NOTE: []}, {}, {NOTE: ["a"] * (limits.PATHS_MAX + 1)},
     {f"tool:{at}": [] for at in range(limits.OPKEYS_MAX + 1)}]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(forms | masks)
def test_a_document_is_taken_or_refused_alike(found):
    text = document("role:r", found)
    ours = faults(lambda one: parse_policy(one.encode()), PolicyError, text)
    assert ours == faults(mapl.parse_document, mapl.RefusedError, text)
    inline = json.dumps({"constraints": {"masked_parameters": found}})
    ours = faults(lambda one: parse_inline(one.encode()), PolicyError, inline)
    assert ours == faults(lambda one: mapl.parse_document(one, inline=True), mapl.RefusedError, inline)
    assert ours == "E_UNKNOWN_FIELD"


def test_before_the_engine_that_brought_it_the_member_is_unknown():
    text = document("role:r", {NOTE: ["text"]}).encode()

    with pytest.raises(PolicyError, match="E_UNKNOWN_FIELD"):
        parse_policy(text, detecting=False)


def test_documents_together_mask_the_paths_of_each():
    read = [
        parse_policy(document("role:r", {NOTE: ["text", "o"]}).encode()),
        parse_policy(document("role:s", {NOTE: ["l", "text"]}).encode()),
    ]

    assert merged(read)["masked_parameters"] == {NOTE: ["text", "o", "l"]}
    assert [(one.kind, one.scope, one.says) for one in lines_of(read[0])] == [
        ("masked parameters", NOTE, "text, o"),
    ]


# ---- places


def test_a_path_leads_to_what_stands_at_and_below_it():
    assert is_within("o", ("o", "k", 0))
    assert is_within("l[*].k", ("l", 7, "k"))
    assert is_within("*", ("anything",))
    assert not is_within("*", ())
    assert not is_within("o.k", ("o",))
    assert not is_within("l[0]", ("l", 1))
    assert not is_within("l[*]", ("l", "0"))
    assert covering(("l[0]", "l", "*"), ("l", 1)) == "l"
    assert covering(("a",), ("b",)) is None
    assert is_named("o.k", ("o.k", "x"))
    assert not is_within("o.k", ("o.k",))


def test_looking_for_a_path_is_paid():
    work = new_work()
    judge_mask("l[*].k", {"l": [{"k": 1}] * 50}, ("l",), work)

    assert work[0] < limits.WORK_UNITS_MAX - 50 * limits.REACHED_VALUE_UNITS
