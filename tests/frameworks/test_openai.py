"""OpenAI's SDK over the gate: chat completions, responses, embeddings, sync and async, streamed or not."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from macaw.adapters.gate import Gate
from macaw.adapters.model_tools import GovernedTools
from macaw.adapters.openai import CHAT, RESPONSES, governed_openai
from macaw.adapters.refusals import PermissionDeniedError
from tests.frameworks.conftest import block_of
from tests.frameworks.model_scenarios import KEY, TOOLS, Scenarios, Watched
from tests.frameworks.model_stub import Stub, whole
from tests.frameworks.model_wires import Chat, Responses


def made(stub: Stub) -> dict[str, Any]:
    return {"base_url": f"{stub.url}/v1", "api_key": KEY, "max_retries": 0}


class OverOpenAI(Scenarios):
    def client(self, gate: Gate, stub: Stub, **how: Any) -> OpenAI:
        return governed_openai(gate, OpenAI(**made(stub)), app="shop", **how)

    def async_client(self, gate: Gate, stub: Stub, **how: Any) -> AsyncOpenAI:
        return governed_openai(gate, AsyncOpenAI(**made(stub)), app="shop", **how)


class TestChat(OverOpenAI):
    wire, rounds = Chat(), CHAT


class TestResponses(OverOpenAI):
    wire, rounds = Responses(), RESPONSES


def test_streams_and_helpers_of_the_sdk_keep_their_types(watched: Watched, stub: Stub) -> None:
    """The SDK's own helpers send over the same transport, so they are governed without a word about them."""
    watched.asked.clear()
    client = TestChat().client(watched, stub)
    asking = Chat().asking()
    with client:
        stub.says(*[Chat().says("hello", stream=True)] * 2, Chat().says("hello"), Chat().says("hello"))
        chunks = client.chat.completions.create(**asking, stream=True)
        assert isinstance(chunks, openai.Stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello"
        with client.chat.completions.stream(**asking) as stream:
            assert stream.get_final_completion().choices[0].message.content == "hello"
        raw = client.chat.completions.with_raw_response.create(**asking)
        assert raw.parse().choices[0].message.content == "hello"
        assert client.with_options(timeout=9).chat.completions.create(**asking).choices[0].message.content == "hello"
        stub.says(Responses().asks(("a", "refund", '{"order": 1}'), stream=True))
        with client.responses.stream(model="m-1", input="go") as events:
            kinds = [event.type for event in events]
            assert events.get_final_response().output[0].type == "function_call"
    assert "response.function_call_arguments.delta" in kinds
    assert watched.resources == ["generate"] * 5
    assert [watched.outcome(at)["tool_calls"] for at in range(5)] == [0, 0, 0, 0, 1]


def test_embeddings_and_completions_are_calls_of_their_own(watched: Watched, stub: Stub) -> None:
    watched.asked.clear()
    rows = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    completion = {"id": "t", "object": "text_completion", "created": 1, "model": "m-1"}
    choices = [{"index": 0, "text": "hello", "finish_reason": "stop", "logprobs": None}]
    stub.says(
        whole({"object": "list", "model": "m-1", "data": rows, "usage": {"prompt_tokens": 1, "total_tokens": 1}}),
        whole({**completion, "choices": choices}),
    )
    with TestChat().client(watched, stub) as client:
        found = client.embeddings.create(model="m-1", input=["a", "b"], encoding_format="float")
        assert found.data[0].embedding == [0.5]
        assert client.completions.create(model="m-1", prompt="go").choices[0].text == "hello"
    assert watched.resources == ["embed", "complete"]
    assert (watched.asked[0][1]["input"], watched.asked[1][1]["prompt"]) == ('["a","b"]', "go")
    assert watched.outcome(0)["usage"] == {"prompt_tokens": 1, "total_tokens": 1}


def test_a_client_of_httpx_is_governed_as_one_of_httpx2(watched: Watched, stub: Stub) -> None:
    """The SDK takes clients of both libraries."""
    import httpx

    stub.says(Chat().says("hello", stream=True))
    with governed_openai(watched, OpenAI(**made(stub), http_client=httpx.Client()), app="shop") as client:  # type: ignore[arg-type]
        chunks = client.chat.completions.create(**Chat().asking(), stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello"


def test_the_code_of_the_page_runs(gate: Gate, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"OPENAI_BASE_URL": f"{stub.url}/v1", "OPENAI_API_KEY": KEY}.items():
        monkeypatch.setenv(name, value)
    asks = [("a", "refund", '{"order": 7, "amount": 5}'), ("b", "refund", '{"order": 8, "amount": 500}')]
    stub.says(Chat().asks(*asks), Chat().says("Order 7 is paid."))
    here: dict[str, Any] = {"gate": gate}
    exec(block_of("test_openai.py"), here)

    assert [one.startswith("paid") for one in Chat().told(stub.requests[-1])] == [True, False]
    here["client"].close()


def test_reserved_names_are_no_tools(gate: Gate) -> None:
    def generate(order: int) -> None: ...

    with pytest.raises(RuntimeError, match="generate"):
        GovernedTools(gate, [*TOOLS, generate], app="shop")
    assert issubclass(PermissionDeniedError, PermissionError)
