"""A call may have no parameters but those that are listed (ADR 0016)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.policy import limits
from processors.policy.decide import decide
from processors.policy.documents import parse_inline, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.insight.effective import lines_of, merged
from processors.policy.resolve import Subject
from tests.processors.policy.test_parameters import reason
from tests.processors.policy.written import policies_of


def told(paths: list[str], params: Any, **more: Any) -> str:
    return reason({"allowed_parameters": {"**": paths}, **more}, params).removeprefix("PARAM_")


@pytest.mark.parametrize(
    ("paths", "params", "wanted"),
    [
        ([], {}, "ALLOWED"),
        ([], {"a": None}, "UNLISTED"),
        (["n"], {}, "ALLOWED"),
        (["n"], {"n": {"any": [1, {"thing": 2}]}}, "ALLOWED"),
        (["n"], {"n": 1, "N": 1}, "UNLISTED"),
        (["n"], {"n ": 1}, "UNLISTED"),
        (["n"], {"\uff4e": 1}, "UNLISTED"),
        (["n"], {"n\u200b": 1}, "UNLISTED"),
        (["n"], {"": 1}, "UNLISTED"),
        (["caf\u00e9"], {"cafe\u0301": 1}, "ALLOWED"),
        (["o.caf\u00e9"], {"o": {"cafe\u0301": 1}}, "ALLOWED"),
        (["o.k"], {"o": {"k": 1}}, "ALLOWED"),
        (["o.k"], {"o": {}}, "ALLOWED"),
        (["o.k"], {"o": {"K": 1}}, "UNLISTED"),
        (["o.k"], {"o": {"k": 1, "j": None}}, "UNLISTED"),
        (["o.k"], {"o": None}, "UNLISTED"),
        (["o.k"], {"o": "k"}, "UNLISTED"),
        (["o.k"], {"o": [{"k": 1}]}, "UNLISTED"),
        (["o.k"], {"o.k": 1}, "UNLISTED"),
        (["o.k", "o"], {"o": {"j": 1}}, "ALLOWED"),
        (["l[*]"], {"l": [1, {"a": 2}]}, "ALLOWED"),
        (["l[*].p"], {"l": [{"p": 1}, {"p": 2, "q": 3}]}, "UNLISTED"),
        (["l[*].p", "l[1].q"], {"l": [{"p": 1}, {"p": 2, "q": 3}]}, "ALLOWED"),
        (["l[0]"], {"l": [1]}, "ALLOWED"),
        (["l[0]"], {"l": [1, 2]}, "UNLISTED"),
        (["l[0]"], {"l": {"0": 1}}, "UNLISTED"),
        (["l[*][*]"], {"l": [[1], [2, 3], []]}, "ALLOWED"),
        (["l[*][*]"], {"l": [[1], 2]}, "UNLISTED"),
    ],
)
def test_what_is_listed_passes_and_nothing_else(paths: list[str], params: Any, wanted: str) -> None:
    """A path lists all below it; what leads there only as far as it leads there."""
    assert told(paths, params) == wanted


def test_lists_are_met_one_and_all() -> None:
    """Every operation key that meets, in every document: what a further list says only narrows."""
    both = {"allowed_parameters": {"**": ["a", "b"], "tool:*": ["b", "c"]}}
    assert [reason(both, {name: 1}) for name in "abc"] == ["PARAM_UNLISTED", "ALLOWED", "PARAM_UNLISTED"]
    assert told(["n"], {"n": 9, "m": 1}, parameters={"**": {"n": {"max": 5}}}) == "UNLISTED"
    assert told(["n"], {"n": 9}, parameters={"**": {"n": {"max": 5}}}) == "OUT_OF_RANGE"


@given(
    st.recursive(
        st.integers(0, 3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abA"), inner, max_size=3),
        max_leaves=8,
    ),
    st.lists(st.sampled_from(["a", "b", "a.b", "a.a", "b[*]", "b[0].a", "a[*].b", "A.a[1]"]), max_size=4),
    st.lists(st.sampled_from(["a", "b.a", "a[*]", "A"]), max_size=2),
)
def test_a_longer_list_permits_more_and_a_second_list_less(value: Any, paths: list[str], more: list[str]) -> None:
    """Monotone both ways, and the whole of a parameter's name lists whatever it holds."""
    params = value if isinstance(value, dict) else {"a": value}
    first = told(paths, params)
    if first == "ALLOWED":
        assert told([*paths, *more], params) == "ALLOWED"
    else:
        two = {"allowed_parameters": {"**": paths, "tool:**": more}}
        assert reason(two, params) == "PARAM_UNLISTED"
    assert told(sorted(params), params) == "ALLOWED"


@pytest.mark.parametrize(
    ("member", "code", "at"),
    [
        ([], "E_TYPE", ""),
        ({"**": {}}, "E_TYPE", "/**"),
        ({"**": [5]}, "E_TYPE", "/**/0"),
        ({"**": ["n", "*"]}, "E_PARAM_PATH", "/**/1"),
        ({"**": ["a."]}, "E_PARAM_PATH", "/**/0"),
        ({"amount": []}, "E_PARAM_FORM", "/amount"),
        ({" *": []}, "E_PATTERN", "/ *"),
        ({"**": ["n"] * (limits.PATHS_MAX + 1)}, "E_LIMIT", "/**"),
        ({f"tool:{n}": [] for n in range(limits.OPKEYS_MAX + 1)}, "E_LIMIT", ""),
    ],
)
def test_what_is_no_list_is_refused_where_it_stands(member: Any, code: str, at: str) -> None:
    """As other constraints are."""
    text = b'{"policy_id":"a:b","constraints":{"allowed_parameters":%s}}' % json.dumps(member).encode()
    for parse in (parse_policy, parse_inline):
        with pytest.raises(PolicyError) as raised:
            parse(text)
        assert (raised.value.code, raised.value.pointer) == (code, f"/constraints/allowed_parameters{at}")


def test_looking_costs() -> None:
    """A call of as many values as there may be, under as many keys, is a bounded amount of work."""
    params = {"l": [0] * 4000}
    many = {"allowed_parameters": {f"tool:*{'*' * n}": ["l[*]"] for n in range(200)}}
    assert reason(many, params) == "LIMIT_EXCEEDED"


def test_the_caller_is_told_which_parameter_it_was() -> None:
    """By its path, as far as it can be shown."""
    documents = [{"policy_id": "user:eve", "resources": ["**"], "constraints": {"allowed_parameters": {"**": ["o.k"]}}}]
    policies = policies_of(documents)
    shown = {
        "N": {"N": 1},
        "o.j": {"o": {"k": 1, "j": 2}},
        "o[0]": {"o": [1]},
        "o": {"o": 5},
        "x" * 64: {"x" * 1000: 1},
        "": {"a\u202eb": 1},
    }
    for path, params in shown.items():
        verdict = decide(policies, Subject(user="eve"), "tool:x", params)
        assert (verdict.reason, verdict.path) == ("PARAM_UNLISTED", path)


def test_it_is_shown() -> None:
    """By document, and merged, where lists stand side by side."""
    one = {"allowed_parameters": {"tool:*": ["a", "b.c"]}}
    compiled = policies_of([{"policy_id": f"a:{n}", "constraints": one} for n in range(2)])
    documents = [policy.document for policy in compiled.values()]

    assert [(line.kind, line.scope, line.says) for line in lines_of(documents[0])] == [
        ("allowed parameters", "tool:*", "a, b.c")
    ]
    assert merged(documents) == {"allowed_parameters": {"tool:*": [["a", "b.c"], ["a", "b.c"]]}}
