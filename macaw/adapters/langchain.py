"""LangChain 1.x: a middleware of agents, so that each tool call of the model is a governed call.

    agent = create_agent(model, tools, middleware=[governed_tools(Gate(session), app="shop")])

The tool `refund` is asked for as `tool:shop/refund` with the arguments of the model. A denial is a `ToolMessage` with
the status `error`: the agent goes on, and the tool has not run. Put the middleware last: one that stands after it
could change the arguments that were decided.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.refusals import (
    Begun,
    PermissionDeniedError,
    ResultUnconfirmedError,
    UngovernableToolError,
    sentence_for_model,
)
from macaw.adapters.tickets import Reported

ERROR = "error"


def governed_tools(gate: Gate, *, app: str, patience: GatePatience | None = None) -> Any:
    """Return the middleware, an `AgentMiddleware` for `create_agent`. Needs the extra `langchain`.

    It gives a name of its own to each `app`, so that one agent can have several.
    """
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.messages import ToolMessage

    def refused(request: Any, exc: PermissionDeniedError | ResultUnconfirmedError, *, has_begun: bool) -> Any:
        call = request.tool_call
        told = sentence_for_model(exc, has_begun=has_begun)
        return ToolMessage(content=told, tool_call_id=call["id"], name=call["name"], status=ERROR)

    def decided(request: Any) -> tuple[str, dict[str, Any], Any]:
        """Return the resource, the parameters, and the request with arguments of its own."""
        call, tool = request.tool_call, request.tool
        if tool is not None and tool.name != call["name"]:
            raise UngovernableToolError(f"a middleware has put the tool {tool.name} in the place of {call['name']}")
        given = deepcopy(call["args"])
        return f"tool:{app}/{call['name']}", given, request.override(tool_call={**call, "args": deepcopy(given)})

    class GovernedTools(AgentMiddleware):  # type: ignore[misc]
        """Asks the log before each tool call."""

        @property
        def name(self) -> str:
            return f"governed_tools:{app}"

        def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            """Run a tool that was allowed, in this thread."""
            resource, given, fixed = decided(request)
            begun = Begun(lambda: handler(fixed))
            try:
                return gate.run(resource, given, begun, patience=patience, reporting=_reported)
            except (PermissionDeniedError, ResultUnconfirmedError) as exc:
                return refused(request, exc, has_begun=begun.has_begun)

        async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
            """Run a tool that was allowed, in this task."""
            resource, given, fixed = decided(request)
            begun = Begun(lambda: handler(fixed))
            try:
                return await gate.run_async(resource, given, begun, patience=patience, reporting=_reported)
            except (PermissionDeniedError, ResultUnconfirmedError) as exc:
                return refused(request, exc, has_begun=begun.has_begun)

    return GovernedTools()


def _reported(value: Any) -> Reported:
    """Return the report of a `ToolMessage`, or of a `Command` of LangGraph by its kind alone."""
    content, status = getattr(value, "content", None), getattr(value, "status", None)
    if content is None:
        return Reported({"returned": type(value).__name__})
    return Reported(content, is_failure=status == ERROR)
