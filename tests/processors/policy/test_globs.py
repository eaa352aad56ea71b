"""Globs are matched by comparing texts: the answers are those of RE2, and what they cost is bounded by their price."""

import json

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.policy import limits
from processors.policy.documents import PolicyError, parse_policy
from processors.policy.evaluation import ABSENT, member, new_work, to_pay
from processors.policy.globs import as_expression, denying, grant_glob, matching
from processors.policy.paths import MISMATCH, parse_path, reached
from processors.text.forms import fold

items = st.text("ab?*", max_size=14) | st.text("aB?*\u00e9\ufdfa\u017f\u212a\u200b\n/", max_size=10)
letters = st.text("ab", max_size=24) | st.text("aBb?*\u00e9\u00c9\ufdfas\u017fk\u212a\u200b\n/", max_size=16)
paths = st.text("a/*", max_size=16) | st.text("ab/*:", max_size=24)
names = st.text("a/", max_size=24) | st.text("ab/:", max_size=40)


def expression(glob: str, spelling=str) -> re2._Regexp:
    """Return what defines a glob with question marks."""
    runs = re2.split(r"\*+", glob)
    quoted = [".".join(str(re2.escape(spelling(one))) for one in run.split("?")) for run in runs]
    return re2.compile("(?s)" + ".*".join(quoted))


@settings(max_examples=500, deadline=None)
@given(items, letters)
@example("*a?b*", "aaab")
@example("*?a??b*b", "abaabab")
@example("??*??", "abc")
@example("*a????*", "aaa")
@example("*ab?ab*ab", "abcab")
def test_a_glob_with_question_marks_answers_as_re2_does(glob, text):
    """In a condition to the letter, in an item of denied parameters folded."""
    assert matching(glob).meets(text) is (expression(glob).fullmatch(text) is not None)
    folded = fold(text)
    assert denying(glob).meets(folded) is (expression(glob, fold).fullmatch(folded) is not None)


@settings(max_examples=1000, deadline=None)
@given(paths, names)
@example("**a*a**", "a/aa")
@example("**/a*/a**b", "/a/b/aa/a/b")
@example("a*b**b", "ab")
@example("**a*/*b*c", "xa/yb/a/bbc")
@example("*/**/*", "a//b")
@example("a**/*a", "aa/a")
def test_a_pattern_of_both_stars_answers_as_re2_does(pattern, text):
    """Single stars stop at a slash, double ones do not, in any order."""
    literals, stars = re2.split(r"\*+", pattern), re2.findall(r"\*+", pattern)
    if stars == ["*"] and literals[0].endswith(":") and not literals[1]:
        return  # `domain:*` has a meaning of its own
    defined = re2.compile(as_expression(literals, stars))
    assert grant_glob(pattern).meets(text) is (defined.fullmatch(text) is not None)


def test_every_matcher_has_a_price_of_at_least_one_for_each_character():
    """A pattern with more to look for costs more, and none is free."""
    for glob in ("a", "*a*", "*" + "a" * 300 + "*", "*a?b*", "a?b", "?"):
        one = denying(glob)
        assert one.base >= limits.ITEM_UNITS
        assert one.units >= 1
    assert denying("*" + "a" * 300 + "*").units > denying("*a*").units
    assert denying("*a?b?c*").units > denying("*a?b*").units > denying("*a*").units
    assert grant_glob("**/a*/b**").units > grant_glob("**/a**").units


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("a" + ".b" * 127, True),
        ("a" + ".b" * 128, False),
        ("a" + "[*]" * 127, True),
        ("a" + "[*]" * 128, False),
        ("a" * 1024, True),
        ("a" * 1025, False),
    ],
)
def test_a_path_has_so_many_steps_and_characters(path, taken):
    """In a published document, in one that comes with a call, and in a rule over several calls."""

    def code(document):
        try:
            parse_policy(json.dumps({"policy_id": "user:eve", **document}).encode())
        except PolicyError as exc:
            return exc.code
        return ""

    expected = "" if taken else "E_PARAM_PATH"
    assert code({"constraints": {"parameters": {"**": {path: [1]}}}}) == expected
    assert code({"constraints": {"denied_parameters": {"**": {path: ["x"]}}}}) == expected
    rule = {"id": "r", "when": "**", "after": {"resource": "**", "same": [[path, path]]}}
    assert code({"sequence": [rule]}) == expected
    assert code({"sequence": [{"id": "r", "when": "**", "sum": path, "max": 1, "per": "user"}]}) == expected


def test_a_path_ends_where_nothing_is_left_to_go_through():
    """What follows a step that led nowhere costs nothing."""
    work = new_work()
    place = parse_path("a[*]" + ".x" * 100, "")
    assert reached({"a": [0] * 1000}, place, work) == [MISMATCH] * 1000
    assert to_pay(work) <= 3 * 1000 * limits.REACHED_VALUE_UNITS


def test_a_member_that_must_be_searched_for_is_paid_for():
    """Names that are spelt otherwise are looked at one by one; a name to the letter costs nothing more."""
    names = {f"\u00e9{n}": n for n in range(100)}
    work = new_work()
    assert member(names, "\u00e95", work) == 5
    assert to_pay(work) == 0
    assert member(names, "x", work) is ABSENT
    assert to_pay(work) >= 100 * limits.NAME_UNITS
