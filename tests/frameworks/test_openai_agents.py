"""The OpenAI Agents SDK behind the gate: a guardrail of ours stands before each function tool."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents import Agent, Model, ModelResponse, Runner, Usage, WebSearchTool, function_tool
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.openai_agents import UngovernableToolError, governed_tools
from tests.frameworks.conftest import block_of

RAN: list[Any] = []


@function_tool
def refund(order: int, amount: float) -> str:
    """Pay back an order."""
    RAN.append((order, amount))
    return f"paid {amount} for {order}"


@function_tool
def secret() -> str:
    """Tell a secret."""
    RAN.append("secret")
    return "TOP SECRET"


class Scripted(Model):
    """A model that asks for some tools, then says that it is done, and keeps what it was told."""

    def __init__(self, *calls: tuple[str, str]) -> None:
        self.calls, self.told = list(calls), [""]

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:  # noqa: A002
        if self.calls:
            output: list[Any] = [
                ResponseFunctionToolCall(type="function_call", name=name, arguments=text, call_id=f"call_{n}")
                for n, (name, text) in enumerate(self.calls)
            ]
            self.calls = []
        else:
            self.told = [str(one["output"]) for one in input if one.get("type") == "function_call_output"]
            text = ResponseOutputText(type="output_text", text="done", annotations=[])
            message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
            output = [ResponseOutputMessage(**message)]  # type: ignore[arg-type]
        return ModelResponse(output=output, usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def told(gate: Gate, *calls: tuple[str, str], **how: Any) -> list[str]:
    model = Scripted(*calls)
    agent = Agent(name="shop", model=model, tools=governed_tools(gate, [refund, secret], app="shop", **how))
    assert asyncio.run(Runner.run(agent, "go")).final_output == "done"
    return model.told


def asked(order: int, amount: float) -> tuple[str, str]:
    return "refund", json.dumps({"order": order, "amount": amount})


def test_an_allowed_tool_runs(gate: Gate) -> None:
    assert told(gate, asked(7, 5.5)) == ["paid 5.5 for 7"]
    assert RAN == [(7, 5.5)]


def test_a_denied_tool_does_not_run_and_the_model_hears_no_policy(gate: Gate) -> None:
    first, second = told(gate, asked(7, 500), ("secret", "{}"))

    assert RAN == []
    assert "PARAM_OUT_OF_RANGE" in first
    for word in ("service:shop", "100", "500", "policy", "SECRET"):
        assert word not in f"{first}{second}"


def test_parallel_calls_are_decided_one_by_one(gate: Gate) -> None:
    answers = told(gate, *(asked(n, 50.0 * n) for n in range(1, 4)))

    assert [one.startswith("paid") for one in answers] == [True, True, False]
    assert sorted(RAN) == [(1, 50.0), (2, 100.0)]


def test_without_a_decision_nothing_runs(gate: Gate) -> None:
    assert "could not be decided" in told(gate, asked(7, 1), patience=GatePatience(0.001))[0]
    assert RAN == []


@pytest.mark.parametrize("text", ["{", "[]", '{"order": 1, "amount": 1, "amount": 2}', '{"amount": NaN}'])
def test_arguments_that_are_not_one_object_are_refused(gate: Gate, text: str) -> None:
    """Also those in which a member stands twice: two readers would see two calls."""
    assert "not a JSON object" in told(gate, ("refund", text))[0]
    assert RAN == []


def test_a_tool_that_runs_without_guardrails_is_not_taken(gate: Gate) -> None:
    with pytest.raises(UngovernableToolError):
        governed_tools(gate, [WebSearchTool()], app="shop")


def test_the_code_of_the_page_runs(gate: Gate) -> None:
    model = Scripted(asked(7, 5), asked(8, 500))
    here: dict[str, Any] = {"gate": gate, "model": model}
    exec(block_of("test_openai_agents.py"), here)

    asyncio.run(Runner.run(here["agent"], "go"))
    assert [one.startswith("paid") for one in model.told] == [True, False]
