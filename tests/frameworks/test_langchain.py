"""LangChain and LangGraph behind the gate: what is denied does not run, sync or async, and the agent goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from macaw.adapters.gate import GatePatience
from macaw.adapters.langchain import governed_tools
from macaw.adapters.refusals import PermissionDeniedError, UngovernableToolError
from producers.client import FailedError
from tests.adapters.gates import TOKEN, approving, withholding
from tests.frameworks.conftest import WatchedGate, block_of
from tests.installation import Installation
from tests.waiting import PATIENCE_SECONDS

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


@tool
def wire(amount: float) -> str:
    """Wire an amount, which a treasurer approves."""
    RAN.append(("wire", amount))
    return f"wired {amount}"


@tool
def leak() -> str:
    """Tell a token."""
    RAN.append(("leak", None))
    return f"log in with {TOKEN}"


@tool
def flaky() -> str:
    """Fail once."""
    RAN.append(("flaky", None))
    if len(RAN) == 1:
        raise ConnectionError("try again")
    return "at last"


@tool
def careful(order: int) -> str:
    """Ask the person at the agent first."""
    said = interrupt({"order": order})
    RAN.append(("careful", said))
    return f"the person said {said}"


TOOLS = [refund, secret, broken, wire, leak, flaky, careful]


class Model(FakeMessagesListChatModel):
    """A model that says what it was given, whatever it is asked."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self


def asks(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
    listed = [{"name": name, "args": args, "id": f"call_{n}"} for n, (name, args) in enumerate(calls)]
    return AIMessage(content="", tool_calls=listed)


@pytest.fixture(autouse=True)
def _nothing_ran(gate: WatchedGate) -> None:
    RAN.clear()
    gate.asked.clear()


def sync(agent: Any) -> list[BaseMessage]:
    return list(agent.invoke({"messages": [("user", "go")]})["messages"])


def in_a_task(agent: Any) -> list[BaseMessage]:
    return list(asyncio.run(agent.ainvoke({"messages": [("user", "go")]}))["messages"])


Runner = Callable[[Any], list[BaseMessage]]
BOTH = pytest.mark.parametrize("run", [sync, in_a_task])


def told(gate: WatchedGate, run: Runner, *calls: tuple[str, dict[str, Any]], **how: Any) -> list[ToolMessage]:
    """Play one round of tool calls, and return what the model was told of them."""
    model = Model(responses=[asks(*calls), AIMessage(content="done")])
    agent = create_agent(model, TOOLS, middleware=[governed_tools(gate, app="shop", **how)])
    messages = run(agent)
    assert messages[-1].content == "done"  # the agent went on
    return [one for one in messages if isinstance(one, ToolMessage)]


@BOTH
def test_an_allowed_tool_gets_every_argument(gate: WatchedGate, run: Runner) -> None:
    (message,) = told(gate, run, ("refund", {"order": 7, "amount": 5.5, "items": ["a", "b"]}))

    assert (message.content, message.status) == ("paid 5.5 for 7", "success")
    assert RAN == [("refund", (7, 5.5, ["a", "b"]))]
    assert gate.outcomes() == ["paid 5.5 for 7"]


@BOTH
def test_a_denied_tool_does_not_run_and_the_model_hears_no_policy(gate: WatchedGate, run: Runner) -> None:
    first, second = told(gate, run, ("refund", {"order": 7, "amount": 500}), ("secret", {}))

    assert RAN == []
    assert (first.status, second.status) == ("error", "error")
    assert (first.tool_call_id, second.tool_call_id) == ("call_0", "call_1")
    assert "PARAM_OUT_OF_RANGE" in str(first.content)
    for word in ("service:shop", "100", "500", "policy"):
        assert word not in f"{first.content}{second.content}"


@BOTH
def test_parallel_calls_are_decided_one_by_one(gate: WatchedGate, run: Runner) -> None:
    messages = told(gate, run, *(("refund", {"order": n, "amount": 50.0 * n}) for n in range(1, 4)))

    assert [one.status for one in messages] == ["success", "success", "error"]
    assert sorted(RAN) == [("refund", (1, 50.0, None)), ("refund", (2, 100.0, None))]


@BOTH
def test_without_a_decision_nothing_runs(gate: WatchedGate, run: Runner) -> None:
    (message,) = told(gate, run, ("refund", {"order": 7, "amount": 1}), patience=GatePatience(0.001))

    assert (RAN, message.status) == ([], "error")


@BOTH
def test_a_tool_that_the_agent_does_not_have_is_refused(gate: WatchedGate, run: Runner) -> None:
    for name in ("transfer", "refund/../secret", "ref\u0443nd"):
        (message,) = told(gate, run, (name, {}))
        assert message.status == "error"
    assert RAN == []


@BOTH
def test_a_tools_own_failure_is_its_own(gate: WatchedGate, run: Runner) -> None:
    """It says `policy` and `denied`, and is no denial: it reaches the framework as the tool raised it."""
    with pytest.raises(ValueError, match="no insurance policy"):
        told(gate, run, ("broken", {}))
    assert RAN == [("broken", None)]


@BOTH
def test_a_call_that_needs_people_waits_for_a_yes(gate: WatchedGate, here: Installation, run: Runner) -> None:
    with approving(here) as approved:
        how = GatePatience(approval_seconds=PATIENCE_SECONDS)
        (message,) = told(gate, run, ("wire", {"amount": 7}), patience=how)
    assert (message.content, RAN, len(approved)) == ("wired 7.0", [("wire", 7.0)], 1)


@BOTH
def test_a_result_that_the_log_withholds_is_not_told(gate: WatchedGate, here: Installation, run: Runner) -> None:
    with withholding(here):
        (message,) = told(gate, run, ("leak", {}))
    assert (RAN, message.status) == ([("leak", None)], "error")
    assert (TOKEN in str(message.content), "RESULT_WITHHELD" in str(message.content)) == (False, True)


def streamed(agent: Any) -> list[ToolMessage]:
    found: list[ToolMessage] = []
    for part in agent.stream({"messages": [("user", "go")]}, stream_mode="updates"):
        found += [one for update in part.values() for one in update["messages"] if isinstance(one, ToolMessage)]
    return found


def streamed_events(agent: Any) -> list[ToolMessage]:
    async def run() -> list[ToolMessage]:
        events = [one async for one in agent.astream_events({"messages": [("user", "go")]}, version="v2")]
        # A tool that was denied has not begun: it has no event of its own.
        assert [one["data"]["input"]["order"] for one in events if one["event"] == "on_tool_start"] == [7]
        ended = events[-1]["data"]["output"]["messages"]
        return [one for one in ended if isinstance(one, ToolMessage)]

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [streamed, streamed_events])
def test_a_streamed_run_is_governed(gate: WatchedGate, stream: Callable[[Any], list[ToolMessage]]) -> None:
    calls = asks(("refund", {"order": 7, "amount": 5}), ("refund", {"order": 8, "amount": 500}))
    model = Model(responses=[calls, AIMessage(content="done")])
    agent = create_agent(model, TOOLS, middleware=[governed_tools(gate, app="shop")])
    messages = sorted(stream(agent), key=lambda one: str(one.tool_call_id))
    assert [one.status for one in messages] == ["success", "error"]
    assert RAN == [("refund", (7, 5.0, None))]


@BOTH
def test_each_try_of_a_tool_is_a_call(gate: WatchedGate, run: Runner) -> None:
    """The retries of a middleware before ours come to us one by one: a policy that has changed meanwhile counts."""
    model = Model(responses=[asks(("flaky", {})), AIMessage(content="done")])
    retries = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    run(create_agent(model, TOOLS, middleware=[retries, governed_tools(gate, app="shop")]))
    first, second = gate.outcomes()
    assert (isinstance(first, FailedError), second) == (True, "at last")


def test_a_denial_is_not_tried_again(gate: WatchedGate) -> None:
    model = Model(responses=[asks(("secret", {})), AIMessage(content="done")])
    retries = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    sync(create_agent(model, TOOLS, middleware=[retries, governed_tools(gate, app="shop")]))
    assert (RAN, len(gate.asked)) == ([], 1)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_interrupt_leaves_the_agent_and_the_resumed_tool_is_asked_for_again(
    gate: WatchedGate, is_async: bool
) -> None:
    """LangGraph runs an interrupted tool again from its beginning: the log has both, and only one has succeeded."""
    model = Model(responses=[asks(("careful", {"order": 7})), AIMessage(content="done")])
    own = governed_tools(gate, app="shop")
    agent = create_agent(model, TOOLS, middleware=[own], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "one"}}

    def go(given: Any) -> dict[str, Any]:
        return asyncio.run(agent.ainvoke(given, thread)) if is_async else agent.invoke(given, thread)

    stopped = go({"messages": [("user", "go")]})
    assert [one.value for one in stopped["__interrupt__"]] == [{"order": 7}]
    assert RAN == []
    resumed = go(Command(resume="yes"))
    assert (resumed["messages"][-1].content, RAN) == ("done", [("careful", "yes")])
    first, second = gate.outcomes()
    assert (isinstance(first, FailedError), second) == (True, "the person said yes")


@BOTH
def test_an_agent_within_a_tool_asks_for_its_own_tools(gate: WatchedGate, run: Runner) -> None:
    """What the inner agent may do is decided call by call, within the call of the outer tool."""
    inner_model = Model(responses=[asks(("refund", {"order": 7, "amount": 500})), AIMessage(content="done")])
    inner = create_agent(inner_model, TOOLS, middleware=[governed_tools(gate, app="shop")])

    @tool
    def clerk() -> str:
        """Ask the clerk."""
        return str(sync(inner)[-2].content)

    model = Model(responses=[asks(("clerk", {})), AIMessage(content="done")])
    messages = run(create_agent(model, [clerk], middleware=[governed_tools(gate, app="shop")]))
    assert "PARAM_OUT_OF_RANGE" in str(messages[-2].content)
    assert (RAN, len(gate.asked)) == ([], 2)


@BOTH
def test_a_tool_in_the_place_of_the_one_that_was_named_does_not_run(gate: WatchedGate, run: Runner) -> None:
    class Swap(AgentMiddleware):  # type: ignore[misc, type-arg, unused-ignore]
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(tool=secret))

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return await handler(request.override(tool=secret))

    model = Model(responses=[asks(("refund", {"order": 7, "amount": 5})), AIMessage(content="done")])
    agent = create_agent(model, TOOLS, middleware=[Swap(), governed_tools(gate, app="shop")])
    with pytest.raises(UngovernableToolError, match="in the place of refund"):
        run(agent)
    assert (RAN, gate.asked) == ([], [])


def test_a_denial_within_a_tool_does_not_say_that_the_tool_did_not_run(gate: WatchedGate) -> None:
    @tool
    def clerk() -> str:
        """Ask the clerk."""
        RAN.append(("clerk", None))
        raise PermissionDeniedError("denied by a policy: amount", reason="PARAM_OUT_OF_RANGE")

    model = Model(responses=[asks(("clerk", {})), AIMessage(content="done")])
    *_, said, _ = sync(create_agent(model, [clerk], middleware=[governed_tools(gate, app="shop")]))
    assert said.content == "The tool failed: PermissionDeniedError (PARAM_OUT_OF_RANGE)"
    assert RAN == [("clerk", None)]


def test_two_apps_have_middlewares_of_their_own_names(gate: WatchedGate) -> None:
    assert governed_tools(gate, app="a").name != governed_tools(gate, app="b").name


def test_the_code_of_the_page_runs(gate: WatchedGate) -> None:
    calls = [asks(("refund", {"order": 7, "amount": 5})), asks(("refund", {"order": 8, "amount": 500}))]
    here: dict[str, Any] = {"gate": gate, "model": Model(responses=[*calls, AIMessage(content="done")])}
    exec(block_of("test_langchain.py"), here)

    messages = [one for one in sync(here["agent"]) if isinstance(one, ToolMessage)]
    assert [one.status for one in messages] == ["success", "error"]
