"""Calls that are heard and denied before any policy is asked: each is a decision on the log."""

import pytest

from schemas.records import Prompt
from tests.builders import invocation
from tests.world import Office


@pytest.fixture
def office() -> Office:
    """A tenant at work."""
    return Office.opened()


MALFORMED = [
    ("", "syntax"), ('{"x":NaN}', "syntax"), ("{'x':1}", "syntax"), ("\ufeff{}", "bom"), ('{"n":1,"n":2}', "duplicate"),
    ('{"n":9007199254740993}', "number"), ('{"n":1e999}', "number"), ('{"s":"\\ud800"}', "surrogate"),
    ('{"q":' + "[" * 33 + "]" * 33 + "}", "depth"), ('{"q":[' + "0," * 17_000 + "0]}", "nodes"), ("{} {}", "trailing"),
    ("[]", "object"), ("null", "object"), ('"{}"', "object"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "cause"), MALFORMED)
def test_malformed_parameters_are_a_denied_decision_that_names_the_cause(office, text, cause):
    """A call with such parameters was heard: it is denied on the log, the caller is told, no tool is."""
    world = office.world
    before = world.rows(without=["sequences"])

    folded = office.call(text)
    assert folded.says == ("denied", "MALFORMED_PARAMETERS")
    (decision,), (result,) = folded.decisions, folded.results
    assert (decision.outcome, decision.reason, decision.detail) == ("denied", "MALFORMED_PARAMETERS", cause)
    assert (decision.tool, decision.execute_before, decision.payload_sha256) == (None, None, None)
    assert (result.outcome, result.to, result.decision) == ("denied", office.session.kid, folded.decision_leaf)
    assert all(output.payload is None and output.recipients == () for output in folded.outputs)
    assert world.rows(without=["sequences"]) == before
    assert office.call().says == ("allowed", "")


def test_a_prompt_that_names_no_parameter_denies_the_call(office):
    """What narrows a call is never dropped."""
    folded = office.world.send(invocation(office.resource, prompts=[Prompt(path="$.q", policy="{}")]), office.session)

    assert folded.says == ("denied", "PROMPT_MISMATCH")
    assert not office.world.tables.calls.rows


def test_no_parameter_value_stands_in_a_refusal(office):
    """A denial says where and why, never what the caller sent."""
    secret = "correct horse battery staple"
    folded = office.call('{"x":"' + secret + '","x":1}')

    assert folded.says == ("denied", "MALFORMED_PARAMETERS")
    assert all(secret.encode() not in (output.value or b"") for output in folded.outputs)


@pytest.mark.parametrize("marks", ["\u0300\u0316" * 8000, "a" + "\u0301" * 31])
def test_texts_that_cost_the_square_of_their_length_are_not_normalised(marks):
    """A run of combining marks in a name or value is refused before Unicode's rules are applied to it."""
    office = Office.opened("marks")

    assert office.call({marks: 1}).says == ("denied", "MALFORMED_PARAMETERS")
    assert office.world.call(office.session, f"tool:{marks}", {}).says[0] == "denied"
    assert office.call({"text": marks}).says == ("allowed", "")
