"""Readers generated from schemas, one function for each record type, for the data that `writing` makes.

A reader returns None for data in any other form; then fastavro reads them, and refuses them if they are wrong. So a
reader must be right only where it answers, and tests compare every answer with fastavro's, over good and mangled data.
It takes half of fastavro's time (docs/performance.md), and builds our records instead of dictionaries.

`_Compiler._lines` writes the Python lines that read one value from `data` at `at`. For a field `spent` of a record:

    {"type": "boolean"} →  n = data[at]; at += 1; (more bytes of n); if n > 1: raise Unusual; r.spent = n == 1
    data 01, at 0       →  r.spent = True, at 1
    data 02, at 0       →  _UnusualError, so the whole reader returns None, and fastavro judges the datum
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.limits import ARRAY_ITEMS_MAX

Reader = Callable[[bytes], Any]
_Part = Callable[[bytes, int], tuple[Any, int]]

_LONG_BYTES_MAX = 9  # of a varint: 63 bits, more than any time or counter
_PRIMITIVES = frozenset({"string", "bytes", "long", "int", "boolean"})
# A wrong length moves `at` behind the data: then the next byte is missing, or `at` is not the end of the data.
_NOT_KNOWN = (IndexError, UnicodeDecodeError)


class _UnusualError(IndexError):
    """The data do not have the form that our writers give them; they may be valid Avro all the same."""


def compile_reader(schema: Any, class_of: Callable[[str], Any]) -> Reader | None:
    """Return a function from a datum to its record, or None if the schema uses a type that is not known here.

    The function returns None for a datum in another form than our writers give it. `class_of` returns the record class
    of a full schema name. Requires a resolved schema.
    """
    try:
        part = _Compiler(class_of).part(schema)
    except TypeError:
        return None

    def read(data: bytes) -> Any:
        try:
            record, end = part(data, 0)
        except _NOT_KNOWN:
            return None
        return record if end == len(data) else None

    return read


def _long(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return an unsigned varint that begins with the byte `first` and goes on at `at`, and the position behind it."""
    value, shift, begin = first & 0x7F, 7, at
    while (byte := data[at]) > 0x7F:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    if not byte or at - begin + 2 > _LONG_BYTES_MAX:
        raise _UnusualError  # not the shortest form, or more than 63 bits
    return value | byte << shift, at + 1


def _array(data: bytes, at: int, item: _Part) -> tuple[tuple[Any, ...], int]:
    """Return the items of an array that is written in one block, and the position behind it."""
    count = data[at]
    at += 1
    if count > 0x7F:
        count, at = _long(data, at, count)
    if not count:
        return (), at
    if count & 1 or count >> 1 > ARRAY_ITEMS_MAX:
        raise _UnusualError  # a block with its size in bytes, or too many items
    items = []
    for _ in range(count >> 1):
        value, at = item(data, at)
        items.append(value)
    if data[at]:
        raise _UnusualError
    return tuple(items), at + 1


class _Compiler:
    """Turns a schema into functions that call each other, kept by name: a record's second use is only its name."""

    def __init__(self, class_of: Callable[[str], Any]) -> None:
        self._class_of = class_of
        self._records: dict[str, _Part] = {}

    def part(self, schema: Any) -> _Part:
        """Return the function that reads a value of `schema`. Raises TypeError for a type that is not known here."""
        if isinstance(schema, str) and schema in self._records:
            return self._records[schema]
        if isinstance(schema, dict) and schema["type"] == "record":
            return self._record(schema)
        names: dict[str, Any] = {}
        return self._made([*self._lines(schema, "v", names), "return v, at"], names)

    def _record(self, schema: Any) -> _Part:
        # Field by field: calling the class would first put them all into a dictionary of keyword arguments.
        names: dict[str, Any] = {
            "cls": self._class_of(f"{schema['namespace']}.{schema['name']}"),
            "new": object.__new__,
        }
        lines = ["r = new(cls)"]
        for field in schema["fields"]:
            lines += self._lines(field["type"], f"r.{field['name']}", names)
        made = self._made([*lines, "return r, at"], names)
        self._records[f"{schema['namespace']}.{schema['name']}"] = made
        return made

    def _made(self, lines: list[str], names: dict[str, Any]) -> _Part:
        names |= {"long_": _long, "array_": _array, "Unusual": _UnusualError}
        source = "def part(data, at):\n" + "".join(f"    {line}\n" for line in lines)
        # The source is made of our own published schemas' field names, nothing else.
        exec(source, names)  # noqa: S102
        made: _Part = names["part"]
        return made

    def _lines(self, schema: Any, to: str, names: dict[str, Any]) -> list[str]:
        """Return the lines that read a value into `to` and move `at` behind it."""
        kind = schema["type"] if isinstance(schema, dict) and schema["type"] in _PRIMITIVES else schema
        if isinstance(kind, str) and kind in _PRIMITIVES:
            return [*_FIRST, *_VALUE[kind](to)]
        if isinstance(kind, list) and kind[0] == "null" and len(kind) == 2:
            inner = self._lines(kind[1], to, names)
            some = ["    " + line for line in inner]
            rest = ["elif n == 2:", *some, "else:", "    raise Unusual"]
            return ["n = data[at]", "at += 1", "if not n:", f"    {to} = None", *rest]
        name = f"p{len(names)}"
        if isinstance(kind, list):
            names[name] = [self.part(branch) for branch in kind]
            # An odd byte is a negative branch; from 128 on more bytes follow.
            pick = ["n = data[at]", "if n & 129:", "    raise Unusual"]
            return [*pick, f"{to}, at = {name}[n >> 1](data, at + 1)"]
        if isinstance(kind, dict) and kind["type"] == "array":
            names[name] = self.part(kind["items"])
            return ["if not data[at]:", f"    {to} = ()", "    at += 1", *self._items(kind["items"], to, name)]
        if kind in self._records if isinstance(kind, str) else kind["type"] == "record":
            names[name] = self.part(kind)
            return [f"{to}, at = {name}(data, at)"]
        raise TypeError(f"no reader for Avro type {kind!r}")

    def _items(self, item: Any, to: str, name: str) -> list[str]:
        """Return the lines that read an array with items into `to`; up to 63 primitive ones without a call for each."""
        whole = f"{to}, at = array_(data, at, {name})"
        if not (isinstance(item, str) and item in _PRIMITIVES):
            return ["else:", f"    {whole}"]
        each = [f"        {line}" for line in [*_FIRST, *_VALUE[item]("v"), "items.append(v)"]]
        few = ["    count, items = data[at] >> 1, []", "    at += 1", "    for _ in range(count):", *each]
        ended = ["    if data[at]:", "        raise Unusual", "    at += 1", f"    {to} = tuple(items)"]
        return ["elif data[at] & 129:", f"    {whole}", "else:", *few, *ended]


# Reads a varint into `n`. Most take one or two bytes; a second byte of zero would not be the shortest form.
_FIRST = [
    "n = data[at]",
    "at += 1",
    "if n > 127:",
    "    if 0 < data[at] < 128:",
    "        n = n & 127 | data[at] << 7",
    "        at += 1",
    "    else:",
    "        n, at = long_(data, at, n)",
]
_LENGTH = ["if n & 1:", "    raise Unusual"]
_VALUE: dict[str, Callable[[str], list[str]]] = {
    "bytes": lambda to: [*_LENGTH, f"{to} = data[at : (at := at + (n >> 1))]"],
    "string": lambda to: [*_LENGTH, f"{to} = data[at : (at := at + (n >> 1))].decode()"],
    "long": lambda to: [f"{to} = n >> 1 ^ -(n & 1)"],
    "int": lambda to: ["if n > 4294967295:", "    raise Unusual", f"{to} = n >> 1 ^ -(n & 1)"],  # 32 bits
    "boolean": lambda to: ["if n > 1:", "    raise Unusual", f"{to} = n == 1"],
}
