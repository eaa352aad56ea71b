"""Rule files of three forms: read whole, or refused with the line; each rule that is not honoured is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from macaw.verifiers.fitting import CatalogueSizeError, fitted
from macaw.verifiers.importing.catalogue_file import form_of, read_rule_file
from macaw.verifiers.importing.imported import FILE_BYTES_MAX, FILE_RULES_MAX, ImportedRules, RuleFileError
from processors.calls.catalogues import fault_of
from schemas import limits
from schemas.events.catalogues import CatalogueRule


def read(text: str, **more: Any) -> ImportedRules:
    return read_rule_file(text.encode(), **more)


def patterns(found: ImportedRules) -> list[tuple[str, str]]:
    return [(one.id, one.pattern) for one in found.rules]


def remarks(found: ImportedRules) -> dict[str, str]:
    return {one.rule: one.why for one in (*found.left_out, *found.altered)}


def faults(text: str) -> str:
    with pytest.raises(RuleFileError) as told:
        read(text)
    return str(told.value)


# ---- ATR


def condition(value: str, field: str = "content", operator: str = "regex") -> dict[str, str]:
    return {"field": field, "operator": operator, "value": value}


def atr(rule_id: str, *conditions: dict[str, str], **more: Any) -> dict[str, Any]:
    how = more.pop("condition", "any")
    return {"id": rule_id, "status": "stable", "tags": {"category": "Prompt Leak"},
            "detection": {"conditions": list(conditions), "condition": how}, **more}  # fmt: skip


def test_rules_of_atr_are_read_without_regard_to_case() -> None:
    found = read(json.dumps([atr("A-1", condition("open sesame")), atr("A-2", condition("x"), condition(r"\u200b y"))]))
    assert found.form == "atr"
    assert patterns(found) == [("A-1", "(?i)open sesame"), ("A-2/0", "(?i)x"), ("A-2/1", r"(?i)\x{200b} y")]
    assert {one.kind for one in found.rules} == {"prompt-leak"}
    assert not remarks(found)


def test_rules_of_atr_that_cannot_be_honoured_are_told() -> None:
    rules = [
        atr("all", condition("x"), condition("y"), condition_="", condition="all"),
        atr("draft", condition("x"), status="draft"),
        atr("trace", condition("x", field="trace.order")),
        atr("words", condition("x", operator="contains")),
        atr("one", condition("x"), condition="all"),
    ]
    found = read(json.dumps({"rules": rules}))
    assert patterns(found) == [("one", "(?i)x")]
    assert set(remarks(found)) == {"all", "draft", "trace", "words"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"id": "a",\n "x" 5}]', "line 2: the file is not JSON"),
        ('[{"id": "a",\n "detection": 5}]', "line 1: rule a: `detection.conditions`"),
        ('[{}\n,{"id": "b"}]', "rule 1 has no `id`"),
        ('[\n{"id": "a", "detection": {"conditions": [{"field": "content"}]}}]', "line 2: rule a: condition 0"),
        ('[{"id": "a", "id": "b"}]', "stands twice"),
        ('[{"id": NaN}]', "NaN"),
        ('[{"id": ' + "9" * 5_000 + "}]", "too long"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[]", "a list of rules"),
        ('{"rules": {}}', "a list of rules"),
        (json.dumps([atr("a", condition("x"), status=["draft"])]), "rule a: `status` must be a text"),
        (json.dumps([atr("a", condition("x"), status={})]), "rule a: `status` must be a text"),
        (json.dumps([atr("a", condition("x"), condition=["any"])]), "rule a: `detection.condition` must be a text"),
        (json.dumps([atr("a", condition("x"), tags=[])]), "rule a: `tags` must be an object"),
        (json.dumps([atr("a", condition("x"), tags={"category": 5})]), "`tags.category` a text"),
    ],
)
def test_a_broken_file_of_atr_is_refused_with_the_place(text: str, says: str) -> None:
    assert says in faults(text)


# ---- gitleaks

LEAKS = r'''
title = "own"
[[rules]]
id = "Acme Token"
regex = """\\b(ACME-[0-9]{8})\\b"""
keywords = ["acme-"]

[[rules]]
id = "random"
regex = "[a-z]{32}"
entropy = 3.5
keywords = ["never"]
path = "x"
  [[rules.allowlists]]
  regexes = ["example"]

[[rules]]
id = "files"
path = ".*[.]pem"
'''


def test_rules_of_gitleaks_are_read_as_they_stand() -> None:
    found = read(LEAKS)
    assert found.form == "gitleaks"
    assert patterns(found) == [("Acme-Token", r"\b(ACME-[0-9]{8})\b"), ("random", "[a-z]{32}")]
    assert [one.kind for one in found.rules] == ["acme-token", "random"]


def test_what_narrows_a_rule_of_gitleaks_and_is_not_honoured_is_told() -> None:
    found = read(LEAKS + "[extend]\nuseDefault = true\n[allowlist]\npaths = []\n")
    assert [one.rule for one in found.left_out] == ["files"]
    told = [one.why for one in found.altered if one.rule == "random"]
    assert ["entropy" in told[0], "allow list" in told[1], "path" in told[2], "keywords" in told[3]] == [True] * 4
    assert {one.rule for one in found.altered} == {"random", "[extend]", "[allowlist]"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[rules]]\nid = "a"\nregex = "x', "line 3: the file is not TOML"),
        ('[[rules]]\nid = "a"\nregex = "x"\n[[rules]]\nregex = "y"', "line 4: rule 2 has no `id`"),
        ('\n[[rules]]\nid = "a"\n', "line 2: rule a: `regex`"),
        ('[[rules]]\nid = "a"\nregex = ["x"]', "line 1: rule a: `regex`"),
        ('[[rules]]\nid = "a"\nid = "b"', "not TOML"),
        ("[[rules]]\nid = " + "[" * 50_000, "not TOML"),
        ("[[rules]]\nid = " + "9" * 5_000, "not TOML"),
    ],
)
def test_a_broken_file_of_gitleaks_is_refused_with_the_line(text: str, says: str) -> None:
    assert says in faults(text)


# ---- CRS


def sec_rule(number: int, operator: str, more: str = "", variables: str = "ARGS_NAMES|ARGS|!ARGS:note") -> str:
    return f'SecRule {variables} "{operator}" \\\n    "id:{number},\\\n    phase:2,block,msg:\'a, b\'{more}"\n'


def test_rules_of_crs_are_read_with_lines_that_go_on_quotes_and_comments() -> None:
    text = "# SecRule none\nSecMarker BEGIN\n" + sec_rule(932001, '@rx ;\\s*"(?:id|ls)\\"'.replace('"(', '\\"('))
    found = read(text + sec_rule(932002, "^plain$"))
    assert found.form == "crs"
    assert patterns(found) == [("932001", r'(?s);\s*"(?:id|ls)"'), ("932002", "(?s)^plain$")]


def test_phrases_become_a_pattern_in_which_no_sign_has_a_meaning() -> None:
    (rule,) = read(sec_rule(1, "@pm /etc/passwd a+b")).rules
    assert [bool(re2.search(rule.pattern, text)) for text in ("cat /ETC/passwd", "a+b", "aab")] == [True, True, False]
    many = read(sec_rule(2, "@pm " + " ".join(f"phrase-{number}" for number in range(2_000))))
    assert len(many.rules) > 1
    assert not [fault_of(one) for one in many.rules if fault_of(one)]


def test_the_paranoia_level_chooses_rules() -> None:
    text = "".join(sec_rule(n, f"@rx level{n}", f",tag:'paranoia-level/{n}'") for n in (1, 2, 3, 4))
    text += sec_rule(5, "@rx five", ",tag:'paranoia-level/x'")
    assert [len(read(text, paranoia=level).rules) for level in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert remarks(read(text))["2"] == "its paranoia level is 2"


def test_rules_of_crs_that_cannot_be_honoured_are_told() -> None:
    text = (
        sec_rule(1, "@rx first", ",chain") + 'SecRule ARGS "@rx second" "t:none"\n'
        + sec_rule(2, "@lt 1") + sec_rule(3, "!@rx good") + sec_rule(4, "@rx x", variables="REQUEST_HEADERS")
        + sec_rule(5, "@pmFromFile names.data") + sec_rule(6, "@rx six", ",t:none,t:urlDecodeUni,t:cmdLine,t:lowercase")
        + sec_rule(7, "@rx x", variables="&ARGS")
    )  # fmt: skip
    found = read(text)
    assert patterns(found) == [("6", "(?is)six")]
    assert {one.rule for one in found.left_out} == {"1", "2", "3", "4", "5", "7"}
    assert remarks(found)["6"] == "transformations that are not honoured: cmdline"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('SecRule ARGS "@rx a" "id:1,phase:2"\nSecRule ARGS "@rx b', "line 2: a quote does not end"),
        ('\nSecRule ARGS "@rx a" "id:1,msg:\'x"', "line 2: a quote in the actions"),
        ('SecRule ARGS "@rx a"', "line 1: SecRule must have"),
        ('SecRule ARGS "@rx a" "phase:2"', "line 1: a rule must have one `id`"),
        ('SecRule ARGS "@rx a" "id:x"', "line 1: a rule must have one `id`"),
        ('SecRule ARGS "@rx a" "id:1"\nInclude other.conf', "line 2: 'Include' is not a directive"),
        ('SecRule ARGS "@rx a" "id:1" more and more', "line 1: a directive has more than"),
        ('SecRule ARGS "@rx a" \\', "line 1: the file ends in a line that goes on"),
        (sec_rule(1, "@rx a", ",chain"), "the beginning of a chain"),
    ],
)
def test_a_broken_file_of_crs_is_refused_with_the_line(text: str, says: str) -> None:
    assert says in faults(text)


# ---- every form


def test_a_file_of_another_form_is_refused_and_says_which_there_are() -> None:
    for text in ("", "hello", "rules:\n  - id: a", "<rules/>", "[1, 2]"):
        assert "ATR" in faults(text)


def test_bytes_that_are_not_utf8_are_refused_with_the_line_and_a_mark_of_the_order_is_passed_over() -> None:
    with pytest.raises(RuleFileError, match="line 2"):
        read_rule_file(b'[\n"\xff"]')
    assert read_rule_file(b"\xef\xbb\xbf" + json.dumps([atr("a", condition("x"))]).encode()).rules


def test_a_file_beyond_its_bounds_is_refused() -> None:
    with pytest.raises(RuleFileError, match="bytes"):
        read_rule_file(b"[" + b" " * FILE_BYTES_MAX)
    many = FILE_RULES_MAX + 1
    for text in (
        json.dumps([atr(f"a{n}", condition("x")) for n in range(many)]),
        "".join(f'[[rules]]\nid = "a"\nregex = "x{n}"\n' for n in range(many)),
        "".join(f'SecRule ARGS "@rx x" "id:{n}"\n' for n in range(many)),
    ):
        assert "more than 10000 rules" in faults(text)


def test_ten_thousand_rules_of_one_id_keep_their_places() -> None:
    text = "".join(f'SecRule ARGS "@rx needle{n}" "id:7"\n' for n in range(FILE_RULES_MAX))
    found = read(text)
    assert len({one.id for one in found.rules}) == FILE_RULES_MAX
    assert [one.id for one in found.rules[:3]] == ["7", "7#2", "7#3"]
    made = fitted("own", "command_injection", found.rules)
    assert [one.name for one in made.drafts] == [f"own/{n}" for n in range(1, len(made.drafts) + 1)]
    assert sum(len(one.rules) for one in made.drafts) == FILE_RULES_MAX
    assert max(len(one.rules) for one in made.drafts) <= limits.CATALOGUE_RULES_MAX


def test_a_rule_that_the_log_would_refuse_is_listed_and_left_out() -> None:
    bad = {"back": r"(a)\1", "ahead": "(?=a)b", "large": "a{1000}{1000}", "empty": "(a*)*", "long": "x" * 8_193}
    rules = [CatalogueRule(id=name, kind="k", pattern=pattern) for name, pattern in bad.items()]
    good = CatalogueRule(id="good", kind="k", pattern="(x+x+)+y")
    made = fitted("own", "secrets", [*rules, good])
    assert [one.rule for one in made.refused] == list(bad)
    assert [one.rules for one in made.drafts] == [(good,)]
    with pytest.raises(CatalogueSizeError, match="none of the rules"):
        fitted("own", "secrets", rules)


def test_rules_that_need_too_many_catalogues_are_refused() -> None:
    rules = [CatalogueRule(id=f"r{n}", kind="k", pattern=f"needle{n}" + "x" * 8_000) for n in range(200)]
    with pytest.raises(CatalogueSizeError, match="want at most 8"):
        fitted("own", "secrets", rules)


def test_rules_without_a_literal_are_parted_within_their_bound() -> None:
    loose = [CatalogueRule(id=f"r{n}", kind="k", pattern=f"[ab]{{{30 + n}}}c") for n in range(100)]
    made = fitted("own", "secrets", loose)
    assert [len(one.rules) for one in made.drafts] != [100]
    assert sum(len(one.rules) for one in made.drafts) == 100
    large = CatalogueRule(id="large", kind="k", pattern="([ab]{100}[cd]?){60}")
    assert [one.rule for one in fitted("own", "secrets", [large, *loose]).refused] == ["large"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([[], {}, None, 5, True, "x"]), st.sampled_from(["status", "tags", "id", "detection"]))
def test_no_member_of_a_rule_of_atr_raises_anything_but_the_named_error(value: Any, name: str) -> None:
    try:
        read(json.dumps([{**atr("a", condition("x")), name: value}]))
    except RuleFileError as told:
        assert "rule" in str(told)  # noqa: PT017


PIECES = [
    *("SecRule ", "ARGS ", '"', "'", "\\", "\n", "id:1", ",", "@rx ", "@pm ", "chain", "#", "|", "!", "&", ":"),
    *("[[rules]]\n", 'id = "a"\n', 'regex = "x"\n', "[", "]", "{", "}", '"id":', '"detection":', '"conditions":'),
    *("x", " ", "\ud800", "\x00"),
]
TEXTS = st.text(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
NAMES = ["id", "detection", "conditions", "field", "operator", "value", "tags", "status", "condition", "category"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_no_file_raises_anything_but_the_named_error(text: str) -> None:
    try:
        found = read_rule_file(text.encode("utf-8", "surrogatepass"))
    except RuleFileError:
        return
    assert form_of(text) == found.form
    assert all(fault_of(one) == "" or len(one.pattern) > 8_000 or not one.pattern for one in found.rules)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_no_json_raises_anything_but_the_named_error(value: Any) -> None:
    for text in (json.dumps([value]), json.dumps({"rules": value})):
        try:
            read(text)
        except RuleFileError:
            continue
