"""SecureMCP: an MCP server of functions, each request to which is a governed call.

    mcp = SecureMCP("calculator", tenant="acme")

    @mcp.tool
    def add(a: float, b: float) -> float:
        "Add two numbers."
        return a + b

    mcp.run(caller="assistant")

It is the gateway with a server of this process behind it (`macaw.gateway`): the same callers, decisions, outcomes and
bounds. A function runs once the log has allowed its call, and its result is signed. Programs of the log may call
`tool:calculator/add` as well, without MCP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar, overload

import mcp_types as types
from mcp.shared.exceptions import MCPDeprecationWarning

from macaw.adapters.mcp_context import Context, DeclinedError, UnansweredError
from macaw.adapters.mcp_declared import (
    MCPDeclarationError,
    declared_function,
    declared_resource,
    declared_tool,
)
from macaw.adapters.mcp_functions import SECONDS, FunctionServer
from macaw.gateway.serving import HTTPFront, OnReady, Served, serve_http, serve_log, serve_stdio, session_of_program
from macaw.installation.logins import freshen
from processors.policy.names import PERSON_PREFIX
from producers.client import Client
from producers.home.home import Home
from schemas.errors import MisuseError

__all__ = ["Context", "DeclinedError", "MCPDeclarationError", "SecureMCP", "UnansweredError"]

F = TypeVar("F", bound=Callable[..., Any])
Lifespan = Callable[["SecureMCP"], AbstractAsyncContextManager[Any]]

LABEL_CHARS: Final = 64  # of the program, for people
CALLER: Final = "MACAW_MCP_CALLER"
"""The variable of the environment that names the caller, where `run` does not."""


class MCPCallerError(MisuseError):
    """The caller of a server is not named, or named in two ways at once."""


class SecureMCP:
    """An MCP server. Add tools, resources and prompts, then `run` it."""

    def __init__(
        self,
        name: str,
        version: str = "",
        *,
        tenant: str | None = None,
        home: Home | None = None,
        instructions: str | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        """Name a server: its tools are `tool:NAME/…` on the log, and the program that executes them is NAME.

        Without a tenant it is that of the installation, which is looked for as ever. `version` is for people.
        `lifespan` is entered once, before the first call; its value is `ctx.lifespan`. Nothing is read or connected
        before `run`.

        Raises:
            ServerNameError: the name is not a-z, then a-z, 0-9 or -, of 40 characters at most.
        """
        self.version, self._tenant, self._home, self._is_served = version, tenant, home, False
        entering = None if lifespan is None else (lambda: lifespan(self))
        self.functions = FunctionServer(name, instructions, entering)

    @property
    def name(self) -> str:
        """The name of the server on the log."""
        return self.functions.name

    # --- what it has

    @overload
    def tool(self, name: F) -> F: ...

    @overload
    def tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        title: str | None = None,
        annotations: types.ToolAnnotations | None = None,
        structured_output: bool | None = None,
        timeout_seconds: float = SECONDS,
    ) -> Callable[[F], F]: ...

    def tool(
        self,
        name: Any = None,
        description: str | None = None,
        *,
        title: str | None = None,
        annotations: types.ToolAnnotations | None = None,
        structured_output: bool | None = None,
        timeout_seconds: float = SECONDS,
    ) -> Any:
        """Add a function as a tool: `@mcp.tool`, or with words `@mcp.tool(description="…")`.

        The schema of its hints stands on the log. A call has `timeout_seconds`; later its effect is not known.

        Raises:
            MCPDeclarationError: the function, its name or its time cannot be a tool's.
        """
        if callable(name):
            return self.tool()(name)

        def add(function: F) -> F:
            self._check_open()
            if not 0 < timeout_seconds <= SECONDS:
                raise MCPDeclarationError(f"a call may take up to {SECONDS:g} s, got {timeout_seconds}")
            declared = declared_function(function, name, description, structured=structured_output)
            tool = declared_tool(declared, title=title, annotations=annotations, seconds=timeout_seconds)
            self.functions.add_tool(tool)
            return function

        return add

    def resource(
        self, uri: str, description: str | None = None, *, name: str | None = None, mime_type: str | None = None
    ) -> Callable[[F], F]:
        """Add a function that reads a resource; a template as `note://{name}` names its parameters.

        Raises:
            MCPDeclarationError: the function cannot read it, or the URI is taken.
        """

        def add(function: F) -> F:
            self._check_open()
            declared = declared_function(function, name, description)
            self.functions.add_resource(declared_resource(declared, uri, mime_type))
            return function

        return add

    @overload
    def prompt(self, name: F) -> F: ...

    @overload
    def prompt(self, name: str | None = None, description: str | None = None) -> Callable[[F], F]: ...

    def prompt(self, name: Any = None, description: str | None = None) -> Any:
        """Add a function that writes a prompt: a text, messages, or a list of them.

        Raises:
            MCPDeclarationError: the function cannot be one, or the name is taken.
        """
        if callable(name):
            return self.prompt()(name)

        def add(function: F) -> F:
            self._check_open()
            self.functions.add_prompt(declared_function(function, name, description))
            return function

        return add

    def completion(self) -> Callable[[F], F]:
        """Set the function that completes arguments: it gets `ref`, `argument` and `context`, and returns texts."""

        def add(function: F) -> F:
            self._check_open()
            self.functions.completer = function
            return function

        return add

    def _check_open(self) -> None:
        if self._is_served:
            raise MCPDeclarationError("the server is served already: add its parts before `run`")

    # --- serving it

    def run(
        self,
        transport: Literal["stdio", "http", "log"] | None = "stdio",
        port: int = 8080,
        *,
        caller: str | None = None,
        host: str = "127.0.0.1",
        issuer: str | None = None,
        resource: str | None = None,
        audience: str | None = None,
        allowed_hosts: Sequence[str] = (),
        on_ready: OnReady | None = None,
    ) -> None:
        """Serve until the client leaves, or Ctrl-C.

        `stdio` serves one client, `http` any number, at /mcp, `log` (or None) programs of the log alone. `caller` makes
        the calls of all clients: a program's name, or `user:NAME` with a login here; without it the variable
        MACAW_MCP_CALLER names it. Over HTTP `issuer` and `resource` take its place: each user calls, by a token.

        Raises:
            MCPCallerError: no caller is named.
            MacawError: the server cannot be served; nothing was executed.
        """
        doing = self.serve(
            transport or "log",
            port,
            caller=caller,
            host=host,
            issuer=issuer,
            resource=resource,
            audience=audience,
            allowed_hosts=allowed_hosts,
            on_ready=on_ready,
        )
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.WARNING, stream=sys.stderr)  # standard output is the client's
        warnings.filterwarnings("ignore", category=MCPDeprecationWarning)  # older clients choose, not the author
        try:
            asyncio.run(doing)
        except KeyboardInterrupt:
            return

    async def serve(
        self,
        transport: str = "stdio",
        port: int = 8080,
        *,
        caller: str | None = None,
        on_ready: OnReady | None = None,
        **front: Any,
    ) -> None:
        """Serve until cancelled, as `run` does, in an event loop that is there."""
        way = Way.of(transport, port, caller, front)
        served = self.served()
        if transport == "log":
            return await serve_log(served, on_ready=lambda: on_ready and on_ready(0))
        client = None if way.caller is None else await asyncio.to_thread(_session, served, way.caller)
        if way.front is None:
            assert client is not None
            return await serve_stdio(served, client)
        return await serve_http(served, way.front, client, on_ready=on_ready or partial(self._say, way.front.host))

    def served(self) -> Served:
        """Return the server as the gateway takes it. From now on nothing is added. Raises HomeError."""
        home = self._home or Home.find()
        self._is_served = True
        return Served(
            name=self.name,
            server=self.functions,
            tenant=home.tenant(self._tenant).tenant,
            home=home,
            label=f"SecureMCP {self.version}".strip()[:LABEL_CHARS],
        )

    def _say(self, host: str, port: int) -> None:
        print(f"{self.name} is served at http://{host}:{port}/mcp; Ctrl-C ends it", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Way:
    """The way of clients to a server: its caller, None for the owners of tokens, and the front over HTTP, if any."""

    caller: str | None
    front: HTTPFront | None

    @classmethod
    def of(cls, transport: str, port: int, caller: str | None, front: Mapping[str, Any]) -> Way:
        """Return the way that the arguments of `run` name. Raises MCPCallerError."""
        if transport not in {"stdio", "http", "log"}:
            raise MCPCallerError(f"there is no transport {transport!r:.40}: it is stdio, http or log")
        issuer, resource = front.get("issuer"), front.get("resource")
        if (issuer is None) != (resource is None):
            raise MCPCallerError("`issuer` and `resource` go together: tokens of the one, for the other")
        if issuer is not None and (transport != "http" or caller is not None):
            raise MCPCallerError("tokens come over HTTP, and their owners are the callers: leave `caller` out")
        if transport == "log":
            return cls(None, None)
        named = None if issuer is not None else caller or os.environ.get(CALLER)
        if issuer is None and not named:
            raise MCPCallerError(f"say who calls: `run(caller=NAME)`, {CALLER}, or over HTTP `issuer` and `resource`")
        if transport == "stdio":
            return cls(named, None)
        told = {name: value for name, value in front.items() if name != "allowed_hosts"}
        return cls(named, HTTPFront(port=port, hosts=tuple(front.get("allowed_hosts", ())), **told))


def _session(served: Served, caller: str) -> Client:
    """Open the session of the caller: a program's, or that of a person with a login here."""
    if not caller.startswith(PERSON_PREFIX):
        return session_of_program(served.home, served.tenant, caller)
    freshen(served.home, served.home.tenant(served.tenant), caller)
    return Client.for_person(served.tenant, caller.removeprefix(PERSON_PREFIX), home=served.home)
