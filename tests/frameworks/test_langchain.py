"""LangChain and LangGraph behind the gate: what is denied does not run, sync or async, and the agent goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.langchain import governed_tools
from tests.frameworks.conftest import block_of

RAN: list[tuple[str, Any]] = []


@tool
def refund(order: int, amount: float, items: list[str] | None = None) -> str:
    """Pay back an order."""
    RAN.append(("refund", (order, amount, items)))
    return f"paid {amount} for {order}"


@tool
def secret() -> str:
    """Tell a secret."""
    RAN.append(("secret", None))
    return "TOP SECRET"


@tool
def broken() -> str:
    """Fail."""
    RAN.append(("broken", None))
    raise ValueError("no insurance policy with this number: denied")


class Model(FakeMessagesListChatModel):
    """A model that says what it was given, whatever it is asked."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self


def asks(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
    listed = [{"name": name, "args": args, "id": f"call_{n}"} for n, (name, args) in enumerate(calls)]
    return AIMessage(content="", tool_calls=listed)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def sync(agent: Any) -> list[BaseMessage]:
    return list(agent.invoke({"messages": [("user", "go")]})["messages"])


def in_a_task(agent: Any) -> list[BaseMessage]:
    return list(asyncio.run(agent.ainvoke({"messages": [("user", "go")]}))["messages"])


Runner = Callable[[Any], list[BaseMessage]]
BOTH = pytest.mark.parametrize("run", [sync, in_a_task])


def told(gate: Gate, run: Runner, *calls: tuple[str, dict[str, Any]], **how: Any) -> list[ToolMessage]:
    """Play one round of tool calls, and return what the model was told of them."""
    model = Model(responses=[asks(*calls), AIMessage(content="done")])
    agent = create_agent(model, [refund, secret, broken], middleware=[governed_tools(gate, app="shop", **how)])
    messages = run(agent)
    assert messages[-1].content == "done"  # the agent went on
    return [one for one in messages if isinstance(one, ToolMessage)]


@BOTH
def test_an_allowed_tool_gets_every_argument(gate: Gate, run: Runner) -> None:
    (message,) = told(gate, run, ("refund", {"order": 7, "amount": 5.5, "items": ["a", "b"]}))

    assert (message.content, message.status) == ("paid 5.5 for 7", "success")
    assert RAN == [("refund", (7, 5.5, ["a", "b"]))]


@BOTH
def test_a_denied_tool_does_not_run_and_the_model_hears_no_policy(gate: Gate, run: Runner) -> None:
    first, second = told(gate, run, ("refund", {"order": 7, "amount": 500}), ("secret", {}))

    assert RAN == []
    assert (first.status, second.status) == ("error", "error")
    assert (first.tool_call_id, second.tool_call_id) == ("call_0", "call_1")
    assert "PARAM_OUT_OF_RANGE" in str(first.content)
    for word in ("service:shop", "100", "500", "policy"):
        assert word not in f"{first.content}{second.content}"


@BOTH
def test_parallel_calls_are_decided_one_by_one(gate: Gate, run: Runner) -> None:
    messages = told(gate, run, *(("refund", {"order": n, "amount": 50.0 * n}) for n in range(1, 4)))

    assert [one.status for one in messages] == ["success", "success", "error"]
    assert sorted(RAN) == [("refund", (1, 50.0, None)), ("refund", (2, 100.0, None))]


@BOTH
def test_without_a_decision_nothing_runs(gate: Gate, run: Runner) -> None:
    (message,) = told(gate, run, ("refund", {"order": 7, "amount": 1}), patience=GatePatience(0.001))

    assert (RAN, message.status) == ([], "error")


@BOTH
def test_a_tool_that_the_agent_does_not_have_is_refused(gate: Gate, run: Runner) -> None:
    for name in ("transfer", "refund/../secret", "ref\u0443nd"):
        (message,) = told(gate, run, (name, {}))
        assert message.status == "error"
    assert RAN == []


@BOTH
def test_a_tools_own_failure_is_its_own(gate: Gate, run: Runner) -> None:
    """It says `policy` and `denied`, and is no denial: it reaches the framework as the tool raised it."""
    with pytest.raises(ValueError, match="no insurance policy"):
        told(gate, run, ("broken", {}))
    assert RAN == [("broken", None)]


def test_two_apps_have_middlewares_of_their_own_names(gate: Gate) -> None:
    assert governed_tools(gate, app="a").name != governed_tools(gate, app="b").name


def test_the_code_of_the_page_runs(gate: Gate) -> None:
    calls = [asks(("refund", {"order": 7, "amount": 5})), asks(("refund", {"order": 8, "amount": 500}))]
    here: dict[str, Any] = {"gate": gate, "model": Model(responses=[*calls, AIMessage(content="done")])}
    exec(block_of("test_langchain.py"), here)

    messages = [one for one in sync(here["agent"]) if isinstance(one, ToolMessage)]
    assert [one.status for one in messages] == ["success", "error"]
