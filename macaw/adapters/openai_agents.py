"""OpenAI Agents SDK: a tool input guardrail, so that each call of a function tool is a governed call.

    agent = Agent(name="shop", tools=governed_tools(Gate(session), [refund], app="shop"))

The tool `refund` is asked for as `tool:shop/refund` with the arguments of the model. The SDK runs the tool after its
guardrails, so the outcome on the log is that of the permission. A denial is told to the model in the tool's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.refusals import PermissionDeniedError, ResultUnconfirmedError, sentence_for_model
from processors.proof import jcs
from schemas.errors import MisuseError


class UngovernableToolError(MisuseError):
    """A tool does not pass through guardrails: the provider runs it, or a handler of its own."""


def governed_tools(gate: Gate, tools: Sequence[Any], *, app: str, patience: GatePatience | None = None) -> list[Any]:
    """Return copies of function tools that ask the log first. Needs the extra `openai-agents`.

    Raises:
        UngovernableToolError: a tool is not a `FunctionTool`: hosted tools, shells and hand-overs run without it.
    """
    from agents import FunctionTool, ToolGuardrailFunctionOutput, tool_input_guardrail

    @tool_input_guardrail(name=f"governed_tools:{app}")  # type: ignore[untyped-decorator, unused-ignore]
    async def ask(data: Any) -> Any:
        context = data.context
        try:
            given = jcs.parse_strict((context.tool_arguments or "{}").encode("utf-8", "surrogatepass"))
        except ValueError:
            return ToolGuardrailFunctionOutput.reject_content("The arguments are not a JSON object.")
        if not isinstance(given, dict):
            return ToolGuardrailFunctionOutput.reject_content("The arguments are not a JSON object.")
        resource = f"tool:{app}/{context.tool_name}"
        try:
            event = await asyncio.to_thread(gate.permit, resource, given, patience=patience)
        except (PermissionDeniedError, ResultUnconfirmedError) as exc:
            return ToolGuardrailFunctionOutput.reject_content(sentence_for_model(exc))
        return ToolGuardrailFunctionOutput.allow({"macaw_event": event})

    governed = []
    for one in tools:
        if not isinstance(one, FunctionTool):
            name = getattr(one, "name", type(one).__name__)
            raise UngovernableToolError(f"{name} is not a function tool: no guardrail of ours stands before it")
        # Last: a guardrail after it could not change the arguments, and one before it may refuse without a call.
        governed.append(replace(one, tool_input_guardrails=[*(one.tool_input_guardrails or ()), ask]))
    return governed
