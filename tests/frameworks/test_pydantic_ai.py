"""Pydantic AI behind the gate: a toolset asks the log before each call of the toolset within it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.toolsets import FunctionToolset

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.pydantic_ai import governed_toolset
from tests.frameworks.conftest import block_of

RAN: list[Any] = []


def refund(order: int, amount: float) -> str:
    """Pay back an order."""
    RAN.append((order, amount))
    return f"paid {amount} for {order}"


async def secret() -> str:
    """Tell a secret."""
    RAN.append("secret")
    return "TOP SECRET"


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def told(gate: Gate, *calls: tuple[str, Any], **how: Any) -> list[ToolReturnPart]:
    """Play one round of tool calls, and return what the model was told of them."""

    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart(name, args) for name, args in calls])
        return ModelResponse(parts=[TextPart("done")])

    toolset = governed_toolset(gate, FunctionToolset([refund, secret]), app="shop", **how)
    ran = Agent(FunctionModel(model), toolsets=[toolset]).run_sync("go")
    assert ran.output == "done"
    return [part for one in ran.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]


def test_an_allowed_tool_runs(gate: Gate) -> None:
    (part,) = told(gate, ("refund", {"order": 7, "amount": 5.5}))

    assert (part.content, RAN) == ("paid 5.5 for 7", [(7, 5.5)])


def test_a_denied_tool_does_not_run_and_the_model_hears_no_policy(gate: Gate) -> None:
    first, second = told(gate, ("refund", {"order": 7, "amount": 500}), ("secret", {}))

    assert (RAN, first.outcome, second.outcome) == ([], "denied", "denied")
    assert "PARAM_OUT_OF_RANGE" in str(first.content)
    for word in ("service:shop", "100", "500", "policy", "SECRET"):
        assert word not in f"{first.content}{second.content}"


def test_parallel_calls_are_decided_one_by_one(gate: Gate) -> None:
    parts = told(gate, *(("refund", {"order": n, "amount": 50.0 * n}) for n in range(1, 4)))

    assert [one.outcome for one in parts] == ["success", "success", "denied"]
    assert sorted(RAN) == [(1, 50.0), (2, 100.0)]


def test_without_a_decision_nothing_runs(gate: Gate) -> None:
    (part,) = told(gate, ("refund", {"order": 7, "amount": 1}), patience=GatePatience(0.001))

    assert (RAN, part.outcome) == ([], "denied")


def test_two_calls_of_one_toolset_share_nothing(gate: Gate) -> None:
    """The SDK of others ran the first function of a name for every later one: this one runs its own."""
    for sign in ("first", "second"):

        def refund(order: int, amount: float, sign: str = sign) -> str:
            return sign

        def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            if len(messages) == 1:
                return ModelResponse(parts=[ToolCallPart("refund", {"order": 1, "amount": 1})])
            return ModelResponse(parts=[TextPart("done")])

        toolset = governed_toolset(gate, FunctionToolset([refund]), app="shop")
        ran = Agent(FunctionModel(model), toolsets=[toolset]).run_sync("go")
        parts = [part for one in ran.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]
        assert [part.content for part in parts] == [sign]


def test_the_code_of_the_page_runs(gate: Gate) -> None:
    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("refund", {"order": n, "amount": n}) for n in (5, 500)])
        return ModelResponse(parts=[TextPart("done")])

    here: dict[str, Any] = {"gate": gate, "model": FunctionModel(model)}
    exec(block_of("test_pydantic_ai.py"), here)
    ran = here["agent"].run_sync("go")
    parts = [part for one in ran.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]
    assert [one.outcome for one in parts] == ["success", "denied"]
