"""The OpenAI Agents SDK behind the gate: the log is asked where the SDK invokes a function tool."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents import (
    Agent,
    FunctionTool,
    Model,
    ModelResponse,
    OpenAIChatCompletionsModel,
    RunContextWrapper,
    Runner,
    ToolGuardrailFunctionOutput,
    Usage,
    WebSearchTool,
    function_tool,
    tool_input_guardrail,
    tool_output_guardrail,
)
from openai import AsyncOpenAI
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.openai import governed_openai
from macaw.adapters.openai_agents import governed_tools
from macaw.adapters.refusals import UngovernableToolError
from producers.client import FailedError
from tests.adapters.gates import TOKEN, approving, withholding
from tests.frameworks.conftest import WatchedGate, block_of
from tests.frameworks.model_stub import Stub
from tests.frameworks.model_wires import Chat
from tests.installation import Installation
from tests.waiting import PATIENCE_SECONDS

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


@function_tool
async def wire(context: RunContextWrapper[Any], amount: float) -> dict[str, Any]:
    """Wire an amount, which a treasurer approves."""
    RAN.append(("wire", context.context))
    return {"wired": amount}


@function_tool
def leak() -> str:
    """Tell a token."""
    RAN.append("leak")
    return f"log in with {TOKEN}"


@function_tool
def broken() -> str:
    """Fail."""
    RAN.append("broken")
    raise ValueError("no insurance policy with this number: denied")


TOOLS = [refund, secret, wire, leak, broken]


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

    async def stream_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        answer = await self.get_response(system_instructions, input)
        head = {"id": "r", "created_at": 0, "model": "m", "object": "response", "parallel_tool_calls": True}
        response = Response(**head, output=answer.output, tool_choice="auto", tools=[])  # type: ignore[arg-type]
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)


@pytest.fixture(autouse=True)
def _nothing_ran(gate: WatchedGate) -> None:
    RAN.clear()
    gate.asked.clear()


def told(
    gate: WatchedGate, *calls: tuple[str, str], tools: list[Any] = TOOLS, streamed: bool = False, **how: Any
) -> list[str]:
    model = Scripted(*calls)
    agent = Agent(name="shop", model=model, tools=governed_tools(gate, tools, app="shop", **how))

    async def stream() -> Any:
        run = Runner.run_streamed(agent, "go")
        async for _ in run.stream_events():
            pass
        return run

    run = asyncio.run(stream()) if streamed else Runner.run_sync(agent, "go")
    assert run.final_output == "done"
    return model.told


def asked(order: int, amount: float) -> tuple[str, str]:
    return "refund", json.dumps({"order": order, "amount": amount})


def test_an_allowed_tool_runs(gate: WatchedGate) -> None:
    assert told(gate, asked(7, 5.5)) == ["paid 5.5 for 7"]
    assert RAN == [(7, 5.5)]
    assert gate.outcomes() == ["paid 5.5 for 7"]  # on the log, too


def test_a_denied_tool_does_not_run_and_the_model_hears_no_policy(gate: WatchedGate) -> None:
    first, second = told(gate, asked(7, 500), ("secret", "{}"))

    assert RAN == []
    assert "PARAM_OUT_OF_RANGE" in first
    for word in ("service:shop", "100", "500", "policy", "SECRET"):
        assert word not in f"{first}{second}"


def test_parallel_calls_are_decided_one_by_one(gate: WatchedGate) -> None:
    answers = told(gate, *(asked(n, 50.0 * n) for n in range(1, 4)))

    assert [one.startswith("paid") for one in answers] == [True, True, False]
    assert sorted(RAN) == [(1, 50.0), (2, 100.0)]


def test_without_a_decision_nothing_runs(gate: WatchedGate) -> None:
    assert "could not be decided" in told(gate, asked(7, 1), patience=GatePatience(0.001))[0]
    assert RAN == []


@pytest.mark.parametrize("text", ["{", "[]", '{"order": 1, "amount": 1, "amount": 2}', '{"amount": NaN}'])
def test_arguments_that_are_not_one_object_are_refused(gate: WatchedGate, text: str) -> None:
    """Also those in which a member stands twice: two readers would see two calls."""
    assert "not a JSON object" in told(gate, ("refund", text))[0]
    assert RAN == []


def test_an_awaited_tool_runs_and_waits_for_a_yes(gate: WatchedGate, here: Installation) -> None:
    with approving(here) as approved:
        answers = told(gate, ("wire", '{"amount": 7}'), patience=GatePatience(approval_seconds=PATIENCE_SECONDS))
    assert (answers, RAN, len(approved)) == (["{'wired': 7.0}"], [("wire", None)], 1)
    assert gate.outcomes() == [{"wired": 7.0}]


def test_nobody_says_yes(gate: WatchedGate) -> None:
    assert "not run" in told(gate, ("wire", '{"amount": 7}'))[0]
    assert RAN == []


def test_a_streamed_run_is_governed(gate: WatchedGate) -> None:
    answers = told(gate, asked(7, 5), asked(8, 500), streamed=True)
    assert [one.startswith("paid") for one in answers] == [True, False]
    assert RAN == [(7, 5.0)]


def test_a_result_that_the_log_withholds_is_not_told(gate: WatchedGate, here: Installation) -> None:
    with withholding(here):
        (answer,) = told(gate, ("leak", "{}"))
    assert (RAN, TOKEN in answer, "RESULT_WITHHELD" in answer) == (["leak"], False, True)


def test_a_tools_own_failure_is_its_own(gate: WatchedGate) -> None:
    """The model is told of it as without the gate, and on the log it is no result."""
    model = Scripted(("broken", "{}"))
    Runner.run_sync(Agent(name="shop", model=model, tools=[broken]), "go")
    assert told(gate, ("broken", "{}")) == model.told
    assert "refused" not in model.told[0]
    (outcome,) = gate.outcomes()
    assert isinstance(outcome, FailedError)


def test_a_failure_that_the_tool_says_in_its_own_way(gate: WatchedGate) -> None:
    def say(_: Any, error: Exception) -> str:
        return f"sorry: {type(error).__name__}"

    @function_tool(name_override="broken", failure_error_function=say)
    def fails() -> str:
        raise ValueError

    @function_tool(name_override="broken", failure_error_function=None)
    def raises() -> str:
        raise ValueError("as it is")

    async def invoke(_: Any, text: str) -> str:
        raise ValueError("as it is")

    schema: dict[str, Any] = {"type": "object", "properties": {}}
    own = FunctionTool(name="broken", description="", params_json_schema=schema, on_invoke_tool=invoke)
    assert told(gate, ("broken", "{}"), tools=[fails]) == ["sorry: ValueError"]
    for one in (raises, own):
        with pytest.raises(Exception, match="as it is"):
            told(gate, ("broken", "{}"), tools=[one])
    assert all(isinstance(one, FailedError) for one in gate.outcomes())


def test_the_log_is_asked_after_input_guardrails_and_before_output_guardrails(gate: WatchedGate) -> None:
    order: list[str] = []

    @tool_input_guardrail
    def first(data: Any) -> ToolGuardrailFunctionOutput:
        order.append(f"input, {len(gate.asked)} asked")
        given = json.loads(data.context.tool_arguments)
        if given["order"] == 1:
            return ToolGuardrailFunctionOutput.reject_content("not this one")
        return ToolGuardrailFunctionOutput.allow()

    @tool_output_guardrail
    def last(data: Any) -> ToolGuardrailFunctionOutput:
        order.append(f"output, {len(gate.asked)} asked")
        return ToolGuardrailFunctionOutput.reject_content("not told")

    @function_tool(name_override="refund", tool_input_guardrails=[first], tool_output_guardrails=[last])
    def guarded(order: int, amount: float) -> str:
        return "paid"

    assert told(gate, asked(1, 1), tools=[guarded]) == ["not this one"]
    assert told(gate, asked(2, 1), tools=[guarded]) == ["not told"]
    assert order == ["input, 0 asked", "input, 0 asked", "output, 1 asked"]
    assert gate.outcomes() == ["paid"]  # what the tool said, whatever the model is told


def test_the_sdks_own_approval_comes_first(gate: WatchedGate) -> None:
    @function_tool(name_override="refund", needs_approval=True)
    def approved(order: int, amount: float) -> str:
        RAN.append(order)
        return "paid"

    agent = Agent(name="shop", model=Scripted(asked(7, 5)), tools=governed_tools(gate, [approved], app="shop"))
    run = Runner.run_sync(agent, "go")
    assert (len(run.interruptions), RAN, gate.asked) == (1, [], [])
    state = run.to_state()
    state.approve(run.interruptions[0])
    assert Runner.run_sync(agent, state).final_output == "done"
    assert (RAN, gate.outcomes()) == ([7], ["paid"])


def test_an_agent_as_a_tool_is_a_call_and_so_are_its_own_tools(gate: WatchedGate) -> None:
    inner = Agent(name="clerk", model=Scripted(asked(7, 500)), tools=governed_tools(gate, TOOLS, app="shop"))
    tool = inner.as_tool(tool_name="clerk", tool_description="Ask the clerk.")
    assert told(gate, ("clerk", '{"input": "go"}'), tools=[tool]) == ["done"]
    assert RAN == []
    assert len(gate.outcomes()) == 2


def test_a_tool_that_this_process_does_not_invoke_is_not_taken(gate: WatchedGate) -> None:
    with pytest.raises(UngovernableToolError):
        governed_tools(gate, [WebSearchTool()], app="shop")


def test_a_governed_client_of_openai_makes_the_agents_model_calls_governed(
    gate: Gate, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK sends through the client that it is given: the model's calls stand on the log as well as the tool's."""
    seen: list[str] = []
    real = Gate.held_async
    monkeypatch.setattr(Gate, "held_async", lambda self, **how: (seen.append(how["resource"]), real(self, **how))[1])
    stub.says(Chat().asks(("a", "refund", asked(7, 5)[1])), Chat().says("done"))
    plain = AsyncOpenAI(base_url=f"{stub.url}/v1", api_key="sk-of-the-test", max_retries=0)

    async def main() -> str:
        async with governed_openai(gate, plain, app="shop") as client:
            model = OpenAIChatCompletionsModel("m-1", openai_client=client)
            agent = Agent(name="shop", model=model, tools=governed_tools(gate, [refund], app="shop"))
            return str((await Runner.run(agent, "go")).final_output)

    assert asyncio.run(main()) == "done"
    assert RAN == [(7, 5)]
    assert seen == ["tool:shop/generate"] * 2


def test_the_code_of_the_page_runs(gate: WatchedGate) -> None:
    model = Scripted(asked(7, 5), asked(8, 500))
    here: dict[str, Any] = {"gate": gate, "model": model}
    exec(block_of("test_openai_agents.py"), here)

    asyncio.run(Runner.run(here["agent"], "go"))
    assert [one.startswith("paid") for one in model.told] == [True, False]
