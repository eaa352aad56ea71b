"""An MCP server of functions (`macaw.gateway.inside.InsideServer`): it answers the requests that the log has allowed.

An exception of a function is the end of its call and of nothing else. Its client hears that it came, and no text of it,
which may hold a secret; a `ToolError` of the SDK is a failure in the author's own words.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import mcp_types as types
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.shared.exceptions import MCPError

from macaw.adapters.mcp_context import Context, UnansweredError
from macaw.adapters.mcp_declared import (
    DeclaredFunction,
    DeclaredResource,
    DeclaredTool,
    MCPDeclarationError,
    UnfitArgumentsError,
    listed_prompt,
    messages_of,
)
from macaw.gateway import names
from macaw.gateway.client_relay import LEVELS
from macaw.gateway.declared import TOOL_SECONDS
from macaw.gateway.definitions import TOOLS_MAX, spellings_of
from macaw.gateway.functions import Lifespan
from macaw.gateway.inside import LIST_SECONDS, InsideCall
from macaw.gateway.server_link import Introduction
from producers.agent.threads import BusyError
from producers.client import CallError
from producers.tools.result_text import type_name

log = logging.getLogger(__name__)

SECONDS: Final = TOOL_SECONDS - 10.0  # of a call, where its tool has no other bound
COMPLETIONS_MAX: Final = 100  # as the protocol has it
ENTRIES_MAX: Final = 1024  # resources, templates and prompts, of each

_TOOL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", re.ASCII)  # no letter that looks like another

Completer = Callable[..., Any]


class FunctionServer:
    """The tools, resources and prompts of one server, and the requests to them."""

    def __init__(self, name: str, instructions: str | None, lifespan: Lifespan | None) -> None:
        self.name, self.instructions, self.lifespan = names.check_server_name(name), instructions, lifespan
        self.tools: dict[str, DeclaredTool] = {}
        self.resources: dict[str, DeclaredResource] = {}
        self.prompts: dict[str, DeclaredFunction] = {}
        self.completer: Completer | None = None
        self._spellings: dict[str, str] = {}
        self._lists: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
            "tools/list": lambda: {"tools": [one.listed for one in self.tools.values()]},
            "resources/list": lambda: {"resources": self._listed_resources(templates=False)},
            "resources/templates/list": lambda: {"resourceTemplates": self._listed_resources(templates=True)},
            "prompts/list": lambda: {"prompts": [listed_prompt(one) for one in self.prompts.values()]},
        }
        self._asked: Final[Mapping[str, Callable[[Mapping[str, Any], InsideCall], Awaitable[dict[str, Any]]]]] = {
            names.CALL_TOOL: self._call_tool,
            names.READ_RESOURCE: self._read_resource,
            names.GET_PROMPT: self._get_prompt,
            names.COMPLETE: self._complete,
        }

    # --- what it has

    def add_tool(self, tool: DeclaredTool) -> None:
        """Add a tool. Raises MCPDeclarationError for a name that could be read in two ways, or taken for another's."""
        name = tool.function.name
        if _TOOL.fullmatch(name) is None:
            raise MCPDeclarationError(
                f"{name[:80]!r} cannot name a tool: use letters of ASCII, digits, '_', '-' or '.', 128 at most, and "
                "give `name=` where the function's own is another"
            )
        spelt = spellings_of(self.name, name)
        other = next((self._spellings[one] for one in spelt if one in self._spellings), None)
        if other is not None:
            raise MCPDeclarationError(f"the tool {name[:80]!r} could be taken for {other[:80]!r}: give it another name")
        if len(self.tools) >= TOOLS_MAX:
            raise MCPDeclarationError(f"a server offers at most {TOOLS_MAX} tools")
        self._spellings |= dict.fromkeys(spelt, name)
        self.tools[name] = tool

    def add_resource(self, resource: DeclaredResource) -> None:
        """Add a resource. Raises MCPDeclarationError if its URI is taken."""
        _check_room(self.resources, resource.uri)
        self.resources[resource.uri] = resource

    def add_prompt(self, prompt: DeclaredFunction) -> None:
        """Add a prompt. Raises MCPDeclarationError if its name is taken."""
        _check_room(self.prompts, prompt.name)
        self.prompts[prompt.name] = prompt

    @property
    def introduction(self) -> Introduction:
        """The capabilities that the parts give it, and the instructions."""
        has: dict[str, Any] = {"logging": {}}
        has |= {"tools": {}} if self.tools else {}
        has |= {"resources": {"subscribe": True}} if self.resources else {}
        has |= {"prompts": {}} if self.prompts else {}
        has |= {"completions": {}} if self.completer is not None else {}
        return Introduction(has, self.instructions)

    def _listed_resources(self, *, templates: bool) -> list[dict[str, Any]]:
        return [one.listed for one in self.resources.values() if (one.template is not None) is templates]

    # --- requests

    def seconds_of(self, method: str, params: Mapping[str, Any]) -> float:
        """Return the time that a request may take."""
        if method in self._lists:
            return LIST_SECONDS
        tool = self.tools.get(str(params.get("name"))) if method == names.CALL_TOOL else None
        return SECONDS if tool is None else tool.seconds

    async def answer(self, method: str, params: Mapping[str, Any], call: InsideCall | None) -> dict[str, Any]:
        """Answer a request. Raises MCPError."""
        if method in self._lists:
            return self._lists[method]()
        if method == "logging/setLevel":
            return _level_checked(params)
        if method in {names.SUBSCRIBE, "resources/unsubscribe"}:
            return {}  # the gateway knows who watches
        if method not in self._asked or call is None:
            raise MCPError(types.METHOD_NOT_FOUND, f"this server has no {method[:80]}")
        return await self._asked[method](params, call)

    async def _call_tool(self, params: Mapping[str, Any], call: InsideCall) -> dict[str, Any]:
        tool = self.tools.get(str(params.get("name")))
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, "there is no such tool")
        try:
            return tool.result(await self._run(tool.function, params.get("arguments") or {}, call))
        except MCPError:  # an error of the protocol that the author chose
            raise
        except Exception as exc:  # noqa: BLE001 - a function may raise what it likes: that is the end of its call
            text = _told(tool.function.name, exc)
            return {"content": [{"type": "text", "text": text}], "isError": True}

    async def _read_resource(self, params: Mapping[str, Any], call: InsideCall) -> dict[str, Any]:
        uri = str(params.get("uri"))
        try:
            found, given = self._resource_at(uri)
            value = await self._run(found.function, given, call, texts=True)
            return {"contents": [found.contents(uri, value)]}
        except MCPError:
            raise
        except Exception as exc:  # noqa: BLE001 - as above
            raise _error("the resource", exc) from None

    async def _get_prompt(self, params: Mapping[str, Any], call: InsideCall) -> dict[str, Any]:
        prompt = self.prompts.get(str(params.get("name")))
        if prompt is None:
            raise MCPError(types.INVALID_PARAMS, "there is no such prompt")
        try:
            value = await self._run(prompt, params.get("arguments") or {}, call, texts=True)
            return {"description": prompt.description, "messages": messages_of(value)}
        except MCPError:
            raise
        except Exception as exc:  # noqa: BLE001 - as above
            raise _error(prompt.name, exc) from None

    async def _complete(self, params: Mapping[str, Any], call: InsideCall) -> dict[str, Any]:
        if self.completer is None:
            raise MCPError(types.METHOD_NOT_FOUND, "this server completes nothing")
        asked = types.CompleteRequestParams.model_validate(dict(params), by_name=False)
        given = {"ref": asked.ref, "argument": asked.argument, "context": asked.context}
        try:
            values = await call.functions.run(self.completer, given, call.running.principal_id)
            told = [str(one) for one in values or ()]
        except Exception as exc:  # noqa: BLE001 - as above
            raise _error("the completion", exc) from None
        has_more = len(told) > COMPLETIONS_MAX
        return {"completion": {"values": told[:COMPLETIONS_MAX], "total": len(told), "hasMore": has_more}}

    # --- functions

    async def _run(
        self, function: DeclaredFunction, given: Mapping[str, Any], call: InsideCall, *, texts: bool = False
    ) -> Any:
        arguments = function.arguments(given, texts=texts)
        if function.context is not None:
            arguments[function.context] = Context(call, function.name, self._read_for)
        return await call.functions.run(function.function, arguments, call.running.principal_id)

    async def _read_for(self, call: InsideCall, uri: str) -> Any:
        """Return the value of a resource to a function that reads it within its own call."""
        found, given = self._resource_at(uri)
        return await self._run(found.function, given, call, texts=True)

    def _resource_at(self, uri: str) -> tuple[DeclaredResource, Mapping[str, Any]]:
        """Return the resource with a URI, one of a fixed URI first, and its arguments. Raises UnfitArgumentsError."""
        for one in sorted(self.resources.values(), key=lambda one: one.template is not None):
            if (given := one.matched(uri)) is not None:
                return one, given
        raise UnfitArgumentsError("there is no such resource")


def _level_checked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a client that sets a level; the gateway keeps it for this client. Raises MCPError for no level."""
    if params.get("level") not in LEVELS:
        raise MCPError(types.INVALID_PARAMS, f"a level is one of {', '.join(LEVELS)}")
    return {}


def _check_room(there: Mapping[str, object], name: str) -> None:
    if name in there:
        raise MCPDeclarationError(f"{name[:120]!r} is there already: give another name or URI")
    if len(there) >= ENTRIES_MAX:
        raise MCPDeclarationError(f"a server has at most {ENTRIES_MAX} of these")


def _error(name: str, exc: Exception) -> MCPError:
    code = types.INVALID_PARAMS if isinstance(exc, UnfitArgumentsError) else types.INTERNAL_ERROR
    return MCPError(code, _told(name, exc))


def _told(name: str, exc: Exception) -> str:
    """Return the words for a client about an exception, and write its place to the log of this process."""
    if isinstance(exc, ToolError | ResourceError | UnfitArgumentsError | UnansweredError):
        return str(exc)
    if isinstance(exc, BusyError):
        return f"NOT_RUN: {exc}"
    if isinstance(exc, CallError):
        return f"Failed: {name} needed another call, which ended with {exc.reason or type_name(exc)}."
    frames = traceback.extract_tb(exc.__traceback__)
    at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    log.error("%s raised %s at %s; its text is logged at the level DEBUG", name, type_name(exc), at)
    log.debug("%s raised", name, exc_info=exc)
    return f"Failed: {name} raised an exception, which its server's own log names."
