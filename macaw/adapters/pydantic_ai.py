"""Pydantic AI: a toolset around another one, so that each call of its tools is a governed call.

    agent = Agent(model, toolsets=[governed_toolset(Gate(session), FunctionToolset([refund]), app="shop")])

The tool `refund` is asked for as `tool:shop/refund` with its validated arguments. A denial is told to the model as
that of the tool (`ToolDenied`). Give tools to the agent in the toolset alone: `Agent(tools=…)` would go around it.
"""

from __future__ import annotations

from typing import Any

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.refusals import Begun, PermissionDeniedError, ResultUnconfirmedError, sentence_for_model
from macaw.adapters.reports import reported
from macaw.adapters.tickets import Reported


def governed_toolset(gate: Gate, toolset: Any, *, app: str, patience: GatePatience | None = None) -> Any:
    """Return a toolset that asks the log before each call of `toolset`. Needs the extra `pydantic-ai`."""
    from pydantic_ai import ToolDenied
    from pydantic_ai.toolsets import WrapperToolset
    from pydantic_core import to_jsonable_python

    class GovernedToolset(WrapperToolset):  # type: ignore[misc, type-arg, unused-ignore]
        """Asks the log before each tool call."""

        async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
            """Run a tool that was allowed, in this task."""
            given = to_jsonable_python(tool_args)
            begun = Begun(lambda: self.wrapped.call_tool(name, tool_args, ctx, tool))

            async def run() -> Any:
                if to_jsonable_python(tool_args) != given:
                    raise PermissionDeniedError("the tool was not run: an argument was changed while it was decided")
                return await begun()

            try:
                return await gate.run_async(f"tool:{app}/{name}", given, run, patience=patience, reporting=_reported)
            except (PermissionDeniedError, ResultUnconfirmedError) as exc:
                told = sentence_for_model(exc, has_begun=begun.has_begun)
                return told if begun.has_begun else ToolDenied(told)

    return GovernedToolset(toolset)


def _reported(value: Any) -> Reported:
    return Reported(reported(value))
