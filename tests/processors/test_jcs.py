"""The JSON reader and writer: third-party vectors, a reference twin, and one refusal for each cause."""

import json
import struct
import sys
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.proof import jcs
from tests.reference import jcs_reference

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "jcs_vectors.jsonl").read_text(encoding="utf-8").splitlines()
]

# RFC 8785, appendix B: the bits of a double and its text.
APPENDIX_B = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]

characters = st.characters(exclude_categories=["Cs"])
integers = st.integers(-jcs.INTEGER_MAX, jcs.INTEGER_MAX)
doubles = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers | doubles | st.text(characters)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(characters), inner), max_leaves=12
)


def cause(text: bytes, **limits: int) -> str:
    with pytest.raises(jcs.MalformedJSONError) as raised:
        jcs.parse_strict(text, **limits)
    return raised.value.cause


def read_or_cause(text: bytes) -> tuple[object, str]:
    try:
        return jcs.parse_strict(text), ""
    except jcs.MalformedJSONError as error:
        return None, error.cause


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: f"{row['source']}-{row['name']}")
def test_third_party_vectors_are_met(row):
    """Every row's value is written as the row's bytes."""
    if "input_json" in row:
        value, expected = row["input_json"], row["expected"]["canonical_utf8_hex"]
    else:
        value, expected = json.loads(row["input"]), row["outhex"]
    if row.get("clause") == "a2a-spec-8.4.1-rule-3":
        value = {name: member for name, member in value.items() if name != "signatures"}

    assert jcs.canonical(value) == bytes.fromhex(expected)


@pytest.mark.parametrize("row", [row for row in VECTORS if "input" in row], ids=lambda row: row["name"])
def test_third_party_texts_are_read_and_written(row):
    """The rows that are texts pass through the strict reader, alone and together with the writer."""
    text = row["input"].encode()
    expected = bytes.fromhex(row["outhex"])

    assert jcs.canonical(jcs.parse_strict(text)) == expected
    assert jcs.parse_canonical(text)[1] == expected


@pytest.mark.parametrize(("bits", "expected"), APPENDIX_B)
def test_numbers_are_written_as_in_appendix_b(bits, expected):
    """A double has the text that RFC 8785 prints for it."""
    value = struct.unpack(">d", bytes.fromhex(bits))[0]

    assert jcs.number(value) == jcs_reference.write_number(value)
    assert jcs.number(value) == expected


@given(doubles)
def test_a_number_is_written_as_the_reference_writes_it(value):
    """Shortest digits and ECMAScript's places, over all doubles."""
    assert jcs.number(value) == jcs_reference.write_number(value)


@given(values)
def test_the_writer_agrees_with_the_reference(value):
    """Fast path and slow path give the bytes of the obvious implementation."""
    assert jcs.canonical(value) == jcs_reference.canonical(value)


@given(values)
def test_what_is_written_is_read_back_as_the_same_bytes(value):
    """canonical(parse(canonical(x))) is canonical(x) wherever the reader takes the text at all."""
    written = jcs.canonical(value)
    read, why_not = read_or_cause(written)

    assert why_not in {"", "number", "duplicate"}  # 2^53 < x < 1e21; names that NFC makes equal
    if not why_not:
        assert jcs.canonical(read) == written
        assert jcs.parse_canonical(written) == (read, written)


@given(values, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_every_accepted_text_is_canonicalised_alike(value, indent, ascii_only):
    """However a text is spelt, `parse_canonical` gives what reading and writing give, and that is stable."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    read, why_not = read_or_cause(text)

    assert why_not in {"", "number", "duplicate"}
    if not why_not:
        written = jcs_reference.canonical(read)
        assert jcs.canonical(read) == written
        assert jcs.parse_canonical(text) == jcs.parse_canonical(written) == (read, written)


@given(
    st.integers(-(10**25), 10**25) | st.integers(2**53 - 4, 2**53 + 8) | st.floats(1, 1e300).map(int),
    st.integers(0, 30),
    st.sampled_from(["", "e0", "E+00", "e-3", "e7"]),
)
def test_an_integral_number_is_kept_or_refused(whole, zeros, exponent):
    """However a whole number is written: it is read as this very number, as its shortest double, or not at all."""
    text = f"{whole}.{'0' * zeros}{exponent}" if zeros else f"{whole}{exponent or '.0'}"
    read, why_not = read_or_cause(text.encode())
    written = Decimal(text)

    assert why_not in {"", "number"}
    if not why_not and isinstance(read, int):
        assert Decimal(read) == written
    elif not why_not and Fraction(written).denominator == 1:
        assert written in {Decimal(read), Decimal(repr(read))}


@given(st.binary(max_size=64) | st.text('[]{}",:\\ue+-.0123456789nulltruefalse', max_size=64).map(str.encode))
def test_only_its_own_error_escapes_the_reader(text):
    """For any bytes the reader returns a value or raises MalformedJSONError."""
    try:
        value = jcs.parse_strict(text)
    except jcs.MalformedJSONError:
        return

    assert jcs.parse_strict(jcs.canonical(value)) == value


@pytest.mark.parametrize("text", [b"1", b"1.0", b"1e0", b"10E-1", b"0.1e1"])
def test_equal_numbers_have_equal_bytes(text):
    """1, 1.0 and 1e0 are one number, and the reader makes an integer of it."""
    value = jcs.parse_strict(text)

    assert type(value) is int
    assert jcs.canonical(value) == jcs.canonical(1.0) == b"1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"-0", b"0"),
        (b"-0.0", b"0"),
        (b"1e-400", b"0"),
        (b"-1e-400", b"0"),
        (b"1e-5", b"0.00001"),
        (b"1e21", b"1e+21"),
        (b"1e300", b"1e+300"),
        (b"9007199254740992", b"9007199254740992"),
        (b"-9007199254740992", b"-9007199254740992"),
        (b"9007199254740992.0", b"9007199254740992"),
        (b"9.007199254740992e15", b"9007199254740992"),
        (b"90071992547409920e-1", b"9007199254740992"),
        (b"9007199254740991.000", b"9007199254740991"),
        (b"0.1", b"0.1"),
        (b"1e23", b"1e+23"),
        (b"100000000000000000000000.0", b"1e+23"),
        (b"99999999999999991611392.0", b"1e+23"),
        (b"0." + b"0" * 1000 + b"1e1001", b"1"),
        (b" \t\r\n{ } \n", b"{}"),
        (rb'"\ud83d\ude02\/"', '"\U0001f602/"'.encode()),
        (rb'"\\ud800"', rb'"\\ud800"'),
        (b'"a\\u0000\x7f"', b'"a\\u0000\x7f"'),
    ],
)
def test_odd_but_legal_texts_are_read(text, expected):
    """What RFC 8259 allows, and what no limit forbids, is read, and written in one form."""
    assert jcs.canonical(jcs.parse_strict(text)) == expected
    assert jcs.parse_canonical(text)[1] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"\xff", "utf8"),
        (b'"\xed\xa0\x80"', "utf8"),
        (b'"\xc0\xaf"', "utf8"),
        (b"\xef\xbb\xbf{}", "bom"),
        (b"", "syntax"),
        (b" ", "syntax"),
        (b"{", "syntax"),
        (b"[1,]", "syntax"),
        (b'{"a":1,}', "syntax"),
        (b"{'a':1}", "syntax"),
        (b'"a\nb"', "syntax"),
        (b'"\\x41"', "syntax"),
        (b"NaN", "syntax"),
        (b"[Infinity]", "syntax"),
        (b"-Infinity", "syntax"),
        (b"+1", "syntax"),
        (b".5", "syntax"),
        (b"\x00", "syntax"),
        ("\u00a01".encode(), "syntax"),
        ("1\u2003".encode(), "trailing"),
        (b"01", "trailing"),
        (b"1.", "trailing"),
        (b"{} {}", "trailing"),
        (b"{}\x00", "trailing"),
        (b'{"a":1,"a":1}', "duplicate"),
        (b'[{"b":{"a":1,"\\u0061":2}}]', "duplicate"),
        ('{"\u00e9":1,"e\u0301":2}'.encode(), "duplicate"),
        (rb'{"\u00e9":1,"e\u0301":2}', "duplicate"),
        ('{"K":1,"\u212a":2}'.encode(), "duplicate"),
        (b"9007199254740993", "number"),
        (b"-9007199254740993", "number"),
        (b"99999999999999999", "number"),
        (b"9007199254740994.0", "number"),
        (b"9007199254740993.0", "number"),
        (b"-9007199254740993.0", "number"),
        (b"90071992547409930e-1", "number"),
        (b"9007199254740993e0", "number"),
        (b"9007199254740993E+0", "number"),
        (b"0.9007199254740993e16", "number"),
        (b"9007199254740991.5", "number"),
        (b"0.99999999999999999999", "number"),
        (b"1.00000000000000000001", "number"),
        (b"1000000000000000000000001e0", "number"),
        (b"123456789012345678901234.0", "number"),
        (b"1e20", "number"),
        (b"1e400", "number"),
        (b"-1e400", "number"),
        (rb'"\ud800"', "surrogate"),
        (rb'"\uDC00\uD800"', "surrogate"),
        (rb'{"\udfff":1}', "surrogate"),
        (('{"' + "\u0301" * 31 + '": 1}').encode(), "marks"),
        (rb'["\ud83dx\ude02"]', "surrogate"),
        (b"[" * 33 + b"]" * 33, "depth"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "depth"),
        (b"[" * 100_000, "nodes"),
        (b"[" * 4000, "depth"),
        (b"[" + b"1," * 4095 + b"1]", "nodes"),
        (b"[" + b"[]," * 4095 + b"[]]", "nodes"),
    ],
)
def test_every_refusal_names_its_cause(text, expected):
    """A text that is not strict JSON is refused with one stable word."""
    assert cause(text) == expected


def test_limits_are_met_exactly():
    """The last allowed depth and count pass, one more does not."""
    assert jcs.parse_strict(b"[" * 32 + b"]" * 32)
    assert jcs.parse_strict(b"[" + b"1," * 4094 + b"1]")
    assert jcs.parse_strict(b"[[1]]", depth_max=2, nodes_max=3)
    assert cause(b"[[[1]]]", depth_max=2, nodes_max=100) == "depth"
    assert cause(b"[[1,1]]", depth_max=2, nodes_max=3) == "nodes"


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"' + b"[" * 200 + b'"}',
        rb'{"a":"\"' + b"[{" * 200 + rb'\\"}',
        rb'["\\","\"","' + b"{" * 50 + b'",[[1]]]',
        b'["' + b"," * 9000 + b'"]',
        b"[" + b"[]," * 300 + b"[]]",
    ],
)
def test_brackets_and_commas_inside_texts_do_not_count(text):
    """Only structure is counted, however the quotes are escaped."""
    assert jcs.parse_strict(text) == json.loads(text)


@given(st.text('[]{}"\\a', max_size=80))
def test_the_depth_is_judged_before_the_scanner_goes_deeper(text):
    """The count of brackets never lets the recursive scanner beyond the limit."""
    try:
        value = jcs.parse_strict(text.encode(), depth_max=3)
    except jcs.MalformedJSONError:
        return

    def depth(node):
        if isinstance(node, (list, dict)):
            return 1 + max(map(depth, node.values() if isinstance(node, dict) else node), default=0)
        return 0

    assert depth(value) <= 3


def test_the_reader_needs_no_stack_of_its_own():
    """A hundred thousand brackets are refused before anything recurses."""
    here = 0
    frame = sys._getframe()
    while frame:
        here, frame = here + 1, frame.f_back
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(here + 40)
    try:
        assert cause(b'[{"a":' * 2000) == "depth"
        assert cause(b"[" * 100_000) == "nodes"
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    "text",
    [
        b"1" * 200_000,
        b"-" + b"9" * 200_000,
        b"0." + b"1" * 200_000,
        b"1e" + b"9" * 200_000,
        b'"' + rb"\"" * 100_000,
        b"[" * 200_000,
        b'"' + b"[" * 200_000 + b'"',
        b"[" + b"]," * 100_000,
        b"[" * 40 + b"]" * 200_000,
        b'{"' + b"{" * 200_000 + b'":' * 20,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_large_texts_are_read_or_refused_quickly(text):
    """Nothing that fits into an event costs more than linear time; huge digit strings never reach int()."""
    started = time.perf_counter()
    read_or_cause(text)

    assert time.perf_counter() - started < 0.25


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**53 + 1, "number"),
        ([-(2**53) - 1], "number"),
        ([0.0, 10**400], "number"),
        (float("nan"), "number"),
        ({"a": float("inf")}, "number"),
        ((1, 2), "type"),
        ({1: 2}, "type"),
        ({None: 2}, "type"),
        ([1.0, b"x"], "type"),
        ({"a": {1, 2}}, "type"),
        ("\ud800", "surrogate"),
        ({"\udc00": 1.0}, "surrogate"),
        ({"\ud83d\ude02": 1}, "surrogate"),
    ],
)
def test_what_has_no_json_form_is_not_written(value, expected):
    """The writer refuses what a reader could not give back."""
    with pytest.raises(jcs.NotJSONError) as raised:
        jcs.canonical(value)

    assert raised.value.cause == expected


def test_a_value_that_holds_itself_is_refused():
    """A cycle meets the depth limit of the writer, not the interpreter's stack."""
    endless = []
    endless.append({"a": endless})

    with pytest.raises(jcs.NotJSONError) as raised:
        jcs.canonical(endless)

    assert raised.value.cause == "depth"


def test_names_are_ordered_by_their_utf_16_units():
    """U+10000 comes before U+E000 although it is the larger code point."""
    assert jcs.canonical({"\ue000": 1, "\U00010000": 2}) == '{"\U00010000":2,"\ue000":1}'.encode()
