"""The registered tools of a tenant, a page at a time, as far as a session could call them."""

from __future__ import annotations

import json
from typing import Any

from macaw.gateway.http import bounds
from producers.client import Client


def tools_page(client: Client, after: str) -> dict[str, Any]:
    """Return the tools with names that follow `after`, and the `next` of the page. Raises as `Client.callable`.

    A page may hold fewer than were looked at: the log says which of them some call of the session could be allowed.
    """
    offered = {
        resource: (program["agent_id"], declared)
        for program in client.list_agents()
        for resource, declared in program["tools"].items()
        if resource > after
    }
    names = sorted(offered)
    page = names[: bounds.TOOLS_PAGE]
    allowed = client.callable(page) if page else set()
    tools = [_tool(name, *offered[name]) for name in page if name in allowed]
    return {"tools": tools, "next": page[-1] if len(names) > len(page) else None}


def _tool(resource: str, offered_by: str, declared: dict[str, Any]) -> dict[str, Any]:
    """Return one tool; members of its declaration that are not set are left out of it."""
    told = {
        "resource": resource,
        "offered_by": offered_by,
        "description": declared.get("description", ""),
        "streams": bool(declared.get("streams")),
        "idempotent": bool(declared.get("idempotent")),
    }
    for name in ("input_schema", "output_schema"):
        if name in declared:
            told[name] = json.loads(declared[name])  # strict JSON objects: the log has checked them
    return told
