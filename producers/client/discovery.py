"""The agents, services and tools of a tenant, as its registry has them: for those who may read it.

What is told comes from signed events alone, followed from the pinned genesis. Persons and workloads have no row here:
they exist for as long as a session of theirs does (`macaw sessions`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from processors.identity.keys import is_live
from processors.state.tables import Tables
from schemas.rows import KeyRow, PrincipalRow
from schemas.words import Role

PROGRAMS = (Role.AGENT, Role.SERVICE, Role.TOOL)


def agents_in(tables: Tables, now: int, agent_type: str | None = None) -> list[dict[str, Any]]:
    """Return the programs with a live key at `now` (ms since the epoch), the newest first, as JSON objects.

    `agent_type` is `agent`, `service` or `tool`; without it all are told.
    """
    found = [
        told
        for name, row in list(tables.principals.rows.items())
        if row.role in PROGRAMS and agent_type in (None, row.role)
        if (told := _told(tables, name.decode(), row, now)) is not None
    ]
    return sorted(found, key=lambda one: (-one["registered_at"], one["agent_id"]))


def agent_in(tables: Tables, now: int, agent_id: str) -> dict[str, Any] | None:
    """Return one program, None if no such program has a live key at `now`."""
    row = tables.principals.get(agent_id.encode("utf-8", "surrogatepass"))
    return None if row is None or row.role not in PROGRAMS else _told(tables, agent_id, row, now)


def _told(tables: Tables, name: str, row: PrincipalRow, now: int) -> dict[str, Any] | None:
    keys = [key for kid in row.kids if (key := tables.keys.get(kid)) is not None and is_live(key, now)]
    if not keys:
        return None
    newest = max(keys, key=lambda key: key.registered_at)
    return {
        "agent_id": name,
        "agent_type": row.role,
        "registered_at": newest.registered_at,
        "expires_at": newest.expires_at,
        "instances": len(keys),
        "metadata": _attributes(newest),
        "intent_policy": {},
        "tools": {tool.resource: _declared(asdict(tool)) for tool in row.tools},
    }


def _attributes(key: KeyRow) -> dict[str, Any]:
    """Return the attributes of a registration that are set."""
    return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(key.attributes).items() if one}


def _declared(tool: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a tool's declaration that are set, without its name."""
    return {
        name: list(one) if isinstance(one, tuple) else one for name, one in tool.items() if one and name != "resource"
    }
