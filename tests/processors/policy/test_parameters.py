"""Constraints on parameters: every form, every path, in both positions, and what they may spend."""

import json
from typing import Any

import pytest

from processors.calls.parameters import parse_parameters
from processors.policy import limits
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import decide
from processors.policy.documents import parse_policy
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict

EVE = Subject(user="eve")


def judged(constraints: dict[str, Any], params: Any) -> Verdict:
    document = {"policy_id": "user:eve", "resources": ["**"], "constraints": constraints}
    policy = compile_policy(parse_policy(json.dumps(document).encode()))
    text = params if isinstance(params, str) else json.dumps(params)
    return decide({policy.policy_id: policy}, EVE, "tool:x", parse_parameters(text).value)


def granting(specs: dict[str, Any]) -> dict[str, CompiledPolicy]:
    document = {"policy_id": "user:eve", "resources": ["**"], "constraints": {"parameters": {"**": specs}}}
    return {"user:eve": compile_policy(parse_policy(json.dumps(document).encode()))}


def reason(constraints: dict[str, Any], params: Any) -> str:
    return judged(constraints, params).reason or "ALLOWED"


def of(path: str, spec: Any, params: Any) -> str:
    return reason({"parameters": {"**": {path: spec}}}, params).removeprefix("PARAM_")


def denies(path: str, items: list[Any], params: Any) -> str:
    return reason({"denied_parameters": {"**": {path: items}}}, params).removeprefix("PARAM_")


UNSAFE = "\u0301" * 40  # more marks on one letter than are normalised: it cannot be inspected
SPECS = [
    # bounds mean numbers, ends included
    ({"min": 0, "max": 5}, [(0, ""), (5, ""), (5.0, ""), (-0.1, "OUT_OF_RANGE"), (5.1, "OUT_OF_RANGE"),
    ("3", "TYPE"), (True, "TYPE")]),
    ({"range": [0, 0.5]}, [(0.5, ""), (0.51, "OUT_OF_RANGE"), ([0], "TYPE"), (None, "TYPE")]),
    ({"min": 1}, [(1e300, ""), (0, "OUT_OF_RANGE")]),
    # types
    ({"type": "integer"}, [(5, ""), (5.0, ""), (1e21, ""), (5.5, "TYPE"), (True, "TYPE"), ("5", "TYPE")]),
    ({"type": "integer", "max": 5}, [(5, ""), (4.5, "TYPE"), (6.5, "TYPE"), (6, "OUT_OF_RANGE")]),
    ({"type": "number"}, [(5.5, ""), (False, "TYPE")]),
    ({"type": "string"}, [("", ""), (5, "TYPE")]),
    ({"type": "boolean"}, [(False, ""), (0, "TYPE")]),
    ({"type": "array"}, [([], ""), ({}, "TYPE")]),
    ({"type": "object"}, [({}, ""), ([], "TYPE")]),
    # patterns match the entire text
    ({"pattern": "[a-z]+"}, [("abc", ""), ("abc\n", "PATTERN"), ("", "PATTERN"), ("ABC", "PATTERN"), (5, "TYPE"),
    ("xabc1", "PATTERN")]),
    ({"pattern": "a|ab"}, [("ab", ""), ("a", ""), ("abb", "PATTERN")]),
    ({"pattern": "caf\u00e9"}, [("cafe\u0301", ""), ("cafe", "PATTERN")]),
    ({"pattern": ".*"}, [("a\nb", "PATTERN"), ("ab", ""), (UNSAFE, "PATTERN")]),
    ({"pattern": "(?s).*"}, [("a\nb", "")]),
    ({"pattern": "a$"}, [("a", ""), ("a\n", "PATTERN")]),
    # sizes
    ({"min_length": 1, "max_length": 2}, [("", "SIZE"), ("ab", ""), ("abc", "SIZE"), ("e\u0301e\u0301", ""),
    (5, "TYPE")]),
    ({"max_length": 2}, [("", ""), ("abc", "SIZE"), (UNSAFE, "SIZE")]),
    ({"min_length": 2}, [("a", "SIZE"), ("abc", ""), (UNSAFE, "SIZE")]),
    ({"max_items": 1}, [([], ""), ([1, 2], "SIZE")]),
    ({"min_items": 1}, [([], "SIZE"), ([1, 2], "")]),
    ({"min_items": 1, "max_items": 2}, [([], "SIZE"), ([1, 2], ""), ([1, 2, 3], "SIZE"), ("ab", "TYPE"),
    ({"a": 1}, "TYPE")]),
    # required, and null
    ({"required": True}, [(False, ""), (None, "REQUIRED"), ("", "")]),
    ({"required": False}, [(1, ""), (None, "TYPE")]),
    ([None, 5], [(None, ""), (5, ""), (0, "NOT_ALLOWED")]),
    ({"allowed_values": [None], "required": True}, [(None, "REQUIRED"), (5, "NOT_ALLOWED")]),
    ({"allowed_values": [None, 5], "max": 9}, [(None, "TYPE"), (5, "")]),
    # members with stars are patterns in grant position
    (["a*"], [("abc", ""), ("a/b", "NOT_ALLOWED"), ("A", "NOT_ALLOWED"), (5, "NOT_ALLOWED"), ("xa", "NOT_ALLOWED")]),
    (["/data/**"], [("/data/x/y", ""), ("/data/../etc", "NOT_ALLOWED"), ("/data/x/..", "NOT_ALLOWED"),
    ("/data/.", "NOT_ALLOWED"),
                    ("/data/%2e%2e/x", "NOT_ALLOWED"), ("/data/%252e%252e/x", "NOT_ALLOWED"), ("/data/a..b", ""),
                    ("/data/...", ""),
                    ("/data/\\..\\x", "NOT_ALLOWED"), ("/data/file:../x", "NOT_ALLOWED"),
                    ("/data/%25252525", "NOT_ALLOWED")]),
    (["*@corp.com"], [("a@corp.com", ""), ("a@corp.com.evil", "NOT_ALLOWED"), ("a/b@corp.com", "NOT_ALLOWED")]),
    (["*"], [("", ""), (5, ""), ([], ""), ({"k": None}, ""), (None, "TYPE")]),
    (["**", 5], [("a/b", ""), (False, "")]),
    (["a?c"], [("a?c", ""), ("abc", "NOT_ALLOWED")]),
    (["/../*"], [("/../*", "NOT_ALLOWED"), ("/../a", "NOT_ALLOWED")]),
    (["**/x"], [("**/x", ""), (UNSAFE + "/x", "NOT_ALLOWED")]),
    ([{"k": [1, None]}], [({"k": [1.0, None]}, ""), ({"k": [1]}, "NOT_ALLOWED"), ([{"k": [1, None]}], "NOT_ALLOWED")]),
    # order: required, type, values, bounds, pattern, sizes
    ({"allowed_values": ["a"], "max": 5}, [("a", "TYPE"), (3, "NOT_ALLOWED"), (9, "NOT_ALLOWED")]),
    ({"allowed_values": [9], "max": 5}, [(9, "OUT_OF_RANGE")]),
    ({"type": "integer", "allowed_values": ["*"]}, [("a", "TYPE"), (5, "")]),
    ({"type": "string", "allowed_values": ["a"], "pattern": "a"}, [(5, "TYPE"), ("b", "NOT_ALLOWED"), ("a", "")]),
    ({"allowed_values": ["a", "c"], "pattern": "a+", "max_length": 2}, [("b", "NOT_ALLOWED"), ("c", "PATTERN")]),
    ({"pattern": "a+", "max_length": 2}, [("bbb", "PATTERN"), ("aaa", "SIZE"), ("aa", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "values"), SPECS, ids=lambda value: json.dumps(value)[:50])
def test_a_value_is_held_against_every_keyword(spec, values):
    """At the top and inside, alike; absent passes unless it is required."""
    for value, expected in values:
        assert of("n", spec, {"n": value}) == (expected or "ALLOWED"), value
        assert of("o.n", spec, {"o": {"n": value}}) == (expected or "ALLOWED"), value
        assert of("l[*]", spec, {"l": [value]}) == (expected or "ALLOWED"), value
    required = isinstance(spec, dict) and spec.get("required") is True
    assert of("n", spec, {}) == ("REQUIRED" if required else "ALLOWED")


@pytest.mark.parametrize(
    ("path", "params", "expected"),
    [
        ("a.b", {"a": {"b": 1}}, "ALLOWED"),
        ("a.b", {"a": {"b": 2}}, "NOT_ALLOWED"),
        ("a.b", {"a.b": 2}, "NOT_ALLOWED"),
        ("a.b", {"a": {"b": 1}, "a.b": 2}, "NOT_ALLOWED"),
        ("a.b", {"a": {}}, "ALLOWED"),
        ("a.b", {"a": None}, "TYPE"),
        ("a.b", {"a": [{"b": 1}]}, "TYPE"),
        ("a.b", {"a": "b"}, "TYPE"),
        ("a[0]", {"a": [1, 2]}, "ALLOWED"),
        ("a[1]", {"a": [1, 2]}, "NOT_ALLOWED"),
        ("a[2]", {"a": [1, 2]}, "ALLOWED"),
        ("a[0]", {"a": {"0": 2}}, "TYPE"),
        ("a[*]", {"a": [1, 1, 2]}, "NOT_ALLOWED"),
        ("a[*]", {"a": []}, "ALLOWED"),
        ("a[*]", {"a[*]": 2}, "NOT_ALLOWED"),
        ("a[*].b", {"a": [{"b": 1}, {}]}, "ALLOWED"),
        ("a[*].b", {"a": [{"b": 1}, 5]}, "TYPE"),
        ("a[*][*]", {"a": [[1], [1, 2]]}, "NOT_ALLOWED"),
        ("a.\u00e9", {"a": {"e\u0301": 2}}, "NOT_ALLOWED"),
        ("a.K", {"a": {"\u212a": 2}}, "NOT_ALLOWED"),
    ],
)
def test_a_path_leads_to_every_value_and_through_no_other_type(path, params, expected):
    """Arrays are entered with `[*]` only; a name is one however it is composed; the literal member is checked too."""
    assert of(path, [1], params) == expected


def test_a_required_path_needs_a_value_at_its_end():
    """With `[*]` at least one element; a literal member of that name counts."""
    required = {"required": True}

    for path, params, expected in (
        ("a.b", {}, "REQUIRED"), ("a.b", {"a": {}}, "REQUIRED"), ("a.b", {"a": {"b": None}}, "REQUIRED"),
        ("a.b", {"a": 5}, "TYPE"), ("a.b", {"a.b": 1}, "ALLOWED"), ("a[*]", {"a": []}, "REQUIRED"),
        ("a[*]", {"a": [0]}, "ALLOWED"), ("a[*]", {"a": [0, None]}, "REQUIRED"),
        ("a[*].b", {"a": [{}, {"b": 1}]}, "ALLOWED"),
    ):  # fmt: skip
        assert of(path, required, params) == expected, (path, params)


def test_each_keyword_is_asked_of_every_value_before_the_next():
    """Of several faults under one path the earlier keyword is told, not the earlier value."""
    assert of("l[*]", {"type": "number", "max": 5}, {"l": [9, "x"]}) == "TYPE"
    assert of("l[*]", {"pattern": "a+", "max_length": 2}, {"l": ["aaa", "b"]}) == "PATTERN"


@pytest.mark.parametrize(
    ("items", "value", "expected"),
    [
        (["*drop*table*"], "DrOp  \uff34able users", "DENIED"),
        (["*drop*"], "dr\u00adop it", "DENIED"),
        (["*drop*"], "dr\u200bop", "DENIED"),
        (["stra\u00dfe"], "STRASSE", "DENIED"),
        (["a?c"], "abc", "DENIED"),
        (["a?c"], "a\nc", "DENIED"),
        (["a?c"], "ac", "ALLOWED"),
        (["a.c"], "abc", "ALLOWED"),
        (["x"], "y", "ALLOWED"),
        (["5*"], 51, "DENIED"),
        (["tr*"], True, "DENIED"),
        (["n*"], None, "DENIED"),
        (["*4111*"], 4111111111111111, "DENIED"),
        (["*4111*"], [{"card": 4111111111111111}], "DENIED"),
        ([4111], [{"card": [4111.0]}], "DENIED"),
        (["-0"], -0.0, "ALLOWED"),
        (["\uff0a"], "*", "DENIED"),
        (["\uff0a"], "abc", "ALLOWED"),
        ([5], 5.0, "DENIED"),
        ([5], "5", "DENIED"),
        ([5], 50, "ALLOWED"),
        ([True], "TRUE", "DENIED"),
        ([True], 1, "ALLOWED"),
        ([None], None, "DENIED"),
        ([None], "NULL", "DENIED"),
        ([None], "", "ALLOWED"),
        (["x"], {"k": ["y", {"z": "X"}]}, "DENIED"),
        (["secret"], {"k": {"SECRET": 1}}, "DENIED"),
        ([[1, 2]], [1, 2.0], "DENIED"),
        ([[1, 2]], [[1, 2], 3], "DENIED"),
        ([{"a": 1}], {"a": 1, "b": 2}, "ALLOWED"),
        ([{"a": "\u00e9"}], {"a": "e\u0301"}, "DENIED"),
        ([[1]], {"k": [1]}, "DENIED"),
        ([[1]], {"k": {"l": [0, [1]]}}, "DENIED"),
        ([], "anything", "ALLOWED"),
        ([], UNSAFE, "ALLOWED"),
        (["x"], '"x"', "ALLOWED"),
        (["x"], UNSAFE, "DENIED"),
    ],
)
def test_no_spelling_of_a_denied_value_passes(items, value, expected):
    """Both sides are folded, and the value is searched whole; what cannot be inspected is not let through."""
    assert denies("v", items, {"v": value}) == expected
    assert denies("o.v", items, {"o": {"v": value}}) == expected
    assert denies("v", items, {}) == "ALLOWED"


def test_the_path_star_searches_everything_everywhere():
    """Strings, member names, numbers, booleans, null, arrays and objects, as below a path that is named."""
    for params, expected in (
        ({"a": {"b": [{"mySEKRET": 1}]}}, "DENIED"), ({"a": [["x sekret"]]}, "DENIED"), ({"sekret": None}, "DENIED"),
        ({"a": 7}, "DENIED"), ({"a": "7"}, "DENIED"), ({}, "ALLOWED"), ({"a": [{"b": 8}]}, "DENIED"),
        ({"a": True}, "DENIED"), ({"a": [None]}, "DENIED"), ({"a": {"b": [1, 2]}}, "DENIED"), ({"a": [1]}, "ALLOWED"),
    ):  # fmt: skip
        assert denies("*", ["*sekret*", "7", 8, True, None, [1, 2]], params) == expected, params
    assert denies("*", [{"a": 1}], {"a": 1}) == "DENIED"
    assert denies("l[*].k", ["x"], {"l": [{"k": "y"}, 5]}) == "TYPE"


def test_a_list_without_items_denies_nothing_but_asks_for_the_way_to_its_path():
    """Not even what cannot be inspected; a path through another type is no path."""
    for path in ("*", "v"):
        assert denies(path, [], {"v": UNSAFE}) == "ALLOWED"
    assert denies("o.v", [], {"o": 5}) == "TYPE"


def test_arrays_and_objects_cost_where_such_an_item_is_denied():
    """As much as they are long; where only texts are denied they are not written down."""
    long = {"v": ["a" * (limits.WORK_UNITS_MAX * 6 // 10)]}
    assert denies("v", ["x"], long) == "ALLOWED"
    assert denies("v", [[1]], long) == "LIMIT_EXCEEDED"


def test_what_an_allowed_value_costs():
    """A literal nothing; an array or object as much as it is long, where one is allowed."""
    literal = "\u00e9" * 10_000
    often = {"l": [literal] * (limits.WORK_UNITS_MAX // 20_000 + 1)}
    assert decide(granting({"l[*]": [literal]}), EVE, "tool:x", often).reason == ""

    long = {"l": [["a" * (limits.WORK_UNITS_MAX * 6 // 10 // limits.KEY_BYTE_UNITS)]] * 2}
    assert of("l[*]", ["a"], long) == "NOT_ALLOWED"
    assert of("l[*]", ["a", [1]], {"l": long["l"][:1]}) == "NOT_ALLOWED"
    once = {"l": [["a" * (limits.WORK_UNITS_MAX * 11 // 10)]]}
    assert of("l[*]", ["a"], once) == "NOT_ALLOWED"
    assert reason({"parameters": {"**": {"l[*]": ["a", [1]]}}}, once) == "LIMIT_EXCEEDED"


def test_the_short_form_is_a_path_of_every_operation():
    """Paths without an operation key, as the paper writes them."""
    assert reason({"parameters": {"n": [1]}}, {"n": 2}) == "PARAM_NOT_ALLOWED"
    assert reason({"parameters": {"a.b": {"max": 1}}}, {"a": {"b": 2}}) == "PARAM_OUT_OF_RANGE"
    assert reason({"denied_parameters": {"*": ["x"]}}, {"n": "X"}) == "PARAM_DENIED"
    assert judged({"parameters": {"n": [1]}}, {"n": 2}).path == "n"


def test_a_decision_may_spend_only_so_much():
    """Units, not time: a large text against many expressions, many items, many values is denied on any machine."""
    text = {"s": "a" * 200_000}
    many = {"parameters": {"**": {"s": {"pattern": "(a|b|ab)*c{1,50}"}}}}
    assert reason(many, text) == "LIMIT_EXCEEDED"
    assert reason({"denied_parameters": {"*": [f"*{at}*" for at in range(60)]}}, text) == "LIMIT_EXCEEDED"
    assert reason({"parameters": {"s": [f"{at}*" for at in range(60)]}}, text) == "LIMIT_EXCEEDED"
    keys = {f"{'*' * at}": {"l[*]": ["a"]} for at in range(1, 250)}
    assert reason({"parameters": keys}, {"l": ["a"] * 4000}) == "LIMIT_EXCEEDED"
    assert reason({"parameters": {"s": {"pattern": "a*"}}}, text) == "ALLOWED"
