"""A tenant's decision keys: those that are kept here, and those that may sign by the log."""

from __future__ import annotations

from processors.identity.keys import is_live
from processors.state.tables import Tables
from producers.home.clock import clock_ms
from producers.home.home import TenantHome
from schemas.rows import KeyRow
from schemas.words import Role


def kids_here(folder: TenantHome) -> set[bytes]:
    """Return the kids of the decision keys that are kept here, coming ones too. Raises KeyAccessError."""
    return {folder.keys.facts(path).kid for path in folder.monitor_key_files()}


def live_on(tables: Tables) -> dict[bytes, KeyRow]:
    """Return the decision keys that are valid by this machine's clock, of a registry as followed."""
    now, rows = clock_ms(), list(tables.keys.rows.items())
    return {kid: row for kid, row in rows if row.role == Role.MONITOR and is_live(row, now)}
