"""Stamps of annotated places: total, bounded, paid before a text is read, and free of the caller's texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content import risk_places
from processors.content.parameter_schemas import SchemaRefusedError, annotated_places, check_schema
from processors.content.risk_places import STAMPS_BYTES_MAX, VALUES_MAX, stamps_at, units_of, worst_at
from processors.content.risks import CLASSIFIERS, WORST, classify
from processors.proof.jcs import JSONValue, canonical

LISTED = ((("paths", "*"), "files"),)
INSIDE = ((("to", "path"), "files"),)
WORST_PATH = {"of": "files", **WORST["files"]}


def stamped(annotated, value):
    return stamps_at(annotated, value, lambda _: None)


@pytest.mark.parametrize("value", ["/etc/shadow", None, 3, {"0": "/etc/shadow"}, True])
def test_a_value_where_the_schema_has_a_list_is_a_list_with_the_worst(value):
    assert stamped(LISTED, {"paths": value}) == {"paths": [WORST_PATH]}


@pytest.mark.parametrize("value", ["/etc/shadow", None, ["/etc/shadow"], [{"path": "a"}], 1])
def test_a_value_where_the_schema_has_an_object_has_the_worst(value):
    assert stamped(INSIDE, {"to": value}) == {"to/path": WORST_PATH}


def test_a_list_in_a_list_that_is_none_adds_the_worst_in_its_order():
    annotated = ((("rows", "*", "path"), "files"),)
    found = stamped(annotated, {"rows": [{"path": "a"}, "x", {}, {"path": "/etc/shadow"}]})["rows/path"]
    assert [one["class"] for one in found] == ["low", "critical", "critical"]


def test_an_absent_member_has_no_stamp_and_an_empty_list_an_empty_one():
    assert stamped(INSIDE, {}) == stamped(INSIDE, {"to": {}}) == {}
    assert stamped(LISTED, {"paths": []}) == {"paths": []}


def test_beyond_the_bound_of_values_a_place_is_the_worst_without_reading():
    spent: list[int] = []
    found = stamps_at(LISTED, {"paths": ["a"] * (VALUES_MAX + 1)}, spent.append)
    assert found == {"paths": [WORST_PATH]}
    assert sum(spent) < risk_places.STEP_UNITS * 4 * VALUES_MAX


def test_values_of_all_places_count_together():
    annotated = (*LISTED, (("sql",), "sql"))
    found = stamped(annotated, {"paths": ["a"] * VALUES_MAX, "sql": "SELECT 1"})
    assert found["sql"] == {"of": "sql", **WORST["sql"]}


def test_stamps_of_a_call_are_bounded_and_the_worst_beyond():
    annotated = ((("commands", "*"), "shell"),)
    found = stamped(annotated, {"commands": ["ls"] * VALUES_MAX})
    assert [one["class"] for one in found["commands"]] == ["critical"]
    assert len(canonical(found)) <= STAMPS_BYTES_MAX


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_text_beyond_four_kib_is_not_read(name):
    assert units_of(name, "a" * 4097) is units_of(name, "é" * 2049) is units_of(name, ["a", "a" * 4097]) is None
    assert units_of(name, ["a"] * 65) is None
    long: JSONValue = "SELECT '" + "x" * 4090 + "'"
    assert stamped((((name,), name),), {name: long})[name]["class"] == "critical"


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_each_text_of_a_list_is_paid_by_its_bytes(name):
    one, many = units_of(name, "a" * 200), units_of(name, ["a" * 200] * 64)
    assert one is not None
    assert many is not None
    assert many > 40 * (one - risk_places.VALUE_UNITS)
    assert units_of(name, "a" * 400) > one  # type: ignore[operator]


def test_the_units_are_taken_before_a_text_is_read():
    def refuse(units: int) -> None:
        if units > 100_000:
            raise OverflowError

    with pytest.raises(OverflowError):
        stamps_at((((("q"),), "sql"),), {"q": "select " + ",".join("a" for _ in range(500))}, refuse)


SECRETS = {
    "files": "folder/hunter2zz", "mail": "hunter2zz@hunter2zz.example", "money": {"amount": 1, "currency": "ZZZ"},
    "network": "hunter2zz://hunter2zz.example:4711/hunter2zz", "shell": "hunter2zz x; git hunter2zz; npm hunter2zz",
    "sql": "SELECT hunter2zz FROM hunter2zz",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_no_stamp_holds_a_text_of_the_caller(name):
    said = json.dumps(classify(name, SECRETS[name]))
    assert classify(name, SECRETS[name])["read"] is True
    assert not [text for text in ("hunter2zz", "ZZZ", "4711", "example") if text in said]


@given(st.sampled_from(["mail", "network", "shell", "sql", "files"]), st.text(alphabet="qxz", min_size=4, max_size=9))
def test_a_word_that_no_table_has_stands_in_no_stamp(name, word):
    forms = {"mail": f"{word}@{word}.com", "network": f"{word}://{word}.com", "shell": f"git {word}; {word} {word}"}
    assert word not in json.dumps(classify(name, forms.get(name, word)))


def test_programs_of_the_tables_are_named():
    found = classify("shell", "git push; git frob; ls; frob")
    assert (found["programs"], found["subcommands"]) == (("git", "ls", "?"), ("git push", "git ?"))


def test_two_places_with_one_name_are_refused():
    risky = {"x-macaw-risk": "files"}
    with pytest.raises(SchemaRefusedError, match="one name"):
        check_schema(json.dumps({"properties": {"l": {**risky, "items": risky}}}))
    with pytest.raises(SchemaRefusedError, match="one name"):
        check_schema(json.dumps({"properties": {"a/b": risky, "a": {"properties": {"b": risky}}}}))


def test_the_worst_stamps_of_all_places_fit_or_the_schema_is_refused():
    def schema(count: int) -> str:
        return json.dumps({"properties": {f"place{at:03}": {"x-macaw-risk": "files"} for at in range(count)}})

    check_schema(schema(20))
    assert len(canonical(worst_at(annotated_places(schema(20))))) <= STAMPS_BYTES_MAX
    with pytest.raises(SchemaRefusedError, match="annotate fewer"):
        check_schema(schema(60))


def test_an_annotation_in_another_spelling_is_found():
    assert annotated_places(r'{"properties":{"a":{"\u0078-macaw-risk":"sql"}}}') == ((("a",), "sql"),)
    assert annotated_places('{"properties":{"a":{"type":"string"}}}') == ()
