"""Writers made from schemas: one Python function for each record type, generated once from its resolved schema.

The reason not to use fastavro: the fold writes four small records for each call, and fastavro's writer takes four times
as long for one (docs/performance.md). The bytes are the same for every record; a test compares the two. Types that our
schemas do not use are refused when the writer is made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Writer = Callable[[Any], bytes]

_SMALL = 8192


@functools.lru_cache(maxsize=_SMALL)
def zigzag(number: int) -> bytes:
    """Return a long as Avro writes it: zig-zag, then 7 bits in each byte, low bits first (Avro 1.12, binary encoding).

    Raises:
        OverflowError: the number has more than 64 bits.
    """
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"{number} does not fit an Avro long of 64 bits")
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def zigzag_int(number: int) -> bytes:
    """Return an int as Avro writes it. Raises OverflowError for more than 32 bits."""
    if not -(1 << 31) <= number < 1 << 31:
        raise OverflowError(f"{number} does not fit an Avro int of 32 bits")
    return zigzag(number)


class _Lengths(dict[int, bytes]):
    """Lengths and counts as Avro writes them, the usual ones computed in advance."""

    def __missing__(self, size: int) -> bytes:
        return zigzag(size)


LENGTHS = _Lengths((n, zigzag(n)) for n in range(_SMALL))


def text(value: str) -> bytes:
    """Return a string with its length. Raises UnicodeEncodeError for a lone surrogate."""
    data = value.encode()
    return LENGTHS[len(data)] + data


def array(values: tuple[Any, ...], item: Writer) -> bytes:
    """Return an array in one block."""
    return LENGTHS[len(values)] + b"".join(map(item, values)) + b"\0" if values else b"\0"


def blob(value: bytes) -> bytes:
    """Return bytes with their length."""
    return LENGTHS[len(value)] + value


def flag(value: bool) -> bytes:  # noqa: FBT001 - the value itself
    """Return a boolean."""
    return b"\1" if value else b"\0"


# For each primitive: the generated expression ({0}: the value, {1}: a name for its bytes), and the same as a function.
_PRIMITIVES: dict[str, tuple[str, Writer]] = {
    "string": ("L[len({1} := {0}.encode())], {1}", text),
    "bytes": ("L[len({1} := {0})], {1}", blob),
    "long": ("zigzag({0})", zigzag),
    "int": ("zigzag_int({0})", zigzag_int),
    "boolean": ("b'\\1' if {0} else b'\\0'", flag),
}


def compile_writer(schema: Any) -> Writer:
    """Return a function from a record object to its datum. Requires a resolved schema.

    Raises:
        TypeError: the schema uses a type that is not known here.
    """
    return _Compiler().writer(schema)


class _Compiler:
    """Turns one schema into nested functions, kept by name: a record's second use is only its name."""

    def __init__(self) -> None:
        self._records: dict[str, Writer] = {}

    def writer(self, schema: Any) -> Writer:
        """Return the writer of one value."""
        if isinstance(schema, str):
            return self._records[schema] if schema in self._records else _primitive(schema)[1]
        if isinstance(schema, list):
            return self._union(schema)
        if schema["type"] == "record":
            return self._record(schema)
        if schema["type"] == "array":
            item = self.writer(schema["items"])
            return lambda values: array(values, item)
        return _primitive(schema["type"])[1]

    def _union(self, branches: list[Any]) -> Writer:
        writers = [self.writer(b) if b != "null" else None for b in branches]
        if branches[0] == "null" and len(branches) == 2 and writers[1] is not None:
            some = writers[1]
            return lambda value: b"\0" if value is None else b"\2" + some(value)
        by_class = {_short_name(b): (zigzag(i), w) for i, (b, w) in enumerate(zip(branches, writers, strict=True))}

        def union(value: Any) -> bytes:
            tag, write = by_class[type(value).__name__]
            assert write is not None
            return tag + write(value)

        return union

    def _record(self, schema: Any) -> Writer:
        """Generate `lambda r: b"".join((field, field, …))` over the record's attributes."""
        names: dict[str, Any] = {"L": LENGTHS, "zigzag": zigzag, "zigzag_int": zigzag_int}
        parts = [self._part(field["type"], f"r.{field['name']}", names) for field in schema["fields"]]
        source = f"lambda r: b''.join(({', '.join(parts)},))"
        # The source is made of our own published schemas' field names, nothing else.
        made: Writer = eval(source, names)  # noqa: S307
        self._records[f"{schema['namespace']}.{schema['name']}"] = made
        return made

    def _part(self, schema: Any, value: str, names: dict[str, Any]) -> str:
        kind = _kind(schema)
        if isinstance(kind, str) and kind in _PRIMITIVES:
            return _PRIMITIVES[kind][0].format(value, f"v{value[2:]}")
        name = f"w{len(names)}"
        if isinstance(kind, list) and kind[0] == "null" and len(kind) == 2:
            names[name] = self.writer(kind[1])
            return f"b'\\0' if {value} is None else b'\\2' + {name}({value})"
        names[name] = self.writer(schema)
        if kind == "array":
            return f"{name}({value}) if {value} else b'\\0'"
        return f"{name}({value})"


def _kind(schema: Any) -> Any:
    """Return the kind of a type: its name, or the branches of a union."""
    return schema["type"] if isinstance(schema, dict) else schema


def _primitive(kind: Any) -> tuple[str, Writer]:
    if kind not in _PRIMITIVES:
        raise TypeError(f"no writer for Avro type {kind!r}")
    return _PRIMITIVES[kind]


def _short_name(branch: Any) -> str:
    name = branch if isinstance(branch, str) else branch["name"]
    return str(name).rsplit(".", 1)[-1]
