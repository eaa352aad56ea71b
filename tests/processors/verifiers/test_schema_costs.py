"""The work for schemas is bounded for each event, and paid: by the signer that declares, and by the one that calls."""

import json
from dataclasses import replace

import pytest

from processors.content import schema_keywords as words
from processors.content.parameter_schemas import SchemaRefusedError, SchemasChecked, compiled
from tests.builders import invocation, tool
from tests.engines import NEWEST
from tests.offers_world import Instance, Offers, declared
from tests.processors.verifiers.test_call_verifiers import office, set_
from tests.world import Office

PATTERNS = [json.dumps({"pattern": rf"^\p{{L}}{{4}}n{at}$"}) for at in range(32)]
QUERY = "select " + ",".join("a" for _ in range(500))
RISKY = json.dumps({"properties": {"l": {"items": {"x-macaw-risk": "sql"}}}})


def test_a_program_that_offers_many_patterns_is_refused_and_pays_each_time():
    world = Offers.opened(**NEWEST)
    instance = Instance(world, world.open_session(world.app))
    offered = [replace(declared(f"tool:app/x{at}"), input_schema=one) for at, one in enumerate(PATTERNS)]
    paid = []
    for _ in range(2):
        assert world.send(instance.body(*offered), instance.session).says == ("refused", "SCHEMA_INVALID")
        paid.append(world.tables.work.rows[world.app.principal_id.encode()].arrival)
    assert paid[1] > paid[0] + 500_000


def test_an_empty_bucket_refuses_schemas_before_they_are_read():
    world = Offers.opened(**NEWEST)
    instance = Instance(world, world.open_session(world.app))
    offered = [replace(declared(f"tool:app/x{at}"), input_schema=one) for at, one in enumerate(PATTERNS)]
    said = [world.send(instance.body(*offered), instance.session).says[1] for _ in range(40)]
    assert said[0] == "SCHEMA_INVALID"
    assert said[-1] == "LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([json.dumps({"description": str(at) * 8000}) for at in range(9)], "schemas of one event have"),
        (PATTERNS, "instructions of patterns"),
        ([json.dumps({"$defs": {"a": json.loads(one)}}) for one in PATTERNS], "instructions of patterns"),
        ([json.dumps({"title": str(at), "allOf": [True] * 1500}) for at in range(7)], "replaced"),
    ],
)
def test_schemas_of_one_event_are_bounded_together(texts, why):
    checked = SchemasChecked()
    with pytest.raises(SchemaRefusedError, match=why):
        checked.check(texts)


def test_one_schema_of_many_operations_counts_once():
    once, often = SchemasChecked(), SchemasChecked()
    once.check(PATTERNS[:1])
    often.check(PATTERNS[:1] * 64)
    assert once.units == often.units > 0


def test_a_refused_schema_costs_as_much_as_the_largest():
    checked = SchemasChecked()
    with pytest.raises(SchemaRefusedError):
        checked.check(['{"pattern":"("}'])
    assert checked.units > 6 * words.EXPANDED_BYTES_MAX
    assert checked.last == '{"pattern":"("}'


def test_classified_texts_are_paid_by_the_caller_also_where_settings_ask_for_nothing():
    made = Office.opened(**NEWEST)
    made.world.register("tool", "t", tools=(replace(tool("tool:t/x"), input_schema=RISKY),))
    caller = made.session.principal_id.encode()
    assert made.world.call(made.session, "tool:t/x", {"l": [QUERY] * 2}).says == ("allowed", "")
    assert caller in made.world.tables.work.rows


def test_more_texts_than_the_budget_are_denied():
    made = office()
    made.world.register("tool", "t", tools=(replace(tool("tool:t/x"), input_schema=RISKY),))
    assert made.world.call(made.session, "tool:t/x", {"l": [QUERY] * 60}).says == ("denied", "LIMIT_EXCEEDED")


def test_a_path_that_is_no_list_is_denied_where_only_low_is_allowed():
    made = office()
    schema = {"properties": {"paths": {"type": "array", "items": {"x-macaw-risk": "files"}}}}
    made.world.register("tool", "t", tools=(replace(tool("tool:t/x"), input_schema=json.dumps(schema)),))
    rule = {"stamps.risk.paths[*].class": {"allowed_values": ["low"]}}
    made.world.publish_policy(
        {"policy_id": "agent:bot", "resources": ["tool:**"], "constraints": {"parameters": {"tool:t/x": rule}}}
    )
    assert made.world.call(made.session, "tool:t/x", {"paths": ["a.txt"]}).says == ("allowed", "")
    assert made.world.call(made.session, "tool:t/x", {"paths": "/etc/shadow"}).says[0] == "denied"


TABLE = json.dumps({
    "type": "object",
    "properties": {
        "id": {"pattern": "^[a-z0-9-]{1,40}$"},
        "rows": {"items": {"properties": {"name": {"pattern": "^[A-Za-z ]{1,60}$"}}}},
        "text": {"type": "string"},
    },
})  # fmt: skip


def test_a_long_text_beside_patterns_passes():
    made = Office.opened(**NEWEST)
    set_(made, results__output_schema="withhold", verifiers__parameters="deny")
    made.world.register("tool", "t", tools=(replace(tool("tool:t/x"), input_schema=TABLE, output_schema=TABLE),))
    value = {"id": "abc", "text": "x" * 100_000}
    assert made.world.call(made.session, "tool:t/x", value).says == ("allowed", "")


def test_a_text_is_charged_for_the_patterns_that_it_meets_and_no_others():
    schema = compiled(TABLE)
    text = "x" * 5000
    assert schema.units({"id": text}) > schema.units({"text": text}) + 50 * len(text)
    assert schema.units({"rows": [{"name": text}]}) > schema.units({"rows": [{"other": text}]}) + 50 * len(text)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^a{1,50}$"},
        {"allOf": [{"pattern": "^a{1,50}$"}]},
        {"not": {"pattern": "^a{1,50}$"}},
        {"if": {"pattern": "^a{1,50}$"}},
        {"$ref": "#/$defs/t", "$defs": {"t": {"pattern": "^a{1,50}$"}}},
    ],
)
@pytest.mark.parametrize(
    ("around", "value"),
    [
        (lambda one: one, "T"),
        (lambda one: {"properties": {"a": one}}, {"a": "T"}),
        (lambda one: {"items": one}, ["T"]),
        (lambda one: {"prefixItems": [one]}, ["T"]),
        (lambda one: {"contains": one}, ["T"]),
        (lambda one: {"additionalProperties": one}, {"b": "T"}),
        (lambda one: {"propertyNames": one}, {"T": 1}),
        (lambda one: {"patternProperties": {"b": one}}, {"b": "T"}),
        (lambda one: {"anyOf": [{"properties": {"a": {"items": one}}}]}, {"a": [1, "T"]}),
        (lambda one: {"dependentSchemas": {"a": {"properties": {"a": one}}}}, {"a": "T"}),
        (lambda one: {"additionalProperties": {"items": {"properties": {"c": one}}}}, {"b": [{"c": "T"}]}),
    ],
)
def test_every_text_that_a_pattern_can_meet_is_charged(schema, around, value):
    definitions = schema.get("$defs", {})
    bare = {name: one for name, one in schema.items() if name != "$defs"}
    judged = compiled(json.dumps({**around(bare), "$defs": definitions}))
    long = json.loads(json.dumps(value).replace("T", "a" * 1000))
    assert judged.units(long) >= 50 * 1000


def test_a_fault_costs_more_than_a_fit():
    schema = compiled(TABLE)
    assert schema.fault_units({"id": "A"}) > schema.units({"id": "A"})


def test_a_caller_of_an_offered_operation_pays_too():
    world = Offers.opened(**NEWEST)
    instance = Instance(world, world.open_session(world.app))
    caller = world.open_session(world.other)
    assert world.send(instance.body(replace(declared("tool:app/x"), input_schema=RISKY)), instance.session).says[0] == (
        "accepted"
    )
    said = world.send(invocation("tool:app/x", {"l": [QUERY] * 2}, target=instance.id), caller).says
    assert said == ("allowed", "")
    assert world.other.principal_id.encode() in world.tables.work.rows
