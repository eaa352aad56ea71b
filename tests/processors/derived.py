"""What tables derive from their rows, as they keep it and as it follows from the rows alone."""

from __future__ import annotations

from typing import Any

from processors.state.table import Table
from processors.state.tables import Tables


def state(tables: Tables) -> dict[str, Any]:
    """Return everything that the next record can depend on, what is derived from rows included."""
    rows: dict[str, Any] = {name: dict(table.rows) for name, table in tables.by_name.items()}
    every = tables.by_name.items()
    derived = {f"groups of {name}": (groups(t._groups), shares(t)) for name, t in every}
    return {**rows, **derived, "tail": (tables.next_index, tables.prev, tables.now), "next": tables.next_deadline()}


def groups(found: dict[Any, Any]) -> dict[Any, tuple[bytes, ...]]:
    return {group: tuple(keys) for group, keys in found.items()}


def shares(table: Table[Any]) -> tuple[Any, ...]:
    return table.counted, table.weight, dict(table.counts), dict(table.weights)


def derived_again(tables: Tables) -> dict[str, Any]:
    """Return groups, counts and weights as they follow from the rows alone, without what kept them up to date."""
    found: dict[str, Any] = {}
    for name, table in tables.by_name.items():
        kept: dict[Any, list[bytes]] = {}
        counts: dict[str, int] = {}
        weights: dict[str, int] = {}
        for key in sorted(table.rows):
            row = table.rows[key]
            for group in table._groups_of(row) if table._groups_of else ():
                kept.setdefault(group, []).append(key)
            for share, _ in table.shares_of(row):
                counts[share] = counts.get(share, 0) + 1
                weights[share] = weights.get(share, 0) + (table._weigh(row) if table._weigh else 0)
        whole = sum(map(table._weigh, table.rows.values())) if table._weigh else 0
        counted = sum(bool(table.shares_of(row)) for row in table.rows.values())
        weights = {share: weight for share, weight in weights.items() if weight}
        found[f"groups of {name}"] = (groups(kept), (counted, whole, counts, weights))
    return found
