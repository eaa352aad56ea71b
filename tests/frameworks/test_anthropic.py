"""Anthropic's SDK over the gate: messages, streams and parallel tool use, sync and async."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from macaw.adapters.anthropic import MESSAGES, governed_anthropic
from macaw.adapters.gate import Gate
from tests.frameworks.conftest import block_of
from tests.frameworks.model_scenarios import KEY, Scenarios, Watched
from tests.frameworks.model_stub import Stub, whole
from tests.frameworks.model_wires import Messages


def made(stub: Stub) -> dict[str, Any]:
    return {"base_url": stub.url, "api_key": KEY, "max_retries": 0}


class TestMessages(Scenarios):
    wire, rounds = Messages(), MESSAGES

    def client(self, gate: Gate, stub: Stub, **how: Any) -> Anthropic:
        return governed_anthropic(gate, Anthropic(**made(stub)), app="shop", **how)

    def async_client(self, gate: Gate, stub: Stub, **how: Any) -> AsyncAnthropic:
        return governed_anthropic(gate, AsyncAnthropic(**made(stub)), app="shop", **how)


def test_streams_and_helpers_of_the_sdk_keep_their_types(watched: Watched, stub: Stub) -> None:
    watched.asked.clear()
    asking = Messages().asking()
    with TestMessages().client(watched, stub) as client:
        calls = [("a", "refund", '{"order": 1}'), ("b", "refund", '{"order": 2}')]
        stub.says(Messages().says("hello", stream=True), Messages().asks(*calls, stream=True))
        events = client.messages.create(**asking, stream=True)
        assert isinstance(events, anthropic.Stream)
        assert [event.type for event in events][-1] == "message_stop"
        with client.messages.stream(**asking) as stream:
            names = [block.name for block in stream.get_final_message().content if block.type == "tool_use"]
        assert names == ["refund", "refund"]
        stub.says(whole({"input_tokens": 3}))
        assert client.messages.count_tokens(model="m-1", messages=asking["messages"]).input_tokens == 3
    assert watched.resources == ["generate", "generate", "count_tokens"]
    assert [watched.outcome(at)["tool_calls"] for at in range(3)] == [0, 2, 0]


def test_the_code_of_the_page_runs(gate: Gate, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ANTHROPIC_BASE_URL": stub.url, "ANTHROPIC_API_KEY": KEY}.items():
        monkeypatch.setenv(name, value)
    asks = [("a", "refund", '{"order": 7, "amount": 5}'), ("b", "refund", '{"order": 8, "amount": 500}')]
    stub.says(Messages().asks(*asks), Messages().says("Order 7 is paid."))
    here: dict[str, Any] = {"gate": gate}
    exec(block_of("test_anthropic.py"), here)

    assert [one.startswith("paid") for one in Messages().told(stub.requests[-1])] == [True, False]
    here["client"].close()
