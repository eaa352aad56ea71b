"""Tool calls of a model before the log is asked, and the SDK's transport: with a gate that allows every call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from openai import APIConnectionError, AsyncOpenAI, OpenAI

from macaw.adapters.model_answers import ToolCall
from macaw.adapters.model_tools import GovernedTools, RoundLimits
from macaw.adapters.openai import CHAT, governed_openai
from macaw.adapters.refusals import (
    PermissionDeniedError,
    RoundsExceededError,
    UngovernableRequestError,
    UngovernableToolError,
)
from producers.client import DeniedError
from tests.adapters.open_gate import OpenGate
from tests.frameworks.model_stub import Said, Stub
from tests.frameworks.model_wires import Chat


class Currency(Enum):
    EURO = "EUR"


def pay(amount: Decimal, currency: Currency = Currency.EURO, note: str | None = None) -> dict[str, Any]:
    """Pay.

    More about it.
    """
    return {"paid": amount, "in": currency, "note": note}


def tools_of(*functions: Callable[..., Any], **bounds: Any) -> tuple[GovernedTools, OpenGate]:
    gate = OpenGate()
    return GovernedTools(gate, functions, app="shop", bounds=RoundLimits(**bounds)), gate  # type: ignore[arg-type]


def answered(arguments: str, *functions: Callable[..., Any], **bounds: Any) -> tuple[str, list[Any]]:
    tools, gate = tools_of(*(functions or (pay,)), **bounds)
    (answer,) = tools.answer([ToolCall("a", (functions or (pay,))[0].__name__, arguments)])
    return answer.text, gate.asked


def test_a_default_is_a_parameter_that_policies_see() -> None:
    text, asked = answered('{"amount": 5}')
    assert text == '{"in":"EUR","note":null,"paid":"5"}'
    assert asked == [("tool:shop/pay", {"amount": 5, "currency": "EUR", "note": None})]


@pytest.mark.parametrize(
    "arguments", ["", "{", "null", "[]", '{"amount": "5"}', '{"amount": 1, "x": 1}', '{"amount": 1, "amount": 2}']
)
def test_arguments_that_do_not_fit_are_not_asked_about(arguments: str) -> None:
    text, asked = answered(arguments)
    assert "not run" in text
    assert asked == []


def test_a_function_is_offered_as_it_is_written() -> None:
    tools, _ = tools_of(pay)
    described = CHAT.offered(tools)[0]["function"]
    assert (described["name"], described["description"]) == ("pay", "Pay.")
    assert described["parameters"]["required"] == ["amount"]
    assert CHAT.offered(GovernedTools(OpenGate(), [], app="shop")) == []  # type: ignore[arg-type]


def test_functions_that_cannot_be_tools_are_refused() -> None:
    def generate(order: int) -> None: ...

    def many(*orders: int) -> None: ...

    def stream(order: int) -> Iterator[int]:
        yield order

    def odd(order: int, at: object = threading) -> None: ...

    for one in (generate, many, stream, odd, lambda: 1):
        with pytest.raises(UngovernableToolError):
            tools_of(one)
    with pytest.raises(UngovernableToolError, match="two tools"):
        tools_of(pay, pay)


def test_the_calls_of_an_answer_run_at_once() -> None:
    """Each waits for the others, so that none would end if they ran in turn."""
    together = threading.Barrier(4, timeout=60)

    def meet(number: int) -> int:
        together.wait()
        return number

    tools, gate = tools_of(meet)
    calls = [ToolCall(f"id{n}", "meet", f'{{"number": {n}}}') for n in range(4)]
    assert [one.text for one in tools.answer(calls)] == ["0", "1", "2", "3"]
    assert [one.text for one in asyncio.run(tools.answer_async(calls))] == ["0", "1", "2", "3"]
    assert len(gate.asked) == 8


def test_what_ends_the_program_is_not_told_to_a_model() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answered("{}", stop)


def test_a_denial_within_a_tool_is_told_without_its_text() -> None:
    """The tool has begun: to say that it was not run would be wrong, and the text names a parameter."""

    def nested() -> None:
        raise PermissionDeniedError("denied: a policy; parameter amount", reason="PARAM_OUT_OF_RANGE")

    def called() -> None:
        raise DeniedError("the call was denied", reason="RESOURCE_DENIED")

    assert answered("{}", nested)[0] == "The tool failed: PermissionDeniedError (PARAM_OUT_OF_RANGE)"
    assert answered("{}", called)[0] == "The tool failed: DeniedError (RESOURCE_DENIED)"


def test_no_calls_are_no_work() -> None:
    tools, gate = tools_of(pay)
    assert (tools.answer([]), asyncio.run(tools.answer_async([])), gate.asked) == ([], [], [])


# --- the transport


def made(stub: Stub) -> dict[str, Any]:
    return {"base_url": f"{stub.url}/v1", "api_key": "sk-of-the-test", "max_retries": 0}


ASKING = Chat().asking()


def test_a_run_over_the_real_sdk(stub: Stub) -> None:
    tools, gate = tools_of(pay)
    call = ("a", "pay", '{"amount": 5}')
    for stream in (False, True):
        stub.says(Chat().asks(call, stream=stream), Chat().says("done", stream=stream))
        seen: list[Any] = []
        how = {"on_event": seen.append} if stream else {}
        with governed_openai(gate, OpenAI(**made(stub)), app="shop") as client:  # type: ignore[arg-type]
            finished = CHAT.run(client, tools, **ASKING, **how)
        assert (finished.text, finished.rounds, bool(seen)) == ("done", 2, stream)
        assert [one["role"] for one in finished.messages] == ["user", "assistant", "tool", "assistant"]

    async def main() -> str:
        stub.says(Chat().asks(call, stream=True), Chat().says("done", stream=True))
        async with governed_openai(gate, AsyncOpenAI(**made(stub)), app="shop") as client:  # type: ignore[arg-type]
            return (await CHAT.run_async(client, tools, **ASKING, on_event=lambda _: None)).text

    assert asyncio.run(main()) == "done"
    assert [name for name, _ in gate.asked] == ["tool:shop/generate", "tool:shop/pay", "tool:shop/generate"] * 3
    assert [end["tool_calls"] for end in gate.ends] == [1, 0] * 3


def test_bytes_after_the_end_of_a_stream_reach_nobody(stub: Stub) -> None:
    """A tool call that comes after the last word would stand in no report."""
    gate = OpenGate()
    said = Chat().says("hello", stream=True)
    late = Chat().asks(("z", "pay", "{}"), stream=True)
    stub.says(Said(said.body + b": \n" * 50 + late.body, kind=said.kind))
    with governed_openai(gate, OpenAI(**made(stub)), app="shop") as client:  # type: ignore[arg-type]
        raw = client.chat.completions.with_raw_response.create(**ASKING, stream=True)
        passed = b"".join(raw.http_response.iter_bytes())
    assert b"[DONE]" in passed
    assert b'"z"' not in passed
    assert gate.ends[0]["tool_calls"] == 0


def test_a_stream_without_its_end_is_an_error(stub: Stub) -> None:
    gate = OpenGate()
    stub.says(Chat().dies(("a", "pay", '{"amount": 5}')))
    client = governed_openai(gate, OpenAI(**made(stub)), app="shop")  # type: ignore[arg-type]
    with client, pytest.raises(APIConnectionError):
        list(client.chat.completions.create(**ASKING, stream=True))
    assert "ended before" in str(gate.ends[0])


def test_an_answer_that_is_no_json_is_an_error(stub: Stub) -> None:
    """Or the program would have tool calls that stand in no report."""
    gate = OpenGate()
    late = Chat().asks(("z", "pay", "{}"), stream=True)
    stub.says(Said(late.body, kind="text/plain"))
    client = governed_openai(gate, OpenAI(**made(stub)), app="shop")  # type: ignore[arg-type]
    with client, pytest.raises(APIConnectionError):
        list(client.chat.completions.create(**ASKING, stream=True))
    assert "not a JSON object" in str(gate.ends[0])


def test_a_redirection_is_a_call_of_its_own(stub: Stub) -> None:
    gate = OpenGate()
    to = {"Location": f"{stub.url}/v1/files"}
    stub.says(Said(b"", status=307, headers=to))
    client = governed_openai(gate, OpenAI(**made(stub)), app="shop")  # type: ignore[arg-type]
    with client, pytest.raises(UngovernableRequestError, match="POST /v1/files"):
        client.chat.completions.create(**ASKING)
    assert "HTTP 307" in str(gate.ends[0])
    assert len(stub.requests) == 1


def test_a_run_is_asked_as_it_can_be_played(stub: Stub) -> None:
    tools, gate = tools_of(pay)
    with OpenAI(**made(stub)) as plain, pytest.raises(UngovernableRequestError, match="past the gate"):
        CHAT.run(plain, tools, **ASKING)
    with governed_openai(gate, OpenAI(**made(stub)), app="shop") as client:  # type: ignore[arg-type]
        for more in ({"n": 2}, {"stream": True}):
            with pytest.raises(UngovernableRequestError):
                CHAT.run(client, tools, **ASKING, **more)
        late, _ = tools_of(pay, seconds=-1.0)
        with pytest.raises(RoundsExceededError):
            CHAT.run(client, late, **ASKING)
    assert gate.asked == []
