"""OpenAI Agents SDK: function tools that ask the log, so that each call of one is a governed call.

    agent = Agent(name="shop", tools=governed_tools(Gate(session), [refund], app="shop"))

The tool `refund` is asked for as `tool:shop/refund` with the arguments of the model. The log is asked where the SDK
invokes the tool: after the tool's input guardrails and the SDK's own approval, before its output guardrails. So the
outcome on the log is that of the tool. A denial is told to the model in the tool's place.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.refusals import (
    Begun,
    PermissionDeniedError,
    ResultUnconfirmedError,
    UngovernableToolError,
    sentence_for_model,
)
from macaw.adapters.reports import reported
from macaw.adapters.tickets import Reported
from processors.proof import jcs

Invoke = Callable[[Any, str], Awaitable[Any]]


def governed_tools(gate: Gate, tools: Sequence[Any], *, app: str, patience: GatePatience | None = None) -> list[Any]:
    """Return copies of function tools that ask the log first. Needs the extra `openai-agents`.

    A tool's `timeout_seconds` counts the wait for the decision, too.

    Raises:
        UngovernableToolError: a tool is not a `FunctionTool`: hosted tools, shells and hand-overs run without it.
    """
    from agents import FunctionTool

    governed = []
    for one in tools:
        if not isinstance(one, FunctionTool):
            name = getattr(one, "name", type(one).__name__)
            raise UngovernableToolError(f"{name} is not a function tool: the log cannot be asked before it runs")
        made = copy(one)
        made.on_invoke_tool = _asking(gate, f"tool:{app}/{one.name}", made, patience)
        governed.append(made)
    return governed


def _asking(gate: Gate, resource: str, tool: Any, patience: GatePatience | None) -> Invoke:
    """Return an invoker in the place of the tool's. An exception of the tool is told as the tool says it."""
    from agents.tool import maybe_invoke_function_tool_failure_error_function as told_failure
    from agents.tool import set_function_tool_failure_error_function as set_failure

    # The copy raises: the tool's own would make a text of its exception, and a failure would look like a result.
    inner: Invoke = set_failure(copy(tool), None).on_invoke_tool
    tells_failures = hasattr(inner, "__agents_bind_function_tool__")

    # By its name the SDK finds which context the tool's own invoker wants.
    @functools.wraps(inner, assigned=(), updated=())
    async def ask(context: Any, text: str) -> Any:
        try:
            given = jcs.parse_strict((text or "{}").encode("utf-8", "surrogatepass"))
        except ValueError:
            given = None
        if not isinstance(given, dict):
            return "The arguments are not a JSON object."
        begun = Begun(lambda: inner(context, text))
        try:
            return await gate.run_async(resource, given, begun, patience=patience, reporting=_reported)
        except (PermissionDeniedError, ResultUnconfirmedError) as exc:
            return sentence_for_model(exc, has_begun=begun.has_begun)
        except Exception as exc:  # the tool's own, of any kind: the SDK tells it, or it is raised as it is
            told = await told_failure(function_tool=tool, context=context, error=exc) if tells_failures else None
            if told is None:
                raise
            return told

    return ask


def _reported(value: Any) -> Reported:
    return Reported(reported(value))
