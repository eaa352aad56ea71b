"""What is far too large, far too deep or made to be slow: refused by a limit, or done soon."""

import json

import pytest

from processors.calls.parameters import parse_parameters
from processors.policy import limits
from processors.policy.call import Circumstances
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import decide
from processors.policy.documents import parse_policy
from processors.policy.errors import PolicyError
from processors.policy.evaluation import new_work
from processors.policy.index import StoredPolicy, index_policies, index_stored
from processors.policy.publication import ADMIN, PublicationError, check_publication
from processors.policy.resolve import Subject

EVE = Subject(user="eve", roles=("r",))
pytestmark = pytest.mark.timeout(60)  # each takes less than a second; what it guards against takes minutes


def document(**members: object) -> bytes:
    return json.dumps({"policy_id": "user:eve", **members}).encode()


def constraints(**parts: object) -> bytes:
    return document(resources=["**"], constraints=parts)


def code(text: bytes) -> str:
    with pytest.raises(PolicyError) as raised:
        parse_policy(text)
    return raised.value.code


def in_force(*texts: bytes) -> dict[str, CompiledPolicy]:
    return {one.policy_id: compile_policy(one) for one in map(parse_policy, texts)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (document(description="x" * 1_000_000), "E_LIMIT"),
        (b"[" * 1_000_000, "E_LIMIT"),
        (b'{"a":' * 1_000_000, "E_LIMIT"),
        (document(resources=["tool:a"] * 10_000), "E_LIMIT"),
        (document(resources=[f"t:{at}" for at in range(10_000)]), "E_LIMIT"),
        (document(resources=["*a" * 5_000]), "E_LIMIT"),
        (document(constraints=json.loads('{"parameters":' * 16 + "{}" + "}" * 16)), "E_LIMIT"),
        (constraints(parameters={"s": {"pattern": "(((a{99}){99}){99})"}}), "E_REGEX"),
        (constraints(parameters={"s": {"pattern": "(" * 300 + ")" * 200}}), "E_REGEX"),
        (constraints(parameters={"s": {"pattern": "\\p{L}{999}" * 9}}), "E_REGEX"),
        (document(attestations=["k::{" + "(" * 1_500 + "a" + ")" * 1_500 + "}"]), "E_EXPR_LIMIT"),
        (document(attestations=["k::{" + "(" * 900 + "a" + ")" * 900 + "}"]), "E_EXPR_LIMIT"),
        (document(attestations=["k::{" + "NOT " * 500 + "a}"]), "E_EXPR_LIMIT"),
        (document(attestations=["k::{" + "a OR " * 300 + "a}"]), "E_EXPR_LIMIT"),
        (document(name="e" + "\u0301" * 20_000), "E_LIMIT"),
        (document(resources=["tool:" + "\u0301" * 400]), "E_TEXT"),
        (json.dumps({"policy_id": "a:b", "x" + "\u0301" * 100: 1}).encode(), "E_TEXT"),
    ],
    ids=range(17),
)
def test_a_document_that_is_too_much_is_refused(text, expected):
    """Each by its own limit, before it costs anything."""
    assert code(text) == expected


def test_a_hundred_documents_that_extend_each_other_are_refused():
    """A chain has sixteen documents at most, in one event or over several, and at run time too."""
    texts = [json.dumps({"policy_id": "s:0"})]
    texts += [json.dumps({"policy_id": f"s:{at}", "extends": f"s:{at - 1}"}) for at in range(1, 100)]

    with pytest.raises(PublicationError) as raised:
        check_publication({}, texts, [None] * len(texts), signer=ADMIN)
    # The first document whose chain, with all that descend from it, is too long.
    assert (raised.value.at, raised.value.code, raised.value.pointer) == (1, "E_EXTENDS_DEPTH", "/extends")

    rows = [
        (one.policy_id, one.digest, text, one.extends) for text, one in ((t, parse_policy(t.encode())) for t in texts)
    ]
    user = json.dumps({"policy_id": "user:eve", "resources": ["**"], "extends": "s:99"})
    rows.append(("user:eve", parse_policy(user.encode()).digest, user, "s:99"))
    index = index_stored(StoredPolicy(*row) for row in rows)
    assert decide(index, EVE, "tool:x", {}).reason == "POLICY_BROKEN"


def test_a_circle_of_an_older_log_breaks_the_calls_it_applies_to():
    """It cannot be published; where it is met nevertheless, nothing is allowed, and nobody waits."""
    policies = in_force(
        document(resources=["**"], extends="a:b"),
        b'{"policy_id":"a:b","extends":"a:c"}',
        b'{"policy_id":"a:c","extends":"a:b"}',
    )

    assert decide(policies, EVE, "tool:x", {}).reason == "POLICY_BROKEN"
    assert decide(policies, Subject(user="other"), "tool:x", {}).reason == "NO_POLICY"


SLOW_ELSEWHERE = [
    "(a+)+$",
    "(a|a)*b",
    "(a|aa)+$",
    "(.*a){20}",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y",
    "a?" * 150 + "a" * 150,
]


@pytest.mark.parametrize("pattern", SLOW_ELSEWHERE)
def test_an_expression_that_backtracking_engines_choke_on_is_fast(pattern):
    """RE2 takes time linear in the text; what is too large for it is a limit, not a wait."""
    policies = in_force(constraints(parameters={"s": {"pattern": pattern}}))
    for text in ("a" * 20_000 + "!", "x" * 20_000, "a" * 200_000):
        assert decide(policies, EVE, "tool:x", {"s": text}).reason in {"PARAM_PATTERN", "LIMIT_EXCEEDED", ""}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"parameters": {"**": {"l[*]": {"min": 0}}}}, "PARAM_TYPE"),
        ({"parameters": {"s": ["*a" * 16 + "!", "**b" * 16]}}, "PARAM_NOT_ALLOWED"),
        ({"denied_parameters": {"*": ["*a" * 200 + "?b"]}}, ""),
        ({"denied_parameters": {"s": ["?" * 400 + f"b{at}" for at in range(140)]}}, ""),
        ({"denied_parameters": {"o": [[], {}, {"k": 1}]}}, "PARAM_DENIED"),
        ({"parameters": {"**": {f"l[{at}]": [[1], {"k": 2}] for at in range(128)}}}, "PARAM_NOT_ALLOWED"),
        ({"attestations": [f"deny::{{s MATCHES '*a*b*c*{at}'}}" for at in range(60)]}, ""),
        ({"attestations": [f"deny::{{s MATCHES /(a*)*{at}/}}" for at in range(60)]}, "LIMIT_EXCEEDED"),
        ({"attestations": ["deny::{s IN l OR s IN l OR s IN l OR s IN l}"] * 60}, "LIMIT_EXCEEDED"),
    ],
    ids=range(9),
)
def test_parameters_as_large_as_they_may_be_are_judged_soon(parts, expected):
    """The caller chooses the parameters: against the largest of them a policy costs no more than its units."""
    deep = {"o": json.loads('{"k":' * 30 + "1" + "}" * 30), "l": ["a" * 40] * 4000, "s": "a" * 60_000}
    parameters = parse_parameters(json.dumps(deep)).value
    placed = {"attestations": parts["attestations"]} if "attestations" in parts else {"constraints": parts}
    policies = in_force(document(resources=["**"], **placed))
    assert decide(policies, EVE, "tool:x", parameters).reason == expected


def test_a_decision_that_costs_too_much_is_denied_at_the_same_unit_every_time():
    """Not at the same millisecond: a replay agrees."""
    policies = in_force(constraints(denied_parameters={"*": [f"*{at}*" for at in range(1000)]}))

    def units(count: int) -> int:
        work = new_work()
        decide(policies, EVE, "tool:x", {"l": ["a"] * count}, work=work)
        return limits.WORK_UNITS_MAX - work[0]

    leaf = units(2) - units(1)
    leaves = (limits.WORK_UNITS_MAX - units(0)) // leaf
    assert leaf == limits.ITEM_UNITS + 1 + 1000 * (limits.ITEM_UNITS + limits.PIECE_UNITS + 1)
    for count, expected in ((leaves, ""), (leaves + 1, "LIMIT_EXCEEDED")):
        verdict = decide(policies, EVE, "tool:x", {"l": ["a"] * count})
        assert verdict.reason == expected
    assert verdict.deciding == policies["user:eve"].digest


def test_the_largest_document_is_read_and_asked_soon():
    """Everything at its limit at once."""
    names = [f"tool:{at}/" + "*a" * 15 for at in range(256)]
    text = constraints(parameters={name: {"n": {"max": at}} for at, name in enumerate(names)})
    assert len(text) < limits.DOCUMENT_BYTES_MAX
    policies = in_force(text)
    for at in range(20):
        assert decide(policies, EVE, f"tool:{at}/" + "xa" * 400, {"n": 10**6}).reason == "PARAM_OUT_OF_RANGE"


def test_what_is_remembered_of_a_tenants_calls_is_bounded():
    """Callers choose names and intents as they like: plans are kept for so many, and for so many tests together."""
    index = index_policies(in_force(constraints(parameters={"**": {f"n{at}": [at] for at in range(100)}})))
    for at in range(limits.CACHED_PLANS_MAX + 100):
        decide(index, EVE, f"tool:{at}", {})
    assert len(index.plans) == limits.CACHED_PLANS_MAX
    for at in range(limits.CACHED_INLINE_MAX + 100):
        decide(index, EVE, "tool:x", {}, Circumstances(intents=(f'{{"purpose": {at}}}',)))
    assert len(index.inline_plans) == limits.CACHED_INLINE_MAX

    many = {f"{'*' * at}": {f"n{n}": [n] for n in range(7)} for at in range(1, 201)}
    heavy = index_policies(in_force(constraints(parameters=many)))
    for at in range(800):
        decide(heavy, EVE, f"tool:{at}", {})
    assert len(heavy.plans) == limits.CACHED_PLAN_TESTS_MAX // (200 * 7)


def test_a_look_up_asks_for_the_ids_of_a_call_and_no_others():
    """However many policies there are: what does not apply is not even read."""
    stored = [StoredPolicy(f"user:{at}", bytes(32), "no JSON", None) for at in range(10_000)]
    granting = document(resources=["**"]).decode()
    index = index_stored([*stored, StoredPolicy("user:eve", parse_policy(granting.encode()).digest, granting, None)])

    assert decide(index, EVE, "tool:x", {}).outcome == "allowed"
    assert decide(index, Subject(user="5"), "tool:x", {}).reason == "INTERNAL_ERROR"
