"""A reader of Avro data after the specification 1.12, "Binary Encoding": plain, slow, and of no use to the product."""

from __future__ import annotations

from typing import Any


class NotAvroError(ValueError):
    """The bytes are no datum of the schema."""


def read_datum(schema: Any, data: bytes) -> tuple[Any, bytes]:
    """Return (value, what follows it): bytes as hex, a branch of several as {name: value}. Raises NotAvroError."""
    value, at = _read(schema, data, 0, {})
    return value, data[at:]


def _long(data: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        if at >= len(data):
            raise NotAvroError("a number ends early")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return (number >> 1) ^ -(number & 1), at


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _long(data, at)
    if size < 0 or at + size > len(data):
        raise NotAvroError("bytes end early")
    return data[at : at + size], at + size


def _read(schema: Any, data: bytes, at: int, named: dict[str, Any]) -> tuple[Any, int]:  # noqa: PLR0911
    if isinstance(schema, list):
        return _union(schema, data, at, named)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        named[f"{schema['namespace']}.{schema['name']}"] = schema
        found = {}
        for field in schema["fields"]:
            found[field["name"]], at = _read(field["type"], data, at, named)
        return found, at
    if kind == "array":
        return _array(schema["items"], data, at, named)
    if kind in named:
        return _read(named[kind], data, at, named)
    if kind in ("bytes", "string"):
        value, at = _bytes(data, at)
        return (value.hex() if kind == "bytes" else _text(value)), at
    if kind == "boolean":
        if at >= len(data):
            raise NotAvroError("a truth value is missing")
        return data[at] != 0, at + 1
    return _long(data, at) if kind in ("int", "long") else _read(kind, data, at, named)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise NotAvroError("a text is not UTF-8") from exc


def _union(branches: list[Any], data: bytes, at: int, named: dict[str, Any]) -> tuple[Any, int]:
    for branch in branches:  # a later branch may name what an earlier one defines
        _define(branch, named)
    index, at = _long(data, at)
    if not 0 <= index < len(branches):
        raise NotAvroError("no such branch")
    branch = branches[index]
    if branch == "null":
        return None, at
    value, at = _read(branch, data, at, named)
    if branches[0] == "null":
        return value, at
    name = branch if isinstance(branch, str) else f"{branch['namespace']}.{branch['name']}"
    return {name: value}, at


def _array(items: Any, data: bytes, at: int, named: dict[str, Any]) -> tuple[list[Any], int]:
    _define(items, named)
    found: list[Any] = []
    while True:
        count, at = _long(data, at)
        if count < 0:
            _, at = _long(data, at)
            count = -count
        if count > len(data):  # no item of ours takes less than a byte
            raise NotAvroError("more items than bytes")
        if not count:
            return found, at
        for _ in range(count):
            value, at = _read(items, data, at, named)
            found.append(value)


def _define(schema: Any, named: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _define(branch, named)
    elif isinstance(schema, dict) and schema["type"] == "record":
        named[f"{schema['namespace']}.{schema['name']}"] = schema
        _define([field["type"] for field in schema["fields"]], named)
    elif isinstance(schema, dict):
        _define(schema.get("items", schema["type"]), named)
