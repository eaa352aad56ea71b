"""The faster reader of parameters: it must say what the strict reader says, or nothing."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.proof import jcs

# One a line: spellings of numbers, and texts, on which readers of JSON are known to differ.
ODD_NUMBERS = """
    1.0 -0 -0.0 0.0 1e5 1E5 1e-5 1e16 1e21 1e400 0.00001 123456789012345.6 9007199254740992 9007199254740993
    -9007199254740993 18446744073709551615 18446744073709551616 10000000000000000000 1.50 0.1 5e-324
    1.7976931348623157e308 100000000000000000000.0 1234567890123456 0.30000000000000004
    9007199254740993.0 9007199254740993e0 90071992547409930e-1 9007199254740991.5 0.99999999999999999999 1e23
    1000000000000000000000001.0 99999999999999991611392.0
""".split()  # noqa: SIM905 - a page of numbers
ODD_TEXTS = (
    '{"a":1,"a":1}',
    '{"a":1,"b":{"c":1,"c":2}}',
    '{"b":1,"a":2}',
    '{"a":NaN}',
    '{"a":Infinity}',
    '{ "a":1}',
    '{"a":1} ',
    '{"a":"\\u0061"}',
    '{"é":1,"e":2}',
    '{"a":"1.0,"}',
    '{"a":"DE02120300000000202051"}',
    '{"a":"7e5"}',
    "[1,2]",
    "1",
    '"a"',
    "",
    "{",
    '{"a":tru}',
    '{"a":01}',
    '{"a":+1}',
    '{"a":.5}',
    '{"a":5.}',
    '{"a":"\x7f"}',
    '{"a":"\x01"}',
    '{"a":1}x',
    '{"":0}',
    '{"a":[]}',
    '{"a":{}}',
    "[" * 40 + "]" * 40,
    '{"a":' * 40 + "1" + "}" * 40,
    '{"' + '":0,"'.join(str(n) for n in range(3000)) + '":0}',
)


def said_by(read, text: bytes):
    try:
        return read(text)
    except jcs.MalformedJSONError as exc:
        return exc.cause


def slowly(text: bytes):
    value = jcs.parse_strict(text)
    return value, jcs.canonical(value)


def same(one, two) -> bool:
    """Equal also in the types of numbers, at any depth, and in the order of members."""
    return repr(one) == repr(two)


@pytest.mark.parametrize("text", [*ODD_TEXTS, *(f'{{"a":{n},"b":[{n},{n}]}}' for n in ODD_NUMBERS)])
def test_the_fast_reader_says_what_the_strict_one_says(text):
    """Every spelling on which two readers of JSON are known to differ."""
    assert same(said_by(jcs.parse_canonical, text.encode()), said_by(slowly, text.encode()))


NUMBERS = st.one_of(
    st.integers(-(2**54), 2**54),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, 0.5]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8), st.text("019eE.,}]-", max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.text("ab1", max_size=2), VALUES, max_size=5), st.booleans())
def test_the_fast_reader_says_what_the_strict_one_says_of_any_value(value, compact):
    """The same for whatever a writer of JSON may write."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else None)
    assert same(said_by(jcs.parse_canonical, text.encode()), said_by(slowly, text.encode()))


def test_the_fast_reader_is_used():
    """Parameters as a client writes them take the short way, digits in texts included."""
    text = b'{"iban":"DE02120300000000202051","amount":12.25,"lines":[{"n":3}],"ok":false,"none":null}'
    assert jcs._parse_plain(text) is not None
