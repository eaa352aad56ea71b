"""Bounds of the numbers in a datum: an Avro `int` has 32 bits, a `long` 64, and an array at most ARRAY_ITEMS_MAX items.

Avro 1.12 bounds the types ("Binary Encoding"); fastavro does not check it and cuts longer numbers off silently, so that
two readers could see two values. The walk checks nothing else; fastavro finds a datum that is not whole.
"""

from __future__ import annotations

from typing import Any

from schemas.errors import InputError
from schemas.limits import ARRAY_ITEMS_MAX

VARINT_BYTES_MAX = 10  # of 64 bits
_BITS = {"int": 32, "long": 64}


class NumberError(InputError):
    """A number does not fit its type, or an array has too many items."""


class Numbers:
    """Checks the numbers of data of one resolved schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._records: dict[str, Any] = {}  # by full name: a record's second use in a schema is only its name
        self._collect(schema)

    def _collect(self, schema: Any) -> None:
        if isinstance(schema, list):
            for branch in schema:
                self._collect(branch)
        elif isinstance(schema, dict):
            if schema["type"] == "record":
                self._records[f"{schema['namespace']}.{schema['name']}"] = schema
            for inner in (schema["items"],) if "items" in schema else (f["type"] for f in schema.get("fields", ())):
                self._collect(inner)

    def check(self, data: bytes) -> None:
        """Check every number of a datum.

        Raises:
            NumberError: a number does not fit its type, or an array has too many items.
            IndexError: the datum ends too soon, or names a branch that its union does not have.
        """
        _Walk(self._records, data).value(self._schema)


class _Walk:
    """One pass over a datum, from its beginning to its end."""

    def __init__(self, names: dict[str, Any], data: bytes) -> None:
        self._records = names
        self._data = data
        self._at = 0

    def value(self, schema: Any) -> None:
        """Check the numbers of one value and move behind it."""
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, list):
            branch = self._number(64)
            if branch < 0:
                raise IndexError
            self.value(kind[branch])
        elif kind == "array":
            self._array(schema["items"])
        elif kind == "record" or kind in self._records:
            for field in (schema if kind == "record" else self._records[kind])["fields"]:
                self.value(field["type"])
        else:
            self._primitive(kind)

    def _primitive(self, kind: str) -> None:
        if kind in _BITS:
            self._number(_BITS[kind])
        elif kind == "boolean":
            self._at += 1
        elif kind != "null":  # string and bytes; our schemas have no other type
            length = self._number(64)
            if not 0 <= length <= len(self._data) - self._at:
                raise IndexError
            self._at += length

    def _array(self, items: Any) -> None:
        left = ARRAY_ITEMS_MAX
        while count := self._number(64):
            if count < 0:
                self._number(64)  # the block's size in bytes
            left -= abs(count)
            if left < 0:
                raise NumberError(f"an array has more than {ARRAY_ITEMS_MAX} items")
            for _ in range(abs(count)):
                self.value(items)

    def _number(self, bits: int) -> int:
        value, begin = 0, self._at
        while True:
            byte = self._data[self._at]
            value |= (byte & 0x7F) << 7 * (self._at - begin)
            self._at += 1
            if byte < 0x80:
                break
            if self._at - begin == VARINT_BYTES_MAX:
                raise NumberError(f"a number has more than {VARINT_BYTES_MAX} bytes")
        if value >> bits:
            raise NumberError(f"a number has more than {bits} bits")
        return value >> 1 ^ -(value & 1)
