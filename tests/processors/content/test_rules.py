"""Rules that are patterns: order, places in code points, and names of those that RE2 refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content.hits import Hit
from processors.content.rules import RuleError, RuleSet, TextRule

WORDS = RuleSet.compile(
    [
        TextRule("late", "word.late", r"(?i)\bomega\b"),
        TextRule("early", "word.early", r"(?i)\balpha\b"),
        TextRule("late", "word.late", r"ωμέγα"),
        TextRule("any", "word.any", r"[0-9]{3}"),
    ]
)


def test_rules_match_in_the_order_in_which_they_were_given():
    assert [rule.name for rule in WORDS.matching("123 alpha omega")] == ["late", "early", "any"]
    assert WORDS.matching("nothing here") == ()


@pytest.mark.parametrize("before", ["", "é", "日本語 ", "😀😀 ", "\ud800 ", "e\u0301 ", "\0"])
def test_places_are_code_points_of_the_text(before):
    text = f"{before}alpha, then alpha"
    (hit,) = WORDS.spans(text)
    assert hit == Hit("word.early", len(before), len(before) + 5, "early")
    assert text[hit.start : hit.end] == "alpha"


def test_a_match_that_is_not_ascii_has_its_length_in_code_points():
    (hit,) = WORDS.spans("τέλος: ωμέγα!")
    assert "τέλος: ωμέγα!"[hit.start : hit.end] == "ωμέγα"


@pytest.mark.parametrize(
    ("pattern", "why"), [("(?=a)b", "(?="), (r"(a)\1", "\\1"), ("(", "missing )"), ("\ud800", "surrogate")]
)
def test_a_pattern_that_re2_refuses_is_named_with_its_rule(pattern, why):
    with pytest.raises(RuleError, match="rule bad") as caught:
        RuleSet.compile([TextRule("good", "x", "a"), TextRule("bad", "x", pattern)])
    assert caught.value.rule.name == "bad"
    assert why in caught.value.why


def test_refused_rules_can_be_left_out_one_by_one():
    rules, refused = RuleSet.accepted([TextRule("a", "x", "a"), TextRule("b", "x", "(?!b)"), TextRule("c", "x", "c")])
    assert [error.rule.name for error in refused] == ["b"]
    assert [rule.name for rule in rules.matching("abc")] == ["a", "c"]


def test_a_pattern_too_large_for_the_memory_is_refused():
    with pytest.raises(RuleError, match="large"):
        RuleSet.compile([TextRule("large", "x", "(?:abc){900}")], max_mem=4096)


def test_no_rules_match_nothing():
    assert RuleSet.compile([]).spans("text") == ()
    assert RuleSet.compile([]).statement() == []


def test_the_statement_holds_every_rule_in_order():
    assert RuleSet.compile([TextRule("n", "k", "p"), TextRule("m", "k", "q")]).statement() == [
        ["n", "k", "p"],
        ["m", "k", "q"],
    ]


@given(st.text(st.characters(), max_size=200))
def test_any_text_is_matched_and_places_lie_in_it(text):
    hits = WORDS.spans(text + " alpha 123")
    assert {hit.rule for hit in hits} >= {"early", "any"}
    assert all(0 <= hit.start <= hit.end <= len(text) + 10 for hit in hits)
    assert [hit.rule for hit in hits] == [rule.name for rule in WORDS.matching(text + " alpha 123")]


@given(st.lists(st.sampled_from(["alpha", "omega", "ωμέγα", "123", "ALPHA", "x"]), max_size=12).map(" ".join))
def test_the_filter_answers_as_each_pattern_alone(text):
    alone = [rule for rule in WORDS.matching("alpha omega ωμέγα 123") if RuleSet.compile([rule]).matching(text)]
    assert list(WORDS.matching(text)) == alone
