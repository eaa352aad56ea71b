"""Records to bytes and back, strictly.

On the wire a record is `00`, a 4-byte big-endian schema id, and one Avro datum (the Confluent framing). The id only
says where to find the schema; signed bytes name the schema by `sha256`, the digest of its JCS form with all names
resolved. `published/` keeps every schema that was ever used under its id: old ids stay readable for ever.
There is one exception: a record under an id up to 67 that holds attributes or criteria as a JSON text is malformed.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import fastavro

from schemas import changes, records, rows
from schemas.codec_fast.reading import Reader, compile_reader
from schemas.codec_fast.writing import Writer, compile_writer
from schemas.errors import InputError
from schemas.events import (
    attributes,
    bodies,
    catalogues,
    enforcement,
    engines,
    keys,
    logins,
    providers,
    rulings,
    tenancy,
    tools,
    verdicts,
    workflow,
)
from schemas.numbers import NumberError, Numbers

NAMESPACE = "macaw.v1"
FRAME_BYTES = 5
_HERE = Path(__file__).parent

# A schema is resolved JSON, a datum a dict: these two shapes belong to Avro, and stay in this file.
Json = dict[str, Any]
Record = Any


class SchemaError(InputError):
    """The bytes are not one record of a published schema. `code` is the reason code on the log."""

    code = "UNDECODABLE"


class UnknownSchemaError(SchemaError):
    """No published schema has this id."""

    code = "UNKNOWN_SCHEMA"


class MalformedRecordError(SchemaError):
    """The bytes have no prefix, are of another type than expected, or do not hold a whole datum of their schema."""


class TrailingBytesError(SchemaError):
    """Bytes follow the datum."""

    code = "TRAILING_BYTES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A published schema: id, full name, JCS text, its SHA-256, and the form that fastavro runs."""

    id: int
    name: str
    text: str
    sha256: bytes
    parsed: Json

    @property
    def prefix(self) -> bytes:
        """The 5 bytes before a datum."""
        return b"\x00" + self.id.to_bytes(4, "big")


def canonical_json(value: object) -> str:
    """Return the JCS form (RFC 8785) of a value without floats and with ASCII member names, as schemas are."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def resolve(name: str, directory: Path = _HERE / "avro") -> Json:
    """Return the complete schema of `name`, every reference replaced by its definition at first use."""
    complete: Json = _resolved(name, directory, set())
    return complete


def _resolved(node: Any, directory: Path, seen: set[str]) -> Any:
    if isinstance(node, list):
        return [_resolved(branch, directory, seen) for branch in node]
    if isinstance(node, str):
        if not node.startswith(NAMESPACE) or node in seen:
            return node
        return _resolved(json.loads((directory / f"{node}.avsc").read_text("utf-8")), directory, seen)
    if node["type"] == "record":
        seen.add(f"{node['namespace']}.{node['name']}")
        fields = [{**f, "type": _resolved(f["type"], directory, seen)} for f in node["fields"]]
        return {**node, "fields": fields}
    if node["type"] == "array":
        return {**node, "items": _resolved(node["items"], directory, seen)}
    return node


def _without_logical_types(node: Any) -> Any:
    """Return a schema without logical types and docs: times stay integers, so no time zone enters the core."""
    if isinstance(node, list):
        return [_without_logical_types(branch) for branch in node]
    if isinstance(node, dict):
        return {k: _without_logical_types(v) for k, v in node.items() if k not in {"logicalType", "doc"}}
    return node


def _load(path: Path) -> Schema:
    number, name = path.name.removesuffix(".avsc").split("-", 1)
    text = path.read_text("utf-8")
    parsed: Any = fastavro.parse_schema(_without_logical_types(json.loads(text)))
    digest = hashlib.sha256(text.encode()).digest()
    return Schema(id=int(number), name=name, text=text, sha256=digest, parsed=parsed)


@functools.cache
def published() -> dict[int, Schema]:
    """Return every published schema by id."""
    return {s.id: s for s in map(_load, sorted((_HERE / "published").glob("*.avsc")))}


@functools.cache
def _by_prefix() -> dict[bytes, Schema]:
    return {s.prefix: s for s in published().values()}


@functools.cache
def by_digest() -> dict[bytes, Schema]:
    """Return every published schema by the digest of its text."""
    return {s.sha256: s for s in published().values()}


@functools.cache
def current(name: str) -> Schema:
    """Return the newest published schema of a record, by its short name."""
    return max((s for s in published().values() if s.name == f"{NAMESPACE}.{name}"), key=lambda s: s.id)


# --- values <-> data ----------------------------------------------------------------------------------------

RECORD_MODULES = (
    records, workflow, rulings, keys, engines, tools, providers, logins, tenancy, bodies, verdicts, rows, changes,
    attributes, catalogues, enforcement,
)  # fmt: skip


def _class_of(name: str) -> Any:
    short = name.rsplit(".", 1)[1]
    return next(getattr(module, short) for module in RECORD_MODULES if hasattr(module, short))


def _nested(hint: Any) -> Any:
    """Return the record class inside a type hint such as X, X | None or tuple[X, ...]."""
    if get_origin(hint) is tuple:
        return _nested(get_args(hint)[0])
    if hasattr(hint, "__dataclass_fields__"):
        return hint
    return next((n for n in map(_nested, get_args(hint)) if n), None)


@functools.cache
def _builder(cls: Any) -> Callable[[Json], Record]:
    """Return a function from a decoded datum to `cls`; flat records need only keyword arguments."""
    hints = get_type_hints(cls)
    nested = {name: _nested(hint) for name, hint in hints.items()}
    arrays = {name for name, hint in hints.items() if get_origin(hint) is tuple}
    special = [n for n in hints if nested[n] or n in arrays]
    if not special:
        return lambda datum: cls(**datum)

    def build(datum: Json) -> Record:
        for name in special:
            value, inner = datum[name], nested[name]
            if not value:
                datum[name] = () if name in arrays else value
            elif inner is None:
                datum[name] = tuple(value)
            elif name in arrays:
                datum[name] = tuple(map(_builder(inner), value))
            else:
                datum[name] = _builder(inner)(value)
        return cls(**datum)

    return build


@functools.cache
def _body_builder(name: str) -> Callable[[Json], Record]:
    return _builder(_class_of(name))


def _build_event(datum: Json) -> records.Event:
    name, body = datum["body"]
    return records.Event(header=records.Header(**datum["header"]), body=_body_builder(name)(body))


@functools.cache
def _reader(schema_id: int) -> tuple[Json | None, Callable[[Json], Record]]:
    """Return the schema to resolve to (None: the writer's own) and the function from the datum to the record."""
    schema = published()[schema_id]
    newest = current(schema.name.rsplit(".", 1)[1])
    build = _build_event if schema.name == f"{NAMESPACE}.Event" else _builder(_class_of(schema.name))
    return (None if newest is schema else newest.parsed), build


@functools.cache
def _quick_reader(schema_id: int) -> Reader | None:
    """Return the generated reader of a schema, if it is the newest of its name; None for an older one."""
    schema = published()[schema_id]
    if current(schema.name.rsplit(".", 1)[1]) is not schema:
        return None
    return compile_reader(json.loads(schema.text), _class_of)


@functools.cache
def _numbers(schema_id: int) -> Numbers:
    return Numbers(json.loads(published()[schema_id].text))


@functools.cache
def _writer(cls: Any) -> tuple[bytes, Writer]:
    schema = current(cls.__name__)
    return schema.prefix, compile_writer(json.loads(schema.text))


def encode(record: Record) -> bytes:
    """Return the Avro datum of `record` under the current schema of its type."""
    return _writer(record.__class__)[1](record)


def frame(record: Record) -> bytes:
    """Return `record` as it stands on a topic: prefix and datum."""
    prefix, write = _writer(record.__class__)
    return prefix + write(record)


def unframe(value: bytes) -> tuple[Schema, bytes]:
    """Split a record value into its schema and datum.

    Raises:
        UnknownSchemaError: no published schema has the id.
        MalformedRecordError: the value does not begin with a prefix.
    """
    schema = _by_prefix().get(value[:FRAME_BYTES])
    if schema is None:
        if len(value) < FRAME_BYTES or value[0] != 0:
            raise MalformedRecordError("the value does not begin with the byte 00 and a schema id of 4 bytes")
        raise UnknownSchemaError(f"schema id {int.from_bytes(value[1:5], 'big')} is not published here")
    return schema, value[FRAME_BYTES:]


def decode(schema: Schema, body: bytes) -> Record:
    """Read one whole datum.

    A datum written under an older published schema is read as today's record (Avro schema resolution).

    Raises:
        MalformedRecordError: `body` does not begin with a datum of `schema`, or a number in it does not fit its type.
        TrailingBytesError: bytes follow the datum.
    """
    quick = _quick_reader(schema.id)
    record = None if quick is None else quick(body)
    return decode_generally(schema, body) if record is None else record


def decode_generally(schema: Schema, body: bytes) -> Record:
    """Read one whole datum of any form that Avro allows. Returns and raises the same as `decode`, more slowly."""
    source = io.BytesIO(body)
    reader, build = _reader(schema.id)
    try:
        _numbers(schema.id).check(body)
        datum: Any = fastavro.schemaless_reader(
            source, schema.parsed, reader, return_record_name=True, return_record_name_override=True
        )
        if source.tell() != len(body):
            raise TrailingBytesError(f"{len(body) - source.tell()} bytes follow the datum")  # noqa: TRY301
        return build(datum)
    except (SchemaError, MemoryError):
        raise
    except NumberError as exc:
        raise MalformedRecordError(f"not a datum of {schema.name}: {exc}") from exc
    except Exception as exc:  # a foreign datum may break the reader in any way
        # The kind of the error is the library's and the interpreter's: it must not become a text on the log.
        raise MalformedRecordError(f"not a datum of {schema.name}") from exc


def decode_as(cls: type[Record], value: bytes) -> Record:
    """Read a framed record that must be of one type.

    Raises:
        SchemaError: the value is not one whole record of `cls`.
    """
    schema, body = unframe(value)
    if schema.name != f"{NAMESPACE}.{cls.__name__}":
        raise MalformedRecordError(f"got {schema.name}, want {cls.__name__}")
    return decode(schema, body)
