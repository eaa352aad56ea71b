"""Pydantic AI behind the gate: a toolset asks the log before each call of the toolset within it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.toolsets import FunctionToolset

from macaw.adapters.gate import GatePatience
from macaw.adapters.pydantic_ai import governed_toolset
from producers.client import FailedError
from tests.adapters.gates import TOKEN, approving, withholding
from tests.frameworks.conftest import WatchedGate, block_of
from tests.installation import Installation
from tests.waiting import PATIENCE_SECONDS

RAN: list[Any] = []


def refund(order: int, amount: float) -> str:
    """Pay back an order."""
    RAN.append((order, amount))
    return f"paid {amount} for {order}"


async def secret() -> str:
    """Tell a secret."""
    RAN.append("secret")
    return "TOP SECRET"


class Receipt(BaseModel):
    amount: float
    on: date


async def wire(amount: float) -> Receipt:
    """Wire an amount, which a treasurer approves."""
    RAN.append(("wire", amount))
    return Receipt(amount=amount, on=date(2026, 1, 2))


def leak() -> str:
    """Tell a token."""
    RAN.append("leak")
    return f"log in with {TOKEN}"


def unsure(order: int) -> str:
    """Ask for another order, once."""
    RAN.append(("unsure", order))
    if order == 1:
        raise ModelRetry("order 1 is closed, take 2")
    return "paid"


def broken() -> str:
    """Fail."""
    raise ValueError("no insurance policy with this number: denied")


TOOLS: list[Any] = [refund, secret, wire, leak, unsure, broken]


@pytest.fixture(autouse=True)
def _nothing_ran(gate: WatchedGate) -> None:
    RAN.clear()
    gate.asked.clear()


def told(gate: WatchedGate, *calls: tuple[str, Any], **how: Any) -> list[ToolReturnPart]:
    """Play one round of tool calls, and return what the model was told of them."""

    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart(name, args) for name, args in calls])
        return ModelResponse(parts=[TextPart("done")])

    toolset = governed_toolset(gate, FunctionToolset(TOOLS), app="shop", **how)
    ran = Agent(FunctionModel(model), toolsets=[toolset]).run_sync("go")
    assert ran.output == "done"
    return [part for one in ran.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]


def test_an_allowed_tool_runs(gate: WatchedGate) -> None:
    (part,) = told(gate, ("refund", {"order": 7, "amount": 5.5}))

    assert (part.content, RAN) == ("paid 5.5 for 7", [(7, 5.5)])
    assert gate.outcomes() == ["paid 5.5 for 7"]


def test_a_denied_tool_does_not_run_and_the_model_hears_no_policy(gate: WatchedGate) -> None:
    first, second = told(gate, ("refund", {"order": 7, "amount": 500}), ("secret", {}))

    assert (RAN, first.outcome, second.outcome) == ([], "denied", "denied")
    assert "PARAM_OUT_OF_RANGE" in str(first.content)
    for word in ("service:shop", "100", "500", "policy", "SECRET"):
        assert word not in f"{first.content}{second.content}"


def test_parallel_calls_are_decided_one_by_one(gate: WatchedGate) -> None:
    parts = told(gate, *(("refund", {"order": n, "amount": 50.0 * n}) for n in range(1, 4)))

    assert [one.outcome for one in parts] == ["success", "success", "denied"]
    assert sorted(RAN) == [(1, 50.0), (2, 100.0)]


def test_without_a_decision_nothing_runs(gate: WatchedGate) -> None:
    (part,) = told(gate, ("refund", {"order": 7, "amount": 1}), patience=GatePatience(0.001))

    assert (RAN, part.outcome) == ([], "denied")


def test_two_calls_of_one_toolset_share_nothing(gate: WatchedGate) -> None:
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


def test_an_awaited_tool_runs_and_waits_for_a_yes(gate: WatchedGate, here: Installation) -> None:
    """Its value is an object of its own class: the agent gets it, and the log its fields."""
    with approving(here) as approved:
        (part,) = told(gate, ("wire", {"amount": 7}), patience=GatePatience(approval_seconds=PATIENCE_SECONDS))
    assert (part.content, RAN, len(approved)) == (Receipt(amount=7, on=date(2026, 1, 2)), [("wire", 7.0)], 1)
    assert gate.outcomes() == [{"amount": 7.0, "on": "2026-01-02"}]


def test_a_result_that_the_log_withholds_is_not_told(gate: WatchedGate, here: Installation) -> None:
    with withholding(here):
        (part,) = told(gate, ("leak", {}))
    assert (RAN, TOKEN in str(part.content), "RESULT_WITHHELD" in str(part.content)) == (["leak"], False, True)


def test_a_tool_that_asks_for_a_retry_is_asked_for_again(gate: WatchedGate) -> None:
    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) > 4:
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart("unsure", {"order": 1 if len(messages) == 1 else 2})])

    toolset = governed_toolset(gate, FunctionToolset(TOOLS), app="shop")
    ran = Agent(FunctionModel(model), toolsets=[toolset]).run_sync("go")
    parts = [part for one in ran.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]
    assert [one.content for one in parts] == ["order 1 is closed, take 2", "paid"]
    assert RAN == [("unsure", 1), ("unsure", 2)]
    first, second = gate.outcomes()
    assert (isinstance(first, FailedError), second) == (True, "paid")


def test_a_tools_own_failure_is_its_own(gate: WatchedGate) -> None:
    with pytest.raises(ValueError, match="no insurance policy"):
        told(gate, ("broken", {}))
    (outcome,) = gate.outcomes()
    assert isinstance(outcome, FailedError)


def test_a_streamed_run_is_governed(gate: WatchedGate) -> None:
    async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
        if len(messages) > 1:
            yield "done"
            return
        for at, amount in enumerate((5, 500)):
            yield {at: DeltaToolCall(name="refund", json_args=f'{{"order": {amount}, ')}
            yield {at: DeltaToolCall(json_args=f'"amount": {amount}}}')}

    async def run() -> list[Any]:
        toolset = governed_toolset(gate, FunctionToolset(TOOLS), app="shop")
        async with Agent(FunctionModel(stream_function=stream), toolsets=[toolset]).run_stream("go") as streamed:
            assert await streamed.get_output() == "done"
            return [part for one in streamed.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]

    assert [one.outcome for one in asyncio.run(run())] == ["success", "denied"]
    assert RAN == [(5, 5.0)]


def test_an_agent_within_a_tool_asks_for_its_own_tools(gate: WatchedGate) -> None:
    """The inner agent's calls are calls within the outer tool's, and no less governed."""

    def asks_for_more(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("refund", {"order": 7, "amount": 500})])
        return ModelResponse(parts=[TextPart(str(messages[-1].parts[0].content))])  # type: ignore[union-attr]

    inner = Agent(FunctionModel(asks_for_more), toolsets=[governed_toolset(gate, FunctionToolset(TOOLS), app="shop")])

    async def clerk() -> str:
        return str((await inner.run("go")).output)

    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("clerk", {})])
        return ModelResponse(parts=[TextPart("done")])

    toolset = governed_toolset(gate, FunctionToolset([clerk]), app="shop")
    ran = Agent(FunctionModel(model), toolsets=[toolset]).run_sync("go")
    parts = [part for one in ran.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]
    assert "PARAM_OUT_OF_RANGE" in str(parts[0].content)
    assert RAN == []


def test_the_code_of_the_page_runs(gate: WatchedGate) -> None:
    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("refund", {"order": n, "amount": n}) for n in (5, 500)])
        return ModelResponse(parts=[TextPart("done")])

    here: dict[str, Any] = {"gate": gate, "model": FunctionModel(model)}
    exec(block_of("test_pydantic_ai.py"), here)
    ran = here["agent"].run_sync("go")
    parts = [part for one in ran.all_messages() for part in one.parts if isinstance(part, ToolReturnPart)]
    assert [one.outcome for one in parts] == ["success", "denied"]
