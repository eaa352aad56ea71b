"""Agents as programs look them up: a row for each instance, the newest first, and one for each of its tools."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from macaw_client.names import KNOWN, TOOL_MARK, UnknownAgentError, app_and_digits, id_of, without_tool
from processors.policy.names import PERSON_PREFIX, WORKLOAD_PREFIX
from schemas.words import Role

APP = "app"  # the filter that covers every program
TOOL = "tool"
USER = "user"
ANY_INSTANCE = "00000000"  # the digits of a host whose tools are registered: each of its instances answers
_PROGRAMS = frozenset({APP, str(Role.AGENT), str(Role.SERVICE)})  # filters: programs of this package are all services


def rows_of(found: Iterable[Mapping[str, Any]], agent_type: str | None) -> list[dict[str, Any]]:
    """Return agents, newest first as they were given, each followed by its tools; `agent_type` keeps one kind.

    `app`, `agent` and `service` stand for every program, and `user` for persons, each with its tools.
    """
    return [row for one in found for row in _rows(one) if _fits(row, agent_type)]


def _fits(row: Mapping[str, Any], agent_type: str | None) -> bool:
    if agent_type is None:
        return True
    if agent_type in _PROGRAMS:
        return not row["is_person"]
    return bool(row["agent_type"] == agent_type) or (agent_type == USER and bool(row["is_person"]))


def _rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    principal, session = str(found["principal"]), found.get("session")
    is_person = principal.startswith((PERSON_PREFIX, WORKLOAD_PREFIX))
    if isinstance(session, bytes):
        agent_id = KNOWN.remember(id_of(principal, session, str(found.get("label", ""))), session)
    else:
        agent_id = id_of(principal, bytes.fromhex(ANY_INSTANCE))
    tools = {_registered_name(name): dict(one) for name, one in dict(found.get("tools") or {}).items()}
    shared: dict[str, Any] = {
        "principal": principal,
        "registered_at": found.get("since"),
        "intent_policy": {},
        "is_person": is_person,
    }
    yield {
        "agent_id": agent_id,
        "agent_type": USER if is_person else APP,
        "tools": tools,
        "metadata": copy.deepcopy(dict(found.get("metadata") or {})),
        **shared,
    }
    for name, declared in tools.items():
        description = str(declared.get("description") or "")
        yield {
            "agent_id": f"{agent_id}{TOOL_MARK}{name}",
            "agent_type": TOOL,
            "tools": {},
            "metadata": {**declared, "description": description},
            **copy.deepcopy(shared),
        }


def _registered_name(resource: str) -> str:
    """Return the name under which a program registers a resource: bare, where only `tool:` stands before it."""
    bare = resource.removeprefix("tool:")
    return resource if "/" in bare or ":" in bare else bare


def row_of(
    found: Iterable[Mapping[str, Any]], agent_id: str, declared: Callable[[bytes], Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the agent or tool with an id, None if there is none. `declared` tells the declarations of an instance."""
    try:
        session = target_of(agent_id, found)
    except UnknownAgentError:
        return None
    named = app_and_digits(without_tool(agent_id))
    for one in found:
        is_it = (
            one.get("session") == session if session is not None else named is not None and one["principal"] == named[0]
        )
        if is_it and (session is not None or one.get("session") is None):
            whole = one if session is None else {**one, "tools": declared(session)}
            rows = list(_rows(whole))
            tool = agent_id.partition(TOOL_MARK)[2]
            return next((row for row in rows if row["agent_id"].partition(TOOL_MARK)[2] == tool), None)
    return None


def target_of(agent_id: object, found: Iterable[Mapping[str, Any]]) -> bytes | None:
    """Return the session behind an id; None for a host of registered tools, of which any instance answers.

    An id of a person is known only where this process was told it, so that no other session can be made to fit it. A
    program's is also found by its name, which its own keys alone have.

    Raises:
        UnknownAgentError: no live agent, or more than one, has this id.
    """
    if not isinstance(agent_id, str):
        raise UnknownAgentError(f"an agent id is a text, got {type(agent_id).__name__}")
    owner = without_tool(agent_id)
    if (known := KNOWN.session_of(owner)) is not None:
        return known
    named = app_and_digits(owner)
    if named is None:
        raise UnknownAgentError(f"{owner[:200]!r} is not known here: take it from list_agents() or the request context")
    app, digits = named
    hosts = [one for one in found if one["principal"] == app]
    sessions = [one["session"] for one in hosts if isinstance(one.get("session"), bytes)]
    fitting = [one for one in sessions if one.hex().startswith(digits)]
    if len(fitting) == 1:
        return bytes(fitting[0])
    if not fitting and digits == ANY_INSTANCE and len(hosts) > len(sessions):
        return None
    how = "more than one live agent has" if fitting else "no live agent has"
    raise UnknownAgentError(f"{how} the id {owner[:200]!r}: look it up anew with list_agents()")


__all__ = ["APP", "row_of", "rows_of", "target_of"]
