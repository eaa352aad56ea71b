"""The rows of a tenant's tables as they travel on the topic `state`: one record for each row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from processors.state.tables import Tables
from schemas import codec
from schemas.errors import EvidenceError


class UnknownTableError(EvidenceError):
    """Rows name tables that this version does not have."""


def row_key(table: str, key: bytes) -> bytes:
    """Return the key of a row on the topic `state`."""
    return table.encode() + b"/" + key


def framed_rows(tables: Tables) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of every row, as on the topic `state`."""
    for name, table in tables.by_name.items():
        for key, row in table.rows.items():
            yield row_key(name, key), codec.frame(row)


def restore_rows(tables: Tables, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Put rows into empty tables.

    Raises:
        UnknownTableError: this version has no such table.
        SchemaError: a value is not a row.
    """
    decoded = [(*full.partition(b"/")[::2], codec.decode(*codec.unframe(value))) for full, value in rows]
    if unknown := {name.decode("utf-8", "replace") for name, _, _ in decoded} - tables.by_name.keys():
        raise UnknownTableError(f"rows of unknown tables: {sorted(unknown)}")
    for name, key, row in decoded:
        tables.by_name[name.decode()].restore(key, row)
