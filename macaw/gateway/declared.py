"""The operations of a gateway's program, as it offers them on the log, within the bounds of one event.

A tool is offered with its own JSON schema, so that the log judges its arguments, as long as all schemas together keep
the bounds of an event and this one can be judged; another is judged by the server alone. Descriptions are cut where
there are many tools: clients get the whole ones from the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from macaw.gateway import names
from macaw.gateway.definitions import Definition
from processors.content.parameter_schemas import SchemaRefusedError, SchemasChecked
from processors.proof import jcs
from producers.agent.offering import Operation
from schemas import limits

TOOL_SECONDS = 600.0  # of one call; the server has a little less, so that its end is reported
DESCRIPTIONS_BYTES_MAX = 96 * 1024  # of all tools
SCHEMAS_BYTES_MAX = 64 * 1024

Handler = Callable[[dict[str, Any]], Any]
_NEEDS: Mapping[str, str] = {
    names.READ_RESOURCE: "resources",
    names.SUBSCRIBE: "resources",
    names.GET_PROMPT: "prompts",
    names.COMPLETE: "completions",
}


def operations_of(
    server: str,
    served: Iterable[Definition],
    capabilities: Mapping[str, Any],
    handler: Callable[[str, str | None], Handler],
) -> dict[str, Operation]:
    """Return the operations by resource; `handler` gives that of an MCP method, and of a tool."""
    tools = list(served)
    most = min(limits.DESCRIPTION_CHARS_MAX, DESCRIPTIONS_BYTES_MAX // max(1, len(tools)) // 4)
    schemas = _judged(tools)
    operations = {
        names.tool_resource(server, one.name): Operation(
            handler=handler(names.CALL_TOOL, one.name),
            description=one.description[:most],
            timeout_seconds=TOOL_SECONDS,
            input_schema=schemas.get(one.name),
        )
        for one in tools
    }
    methods = [method for method, needs in _NEEDS.items() if needs in capabilities]
    for method in (*methods, *names.ASKED_BACK):
        operations[names.method_resource(server, method)] = Operation(
            handler=handler(method, None), description=f"{method} of an MCP server", timeout_seconds=TOOL_SECONDS
        )
    return operations


def _judged(tools: Iterable[Definition]) -> dict[str, str]:
    """Return the schemas that the log can judge, by tool, as far as one event has room for them."""
    found: dict[str, str] = {}
    room, checked = SCHEMAS_BYTES_MAX, SchemasChecked()
    for one in tools:
        text = _schema_of(one)
        if text is None or len(text.encode()) > min(room, limits.TOOL_SCHEMA_BYTES_MAX):
            continue
        try:
            checked.check([text])
        except SchemaRefusedError:
            continue
        found[one.name] = text
        room -= len(text.encode())
    return found


def _schema_of(definition: Definition) -> str | None:
    schema = definition.listed.get("inputSchema")
    # A client's answers to questions of the server come as a further argument, which no schema knows.
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    opened = {**schema, "properties": {**properties, names.INPUT: {}}} if isinstance(properties, Mapping) else schema
    try:
        return jcs.canonical(dict(opened)).decode()
    except (jcs.MalformedJSONError, ValueError):
        return None
