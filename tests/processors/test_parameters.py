"""The parameters of a call: one value, one text, one digest, or one refusal."""

import hashlib
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.calls.parameters import MalformedParametersError, Parameters, parse_parameters
from processors.proof import jcs
from tests.reference import jcs_reference


def is_nfc(text: str) -> bool:
    return unicodedata.is_normalized("NFC", text)


names = st.text(st.characters(exclude_categories=["Cs", "Mn", "Mc"]), max_size=8).filter(is_nfc)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e15, 1e15, allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
objects = st.dictionaries(
    names,
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)),
)

REFUSED = [
    ('{"must":1,"x":NaN}', "syntax"),
    ('{"x":Infinity}', "syntax"),
    ('{"x":1', "syntax"),
    ("", "syntax"),
    ("\ufeff{}", "bom"),
    ('{"must":1,"n":1,"n":2}', "duplicate"),
    ('{"must":1,"\\u00e9":1,"e\\u0301":2}', "duplicate"),
    ('{"must":1,"n":9007199254740993}', "number"),
    ('{"n":1e999}', "number"),
    ('{"s":"\\ud800"}', "surrogate"),
    ('{"' + "\u0300" * 31 + '":1}', "marks"),
    ('{"s":"\ud800"}', "surrogate"),
    ('{"must":1,"q":' + "[" * 33 + "]" * 33 + "}", "depth"),
    ('{"q":' + "[" * 32 + "]" * 32 + "}", "depth"),
    ('{"q":[' + "0," * 17_000 + "0]}", "nodes"),
    ("{} {}", "trailing"),
    ("{}]", "trailing"),
    ("[]", "object"),
    ("null", "object"),
    ('"{}"', "object"),
    ("1", "object"),
]


@pytest.mark.parametrize(("text", "cause"), REFUSED)
def test_malformed_parameters_are_refused_with_their_cause(text, cause):
    """Each text is no parameters, for the reason named beside it."""
    with pytest.raises(MalformedParametersError) as raised:
        parse_parameters(text)

    assert raised.value.cause == cause


def test_every_cause_that_a_text_can_have_is_shown_above():
    """`utf8` cannot be met here: the text is already decoded."""
    assert {cause for _, cause in REFUSED} == {
        "bom", "depth", "duplicate", "marks", "nodes", "number", "object", "surrogate", "syntax", "trailing",
    }  # fmt: skip


def test_parameters_have_one_spelling_and_its_digest():
    """Two spellings of the same parameters are the same value, bytes and digest."""
    spelt = parse_parameters('{ "b": 1.0, "a": "\\u0041" }')
    plain = parse_parameters('{"a":"A","b":1}')

    assert spelt == plain
    assert spelt.canonical == b'{"a":"A","b":1}'
    assert spelt.sha256 == hashlib.sha256(spelt.canonical).digest()


def test_the_limits_of_depth_and_count_are_met_exactly():
    """The object itself is depth 1 and the first of 16,384 values."""
    assert parse_parameters('{"q":' + "[" * 31 + "]" * 31 + "}")
    assert parse_parameters('{"q":[' + "0," * 16_381 + "0]}")
    with pytest.raises(MalformedParametersError):
        parse_parameters('{"q":[' + "0," * 16_382 + "0]}")


def test_an_error_shows_nothing_of_the_parameters():
    """What a caller sent may be secret; a refusal names the cause alone."""
    with pytest.raises(MalformedParametersError) as raised:
        parse_parameters('{"password":"hunter2"')

    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


@given(objects)
def test_the_bytes_are_those_of_the_reference_and_stable(value):
    """Parsing what was written gives the same bytes and digest again."""
    parameters = parse_parameters(json.dumps(value))

    assert parameters.canonical == jcs_reference.canonical(value)
    assert jcs.canonical(parameters.value) == parameters.canonical
    assert parse_parameters(parameters.canonical.decode()) == parameters


def test_parameters_are_immutable():
    """No field can be given another value."""
    parameters = parse_parameters("{}")

    with pytest.raises(AttributeError):
        parameters.canonical = b""
    assert isinstance(parameters, Parameters)
