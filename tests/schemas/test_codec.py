"""Schemas, records and bytes: three spellings of one thing, strict in reading, and readable for ever."""

import dataclasses
import io
import json
import subprocess
import sys
import types
from hashlib import sha256
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.proof import jcs
from schemas import codec, records
from schemas.codec import MalformedRecordError, SchemaError, TrailingBytesError, UnknownSchemaError
from schemas.publish import TOP_LEVEL, unpublished
from schemas.records import AuditEntry, ClockTicked, Decision, Event
from tests.rows import every
from tests.vectors import generate

ROOT = Path(__file__).parents[2]
AVSC = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "schemas" / "avro").glob("*.avsc"))}
CLASSES = {
    name: cls
    for module in codec.RECORD_MODULES
    for name, cls in vars(module).items()
    if isinstance(cls, type)
    and dataclasses.is_dataclass(cls)
    and f"{cls.__module__}.".startswith(f"{module.__name__}.")
}
SAMPLES: list[dict[str, Any]] = json.loads(generate.SAMPLES.read_text("utf-8"))
READABLE = [sample for sample in SAMPLES if not generate.holds_texts(sample["record"])]
PRIMITIVES = {"bytes": bytes, "string": str, "long": int, "int": int, "boolean": bool}


# ---- schemas and dataclasses


def hint_of(kind: Any) -> Any:
    """Return the Python type that a schema's type stands for."""
    if isinstance(kind, list):
        hints = [hint_of(branch) for branch in kind if branch != "null"]
        hint = hints[0]
        for more in hints[1:]:
            hint = hint | more
        return hint | None if "null" in kind else hint
    if isinstance(kind, dict):
        return tuple[hint_of(kind["items"]), ...] if kind["type"] == "array" else hint_of(kind["type"])
    return PRIMITIVES.get(kind) or CLASSES[kind.rsplit(".", 1)[1]]


def test_every_schema_has_a_dataclass_and_every_dataclass_a_schema():
    """Neither side says something that the other does not know, and a file is called what it defines."""
    assert {name.rsplit(".", 1)[1] for name in AVSC} == set(CLASSES)
    assert all(f"{schema['namespace']}.{schema['name']}" == name for name, schema in AVSC.items())


@pytest.mark.parametrize("name", CLASSES)
def test_a_dataclass_is_its_schema_field_for_field(name):
    """The same fields in the same order, of the same types, with a default exactly where the schema has one."""
    cls, schema = CLASSES[name], AVSC[f"{codec.NAMESPACE}.{name}"]
    hints = get_type_hints(cls)

    assert [field.name for field in dataclasses.fields(cls)] == [field["name"] for field in schema["fields"]]
    for field, spec in zip(dataclasses.fields(cls), schema["fields"], strict=True):
        assert hints[field.name] == hint_of(spec["type"]), field.name
        assert (field.default is not dataclasses.MISSING) is ("default" in spec), field.name
        if "default" in spec:
            assert field.default == (tuple(spec["default"]) if spec["default"] == [] else spec["default"]), field.name
    assert cls.__slots__ == tuple(hints)
    assert schema["doc"]


def test_the_type_checker_refuses_to_assign_a_field_of_a_record(tmp_path):
    """Records are values; the checker that CI runs says so, where freezing at run time would cost the fold dearly."""
    source = tmp_path / "assigns.py"
    source.write_text("from schemas.records import ClockTicked\n\nClockTicked(deadline=1).deadline = 2\n", "utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", str(source)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip

    assert checked.returncode == 1
    assert "read-only" in checked.stdout


def test_unions_are_null_and_one_other_everywhere_but_in_the_events_body():
    """Output records stay readable for tools that know no wider union."""
    for name, schema in AVSC.items():
        for field in schema["fields"]:
            if isinstance(field["type"], list) and (name, field["name"]) != ("macaw.v1.Event", "body"):
                assert field["type"][0] == "null"
                assert len(field["type"]) == 2


# ---- published schemas


def test_what_is_published_is_what_the_schemas_say_now():
    """The newest published text of each record is its schema with every name resolved, in JCS form."""
    assert unpublished() == []
    for name in TOP_LEVEL:
        complete = codec.resolve(f"{codec.NAMESPACE}.{name}")
        assert codec.current(name).text == codec.canonical_json(complete)
        assert codec.current(name).text.encode() == jcs.canonical(complete)


def test_published_ids_are_numbered_without_gaps_and_named_by_digest():
    """An id stands for one text for ever, and a text for one id."""
    found = codec.published()

    assert sorted(found) == list(range(1, len(found) + 1))
    assert len(codec.by_digest()) == len(found)
    for number, schema in found.items():
        assert schema.id == number
        assert schema.sha256 == sha256(schema.text.encode()).digest()
        assert schema.prefix == b"\x00" + number.to_bytes(4, "big")
        assert codec.by_digest()[schema.sha256] is schema


def nodes(node: Any):
    """Yield every object inside a schema."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(inner)


@pytest.mark.parametrize("member", ["logicalType", "default", "doc"])
def test_a_change_that_avros_own_canonical_form_drops_changes_the_digest(member):
    """What is signed names the schema with its logical types, defaults and meanings: none of them can change unseen."""
    name = "Event"
    changed = json.loads(codec.current(name).text)
    victim = next(node for node in nodes(changed) if member in node)
    was = victim.pop(member)

    assert sha256(codec.canonical_json(changed).encode()).digest() != codec.current(name).sha256
    victim[member] = was
    assert sha256(codec.canonical_json(changed).encode()).digest() == codec.current(name).sha256


# ---- reading what was written


def strategy_of(kind: Any, named: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return all values of a schema, records as our dataclasses."""
    if isinstance(kind, list):
        return st.one_of(*(strategy_of(branch, named) for branch in kind))
    if isinstance(kind, dict) and kind["type"] == "record":
        named[f"{kind['namespace']}.{kind['name']}"] = kind
        return st.builds(CLASSES[kind["name"]], **{f["name"]: strategy_of(f["type"], named) for f in kind["fields"]})
    if isinstance(kind, dict):
        inner = kind.get("items")
        return st.lists(strategy_of(inner, named), max_size=3).map(tuple) if inner else strategy_of(kind["type"], named)
    if kind in named:
        return strategy_of(named[kind], named)
    return {
        "null": st.none(),
        "bytes": st.binary(max_size=80),
        "string": st.text(max_size=40),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
    }[kind]


STRATEGIES = {name: strategy_of(json.loads(codec.current(name).text), {}) for name in TOP_LEVEL}


def plain(value: Any) -> Any:
    """Return a record as the data that a general Avro writer takes."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    datum = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Event):
        datum["body"] = (f"{codec.NAMESPACE}.{type(value.body).__name__}", datum["body"])
    return datum


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_decoding_what_was_encoded_gives_the_same_record(name):
    """For every record of every type, and the bytes are those of a general Avro writer."""
    schema = codec.current(name)

    @settings(max_examples=40, deadline=None)
    @given(STRATEGIES[name])
    def holds(record):
        data = codec.encode(record)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema.parsed, plain(record))
        assert data == out.getvalue()
        assert codec.decode(schema, data) == record
        assert codec.frame(record) == schema.prefix + data
        assert codec.decode_as(type(record), codec.frame(record)) == record

    holds()


def read(value: bytes) -> Any:
    """Return the record in a value, or the code of its refusal; anything else that is raised escapes."""
    try:
        return codec.decode(*codec.unframe(value))
    except SchemaError as error:
        return error.code


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_only_a_schema_error_escapes_for_any_bytes(name):
    """Whatever the bytes: a record that is written again, or a refusal with a code."""
    schema = codec.current(name)

    @settings(max_examples=80, deadline=None)
    @given(st.binary(max_size=120))
    def holds(data):
        record = read(schema.prefix + data)
        if isinstance(record, str):
            assert record in {"UNDECODABLE", "TRAILING_BYTES"}
        else:
            assert codec.decode(schema, codec.encode(record)) == record

    holds()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_only_a_schema_error_escapes_for_mangled_records(sample, data):
    """A good record with a stretch of it replaced is refused or read, never a crash."""
    value = bytes.fromhex(sample["value"])
    at = data.draw(st.integers(0, len(value)))
    mangled = value[:at] + data.draw(st.binary(max_size=12)) + value[data.draw(st.integers(at, len(value))) :]
    record = read(mangled)
    assert not isinstance(record, str) or record in {"UNDECODABLE", "TRAILING_BYTES", "UNKNOWN_SCHEMA"}


@pytest.mark.parametrize(
    "lengths",
    [b"\x01", b"\xff\xff\xff\xff\x0f", b"\xfe" * 9 + b"\x01", b"\xff" * 9 + b"\x01", b"\xff" * 30, b"\x80" * 200],
)
def test_a_length_that_lies_is_refused(lengths):
    """Negative, enormous and endless lengths ask for no memory and read nothing that is not there."""
    for name in set(TOP_LEVEL) - {"WorkRow"}:  # which is two numbers: nothing in it has a length
        for padding in (b"", bytes(100)):
            with pytest.raises(SchemaError):
                codec.decode(codec.current(name), lengths + padding + b"\x01")


def test_bytes_after_the_datum_are_refused() -> None:
    """A value is one datum and nothing else, and not one byte less."""

    def holds(sample: dict[str, Any]) -> None:
        schema, body = codec.unframe(bytes.fromhex(sample["value"]))

        for tail in (b"\x00", b"\xff", body):
            with pytest.raises(TrailingBytesError):
                codec.decode(schema, body + tail)
        with pytest.raises(MalformedRecordError):
            codec.decode(schema, body[:-1])

    every(READABLE, lambda s: f"{s['id']}: {s['desc']}", holds)


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00\x01abc", b"\xff" * 9])
def test_a_value_without_a_prefix_is_malformed(value):
    """The byte 00 and four bytes of id come first."""
    with pytest.raises(MalformedRecordError):
        codec.unframe(value)


@pytest.mark.parametrize("number", [0, 99_999, 2**32 - 1])
def test_an_id_that_is_not_published_is_unknown(number):
    """Unknown is told apart from broken: sender and reader are of different versions."""
    with pytest.raises(UnknownSchemaError) as raised:
        codec.unframe(b"\x00" + number.to_bytes(4, "big") + b"datum")
    assert raised.value.code == "UNKNOWN_SCHEMA"


def test_a_record_of_another_type_is_not_taken():
    """Who wants a decision does not accept a well-formed audit entry."""
    row = next(s for s in SAMPLES if s["schema"] == "macaw.v1.AuditEntry")
    value = bytes.fromhex(row["value"])

    assert isinstance(codec.decode_as(AuditEntry, value), AuditEntry)
    with pytest.raises(MalformedRecordError, match=r"got macaw\.v1\.AuditEntry, want Decision"):
        codec.decode_as(Decision, value)


def test_text_that_has_no_bytes_is_not_written():
    """A lone surrogate cannot stand in a record."""
    header = records.Header(event_id=b"", principal_id="\ud800", seq=0, issued_at=0, salt=b"")

    with pytest.raises(UnicodeEncodeError):
        codec.encode(Event(header=header, body=ClockTicked(deadline=0)))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_not_written(number):
    """A long is 64 bits; more is refused where it is written, not cut."""
    header = records.Header(event_id=b"", principal_id="", seq=number, issued_at=0, salt=b"")

    with pytest.raises(OverflowError):
        codec.encode(Event(header=header, body=ClockTicked(deadline=0)))


def test_hints_of_unions_are_compared_as_such():
    """The comparison above would be idle if every hint looked alike."""
    assert get_origin(get_type_hints(records.Header)["session_id"]) is types.UnionType
    assert hint_of(["null", "bytes"]) == bytes | None
