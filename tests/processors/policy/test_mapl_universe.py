"""The theorem of docs/mapl.md 5, over a small universe, with the reference evaluator."""

import json
import unicodedata
from hashlib import sha256

import pytest

from tests.reference.mapl import Call, World, evaluate
from tests.reference.mapl import universe as small_universe
from tests.reference.mapl.counterexamples import COUNTEREXAMPLES, Counterexample
from tests.reference.mapl.text import UNICODE_VERSION

pytestmark = pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE_VERSION, reason="the reference needs the Unicode tables of the specification"
)

NOW = small_universe.CALLS[0].now


def test_the_universe_is_large_and_its_numbers_never_move() -> None:
    """At least 10^6 triples; a number is the same triple on every machine, and its code leads back to it."""
    sample = [small_universe.triple(number) for number in small_universe.numbers(200)]
    texts = json.dumps([[one.code, small_universe.after(one)[0].policies] for one in sample], sort_keys=True)

    assert small_universe.size() == 2_727_150
    assert len(set(sample)) == 200
    assert [small_universe.from_code(one.code) for one in sample] == sample
    assert sha256(texts.encode()).hexdigest()[:16] == "ccc33ce6aa72982e"


def test_no_extension_in_a_sample_of_the_universe_raises_an_outcome() -> None:
    """The theorem of section 5; the whole search is `python -m tests.reference.mapl.universe`."""
    assert list(small_universe.violations(evaluate, 3000)) == []


def test_the_search_notices_an_evaluator_that_breaks_the_theorem() -> None:
    """An evaluator that lets a second grant override a denial is caught within the sample."""

    def lenient(world: World, call: Call) -> object:
        verdict = evaluate(world, call)
        if verdict.reason == "RESOURCE_DENIED" and "tool:a" in world.policies:
            verdict.outcome, verdict.reason = "allowed", "ALLOWED"
        return verdict

    assert next(small_universe.violations(lenient, 3000), None) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("one", COUNTEREXAMPLES, ids=lambda one: one.name)
def test_what_the_theorem_does_not_say_it_leaves_out(one: Counterexample) -> None:
    """Raises whose former reason is not NO_POLICY, from the page at its word; see NOTES.md."""
    assert (evaluate(*one.before).reason, evaluate(*one.after).reason) == one.reasons


def test_a_role_whose_resources_cannot_grant_is_no_way_around_the_theorem() -> None:
    """Read otherwise, a later grant would free its branch although the reason had been another branch's."""
    near, small = {"resources": ["tool:a/*"]}, {"parameters": {"n": {"max": 5}}}
    bodies: list[dict[str, object]] = [
        {"policy_id": "restrict:x", **near},
        {"policy_id": "role:r1", "extends": "restrict:x"},
        {"policy_id": "role:r2", **near, "constraints": small},
    ]
    texts = {str(body["policy_id"]): json.dumps(body) for body in bodies}
    subjects: dict[str, dict[str, object]] = {"u": {"user": "u", "roles": ["r1", "r2"]}}
    call = Call("tool:a/x", NOW, ["u"], '{"n": 9}')

    before = evaluate(World(texts, subjects), call)
    after = evaluate(World({**texts, "user:u": '{"policy_id":"user:u","resources":["**"]}'}, subjects), call)

    assert (before.reason, after.reason) == ("PARAM_OUT_OF_RANGE", "PARAM_OUT_OF_RANGE")
