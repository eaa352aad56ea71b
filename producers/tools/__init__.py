"""Writing a tool: `@tool` marks a function, and `context` and `idempotency_key` speak of the call that it runs.

    from producers.tools import context, tool

    @tool(attests=("supplier_checked",))
    def check(supplier: str) -> bool:
        context.attestations.set("supplier_checked", supplier, one_time=True, time_to_live=600)
        return True

`producers.tools.host` serves tools. It is not imported here: a file of tools needs neither Kafka nor a key.
"""

from producers.tools.arguments import ToolArgumentError
from producers.tools.attesting import AttestationError, context
from producers.tools.declaring import (
    ToolFunction,
    bind_arguments,
    collect_tools,
    idempotency_key,
    load_tools,
    tool,
)
from producers.tools.hinted_schemas import FROM_HINTS, HintedSchemaError, result_schema_of, schema_of
from producers.tools.importing import ToolDeclarationError

__all__ = [
    "FROM_HINTS",
    "AttestationError",
    "HintedSchemaError",
    "ToolArgumentError",
    "ToolDeclarationError",
    "ToolFunction",
    "bind_arguments",
    "collect_tools",
    "context",
    "idempotency_key",
    "load_tools",
    "result_schema_of",
    "schema_of",
    "tool",
]
