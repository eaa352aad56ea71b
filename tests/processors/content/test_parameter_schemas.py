"""Schemas of parameters: refused where their work has no bound, and else judged as the library and the drafts say."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.content import parameter_schemas, schema_keywords
from processors.content.parameter_schemas import SchemaFault, SchemaRefusedError, check_schema, compiled, statement
from processors.content.schema_reading import read_schema
from processors.proof.jcs import canonical, parse_strict

ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "maximum": 10},
        "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": True},
        "pair": {"prefixItems": [{"type": "string"}, {"$ref": "#/$defs/small"}], "items": False},
    },
    "patternProperties": {"^n_": {"type": "number"}},
    "additionalProperties": False,
    "required": ["name"],
    "if": {"required": ["count"]},
    "then": {"required": ["tags"]},
    "$defs": {"small": {"type": "integer", "maximum": 3}},
}


def faults(schema: Any, value: Any) -> tuple[SchemaFault, ...]:
    return compiled(json.dumps(schema)).faults(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"name": "a", "tags": ["x"], "count": 1, "pair": ["s", 3], "n_": 1.5}, []),
        ([], [((), "type")]),
        ({}, [((), "required")]),
        ({"name": ""}, [(("name",), "minLength"), (("name",), "pattern")]),
        ({"name": "a", "secret-token": 1}, [((), "additionalProperties")]),
        ({"name": "a", "n_secret": "x"}, [(("*",), "type")]),
        ({"name": "a", "count": 11}, [((), "if"), (("count",), "maximum")]),
        ({"name": "a", "tags": ["x", "z", "x"]}, [(("tags", 1), "enum"), (("tags",), "uniqueItems")]),
        ({"name": "a", "pair": [1, 4, 5]}, [(("pair",), "items"), (("pair", 0), "type"), (("pair", 1), "maximum")]),
    ],
)
def test_faults_have_a_place_and_a_keyword_and_nothing_of_the_caller(value, found):
    assert list(faults(ORDER, value)) == found


def test_members_with_names_of_the_caller_are_one_fault_and_bounded_work():
    schema = {"additionalProperties": {"allOf": [{"type": "string"}, {"minLength": 2}]}}

    assert faults(schema, {f"secret {at}": at for at in range(4000)}) == ((("*",), "type"),)


def test_at_most_eight_faults_whatever_the_order_of_members():
    value = {f"k{at}": "x" for at in range(100)}
    schema = {"properties": {f"k{at}": {"type": "null"} for at in range(100)}}
    found = faults(schema, value)

    assert len(found) == 8
    assert found == faults(schema, dict(reversed(value.items())))
    assert found[:2] == ((("k0",), "type"), (("k1",), "type"))


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"type": "integer"}, 1.0, True),
        ({"type": "integer"}, 2**63, True),
        ({"type": "integer"}, 2**70, True),
        ({"type": "integer"}, 1e22, True),
        ({"type": "integer"}, 1.5, False),
        ({"type": "integer"}, True, False),
        ({"maximum": 5}, -(2**70), True),
        ({"multipleOf": 0.01}, 19.99, True),
        ({"multipleOf": 0.01}, 19.999, False),
        ({"enum": [1]}, True, False),
        ({"enum": [1]}, 1.0, True),
        ({"const": {"a": [1], "b": 2}}, {"b": 2, "a": [1]}, True),
        ({"uniqueItems": True}, [1, True, "1"], True),
        ({"minLength": 2}, "é", False),
        ({"pattern": r"^\d$"}, "٣", False),
        ({"pattern": "a$"}, "a\n", False),
        ({"format": "email"}, "no address", True),
        ({"contentEncoding": "base64"}, "!", True),
        ({"$ref": "#/$defs/a", "maximum": 5, "$defs": {"a": {"minimum": 3}}}, 2, False),
        ({"$ref": "#/$defs/a", "maximum": 5, "$defs": {"a": {"minimum": 3}}}, 6, False),
        ({"properties": {"$ref": {"type": "string"}}}, {"$ref": "x"}, True),
    ],
)
def test_values_are_judged_as_the_draft_says(schema, value, fits):
    assert (faults(schema, value) == ()) == fits


REFUSED = [
    ("[]", ""),
    ("true", ""),
    ("{", ""),
    ('{"type":"object","type":"object"}', ""),
    ("\ud800", ""),
    (json.dumps({"description": "x" * 16_384}), ""),
    ('{"not":' * 33 + "{}" + "}" * 33, ""),
    ('{"type":"dict"}', "/type"),
    ('{"properties":3}', "/properties"),
    ('{"allOf":{}}', "/allOf"),
    ('{"items":[{}]}', "/items"),
    ('{"minItems":1.5}', "/minItems"),
    ('{"maxLength":-1}', "/maxLength"),
    ('{"minItems":true}', "/minItems"),
    ('{"multipleOf":0}', "/multipleOf"),
    ('{"multipleOf":1e-300}', "/multipleOf"),
    ('{"propertis":{}}', "/propertis"),
    ('{"nullable":true}', "/nullable"),
    ('{"unevaluatedProperties":false}', "/unevaluatedProperties"),
    ('{"unevaluatedItems":false}', "/unevaluatedItems"),
    ('{"$id":"https://a.example/"}', "/$id"),
    ('{"$schema":"http://json-schema.org/draft-07/schema#"}', "/$schema"),
    ('{"$anchor":"a"}', "/$anchor"),
    ('{"$dynamicRef":"#a"}', "/$dynamicRef"),
    ('{"not":{"$defs":{}}}', "/not/$defs"),
    ('{"$ref":"https://a.example/"}', "/$ref"),
    ('{"$ref":"#/properties/a","properties":{"a":{}}}', "/$ref"),
    ('{"$ref":"#/$defs/b","$defs":{"a":{}}}', "/$ref"),
    ('{"properties":{"a":{"$ref":"#"}}}', "/properties/a/$ref"),
    ('{"$ref":"#/$defs/a","$defs":{"a":{"items":{"$ref":"#/$defs/a"}}}}', "/$ref/items/$ref"),
    ('{"pattern":"(?=a)"}', "/pattern"),
    ('{"pattern":"(a)\\\\1"}', "/pattern"),
    ('{"pattern":"(a{1000}){1000}"}', "/pattern"),
    ('{"patternProperties":{"(?!a)":{}}}', "/patternProperties/(?!a)"),
    ('{"$defs":{"a":{"pattern":"("}}}', "/$defs/a/pattern"),
    ('{"x-macaw-risk":"nuclear"}', "/x-macaw-risk"),
    ('{"x-macaw-risc":"shell"}', "/x-macaw-risc"),
    ('{"anyOf":[{"x-macaw-risk":"sql"}]}', "/anyOf/0/x-macaw-risk"),
    ('{"properties":{"*":{"x-macaw-risk":"sql"}}}', "/properties/*/x-macaw-risk"),
    ('{"a/b~":1}', "/a~1b~0"),
]


@pytest.mark.parametrize(("text", "pointer"), REFUSED)
def test_a_schema_without_a_bound_or_a_judge_is_refused_at_its_place(text, pointer):
    with pytest.raises(SchemaRefusedError) as caught:
        check_schema(text)
    assert caught.value.pointer == pointer
    assert "; " in str(caught.value)
    assert len(str(caught.value)) < 400


def fan(width: int, levels: int, keyword: str = "allOf") -> str:
    """Return a schema whose references double at each level."""
    definitions = {
        f"d{at}": {keyword: [{"$ref": f"#/$defs/d{at + 1}"}] * width} if at < levels else {"minLength": 1}
        for at in range(levels + 1)
    }
    return json.dumps({"$ref": "#/$defs/d0", "$defs": definitions})


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_references_that_multiply_are_refused(keyword):
    """Two at each of thirty levels are a thousand million schemas."""
    check_schema(fan(2, 3, keyword))
    with pytest.raises(SchemaRefusedError, match=r"refer less often|flatten"):
        check_schema(fan(2, 30, keyword))
    with pytest.raises(SchemaRefusedError, match="refer less often"):
        check_schema(fan(100, 3, keyword))
    with pytest.raises(SchemaRefusedError, match="flatten"):
        check_schema(fan(1, 60, keyword))


def test_patterns_are_bounded_together_also_through_references():
    one = {"pattern": "^[a-z]{1,400}$"}
    with pytest.raises(SchemaRefusedError, match="instructions"):
        check_schema(json.dumps({"allOf": [{"pattern": f"^[a-z]{{1,900}}{at}$"} for at in range(20)]}))
    check_schema(json.dumps({"$ref": "#/$defs/a", "$defs": {"a": one}}))
    with pytest.raises(SchemaRefusedError, match="instructions"):
        check_schema(json.dumps({"allOf": [{"$ref": "#/$defs/a"}] * 65, "$defs": {"a": one}}))


def test_the_backtracking_engine_is_not_there():
    """Beside RE2's own refusal: the library is built without look-around."""
    with pytest.raises(jsonschema_rs.ValidationError):
        parameter_schemas.library({"pattern": "(?=a)"})


def test_annotated_places_are_found_through_properties_and_items():
    risky = {"type": "array", "items": {"properties": {"cmd": {"x-macaw-risk": "shell", "$ref": "#/$defs/t"}}}}
    schema = {"properties": {"steps": risky, "to": {"x-macaw-risk": "mail"}}, "$defs": {"t": {"type": "string"}}}

    assert compiled(json.dumps(schema)).annotated == ((("steps", "*", "cmd"), "shell"), (("to",), "mail"))


def test_a_value_that_the_library_cannot_read_is_unjudged():
    schema = compiled('{"type":"string"}')

    assert schema.faults("\ud800") == (SchemaFault((), "unjudged"),)


def test_the_work_grows_with_value_and_schema():
    plain, patterned = compiled('{"items":{"type":"string"}}'), compiled('{"items":{"pattern":"^a{1,100}$"}}')
    short, long = ["a"], ["a" * 1000] * 10

    assert plain.units(short) < plain.units(long) < patterned.units(long)
    assert compiled('{"items":{"maximum":3}}').units([5e-324]) > compiled('{"items":{"maximum":3}}').units([1])


def test_the_statement_has_one_spelling():
    assert canonical(statement()) == canonical(statement())
    assert parse_strict(canonical(statement()))["library"][0] == "jsonschema-rs"  # type: ignore[call-overload,index]


def test_every_keyword_of_the_tables_stands_in_one_of_them():
    tables = [schema_keywords.ONE, schema_keywords.LISTS, schema_keywords.MAPS, schema_keywords.ASSERTIONS]
    tables += [schema_keywords.ANNOTATIONS, schema_keywords.ROOT_ONLY, frozenset({"$ref"})]

    assert sum(map(len, tables)) == len(schema_keywords.KNOWN)


# ---- any schema and any value

NAMES = st.sampled_from(["a", "b", "n_c", "d"])
SCALARS = st.sampled_from([None, True, False, 0, 1, 3, -2, 1.5, 0.01, 1e22, 2**53, "", "a", "ab", "é", "n_c"])
VALUES = st.recursive(SCALARS, lambda one: st.lists(one, max_size=4) | st.dictionaries(NAMES, one), max_leaves=6)
KINDS = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def some_of(members: dict[str, Any]) -> Any:
    """Return objects with at most three of some members: larger ones take long to make and say no more."""
    return st.lists(st.sampled_from(sorted(members)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: members[name] for name in names})
    )


ASSERTED = some_of({
    "type": KINDS | st.lists(KINDS, min_size=1, max_size=3, unique=True),
    "enum": st.lists(VALUES, min_size=1, max_size=3),
    "const": VALUES,
    "minimum": st.sampled_from([0, 1, 1.5]),
    "multipleOf": st.sampled_from([2, 0.5, 0.01]),
    "minLength": st.integers(0, 2),
    "maxItems": st.integers(0, 2),
    "uniqueItems": st.booleans(),
    "pattern": st.sampled_from(["^a", "b$", "^n_"]),
    "required": st.lists(NAMES, max_size=2, unique=True),
    "minContains": st.integers(0, 2),
    "title": st.just("t"),
})  # fmt: skip


def nested(one: Any) -> Any:
    some = st.lists(one, min_size=1, max_size=2)
    applied = some_of({
        "properties": st.dictionaries(NAMES, one, max_size=3), "items": one, "additionalProperties": one,
        "patternProperties": st.dictionaries(st.sampled_from(["^n_", "^a"]), one, max_size=2),
        "prefixItems": some, "allOf": some, "anyOf": some, "oneOf": some, "not": one, "contains": one,
        "if": one, "then": one, "else": one, "propertyNames": one,
        "dependentSchemas": st.dictionaries(NAMES, one, max_size=1),
        "$ref": st.just("#/$defs/t"),
    })  # fmt: skip
    return st.builds(lambda first, second: {**first, **second}, ASSERTED, applied)


SCHEMAS = st.builds(
    lambda schema, target: {**schema, "$defs": {"t": target}},
    nested(nested(st.booleans() | ASSERTED)),
    ASSERTED,
)


def told(schema: Any, value: Any) -> set[tuple[tuple[Any, ...], str]]:
    """Return all faults of the whole list that the library makes, with `*` where a name is not the schema's."""
    judge = jsonschema_rs.Draft202012Validator(schema, validate_formats=False)
    return {(tuple(one.instance_path), one.kind.name) for one in judge.iter_errors(value)}


@settings(max_examples=60)
@given(SCHEMAS, VALUES)
def test_verdict_and_places_agree_with_the_library_on_the_schema_as_written(schema, value):
    """References replaced, keywords judged alone: the verdict is that of the whole, and no place is invented."""
    try:
        judged = compiled(json.dumps(schema))
    except SchemaRefusedError as refused:
        assert "flatten" in str(refused) or "refer less" in str(refused)  # noqa: PT017 - nothing else is wrong here
        return
    found, whole = judged.faults(value), told(schema, value)
    places = {path for path, _ in whole}

    assert bool(found) == bool(whole)
    assert len(found) <= 8
    assert all(keyword != "unjudged" for _, keyword in found)
    for path, keyword in found:
        if "*" not in path and keyword not in {"additionalProperties", "items", "prefixItems", "properties", "if"}:
            assert path in places
    assert judged.units(value) > 0


@settings(max_examples=30)
@given(SCHEMAS)
def test_a_schema_that_was_read_has_no_references_and_reads_again(schema):
    try:
        _, expanded = read_schema(json.dumps(schema))
    except SchemaRefusedError:
        return
    text = canonical(expanded.document).decode()
    again = read_schema(text)[1] if len(text) <= schema_keywords.SCHEMA_BYTES_MAX else None

    assert '"$ref"' not in text
    assert '"title"' not in text
    assert again is None or again.document == expanded.document


BY_CONSTRUCTION = st.recursive(
    st.sampled_from([({"type": "string"}, "s", 1), ({"type": "integer"}, 3, "x"), ({"type": "boolean"}, True, 0)]),
    lambda one: (
        st.lists(one, min_size=1, max_size=3).map(
            lambda parts: (
                {
                    "type": "object",
                    "properties": {f"m{at}": part[0] for at, part in enumerate(parts)},
                    "required": [f"m{at}" for at in range(len(parts))],
                },
                {f"m{at}": part[1] for at, part in enumerate(parts)},
                {f"m{at}": part[2 if at == 0 else 1] for at, part in enumerate(parts)},
            )
        )
        | one.map(lambda part: ({"type": "array", "items": part[0]}, [part[1], part[1]], [part[1], part[2]]))
    ),
    max_leaves=8,
)


@given(BY_CONSTRUCTION)
def test_a_value_made_for_a_schema_fits_and_one_fault_in_it_is_found(made):
    schema, fits, spoilt = made

    assert faults(schema, fits) == ()
    assert [fault.keyword for fault in faults(schema, spoilt)] == ["type"]


@given(st.text(max_size=200))
def test_any_text_is_taken_or_refused(text):
    try:
        check_schema(text)
    except SchemaRefusedError as refused:
        assert str(refused)  # noqa: PT017 - a refusal is one of the two answers
