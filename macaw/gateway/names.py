"""The names of an MCP server's parts on the log, and the parameters of a call by its MCP method.

tools/call of `read_file` at the server `files`     tool:files/read_file               the tool's own arguments
any other request that does something               mcp:files/resources/read           the members of its params
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.errors import InputError

CALL_TOOL: Final = "tools/call"
READ_RESOURCE: Final = "resources/read"
GET_PROMPT: Final = "prompts/get"
COMPLETE: Final = "completion/complete"
SUBSCRIBE: Final = "resources/subscribe"
SAMPLE: Final = "sampling/createMessage"
ELICIT: Final = "elicitation/create"
LIST_ROOTS: Final = "roots/list"

ASKED: Final = (READ_RESOURCE, GET_PROMPT, COMPLETE, SUBSCRIBE)
"""What a client asks of the server, beside its tools."""

READINGS: Final = (READ_RESOURCE, GET_PROMPT, COMPLETE)
"""What of it has no effect that lasts at the server."""

ASKED_BACK: Final = (SAMPLE, ELICIT, LIST_ROOTS)
"""What the server asks of the client."""

INPUT: Final = "$input"
"""The parameter with a client's answers to questions of the server (`inputResponses`, `requestState`)."""

_SERVER = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)


class ServerNameError(InputError):
    """A name for an MCP server is not one."""


def check_server_name(name: str) -> str:
    """Return the name. Raises ServerNameError."""
    if _SERVER.fullmatch(name) is None:
        raise ServerNameError(f"{name[:60]!r} cannot name an MCP server: want a-z, then a-z, 0-9 or -, 40 at most")
    return name


def tool_resource(server: str, tool: str) -> str:
    """Return the name of a server's tool on the log."""
    return f"tool:{server}/{tool}"


def method_resource(server: str, method: str) -> str:
    """Return the name on the log under which a server, or its client, is asked for anything but a tool."""
    return f"mcp:{server}/{method}"


def undecidable(server: str, tools: Iterable[str]) -> list[str]:
    """Return the resources of a server that a policy may let run while no log decides: its tools, and readings."""
    return [*(tool_resource(server, one) for one in tools), *(method_resource(server, one) for one in READINGS)]


def parameters_of(params: Mapping[str, Any], *, is_tool: bool) -> dict[str, Any]:
    """Return the parameters of a governed call, from the `params` of an MCP request by their names on the wire.

    `_meta` stays behind: it is the client's word to the transport, and no part of the request itself.

    Raises:
        ReservedNameError: an argument has the name INPUT.
    """
    given = {name: value for name, value in params.items() if name not in _OF_INPUT and name != "_meta"}
    if is_tool:
        given = dict(params.get("arguments") or {})
    if INPUT in given:
        raise ReservedNameError(f"an argument must not have the name {INPUT!r}")
    answered = {name: params[name] for name in _OF_INPUT if params.get(name) is not None}
    return {**given, INPUT: answered} if answered else given


def params_of(parameters: Mapping[str, Any], *, tool: str | None = None) -> dict[str, Any]:
    """Return the `params` of the MCP request for the parameters of a governed call; `tool` names the tool of one."""
    given = dict(parameters)
    answered = given.pop(INPUT, {})
    params = given if tool is None else {"name": tool, "arguments": given}
    return {**params, **{name: answered[name] for name in _OF_INPUT if name in answered}}


class ReservedNameError(InputError):
    """A client's argument has a name that the gateway needs."""


_OF_INPUT = ("inputResponses", "requestState")
