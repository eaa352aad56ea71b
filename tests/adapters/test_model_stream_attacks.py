"""Attacks on the streams of a model: bytes that the program reads in another way than the report of them says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx2
import pytest
from openai import APIError, AsyncOpenAI

from macaw.adapters import model_requests
from macaw.adapters.model_passage import Passage
from macaw.adapters.model_requests import ModelEndpoint, read_request
from macaw.adapters.model_streams import Assembly, EventReader, StreamEvent, StreamFaultError
from macaw.adapters.openai import governed_openai
from macaw.adapters.tickets import HeldCall, Ticket
from tests.adapters.open_gate import ASKING, KEY, OpenGate, client_of
from tests.frameworks.model_stub import Stub, streamed
from tests.frameworks.model_wires import Chat, Messages, Responses


def passage_of(endpoint: ModelEndpoint = model_requests.CHAT) -> Passage:
    asked = read_request(endpoint, b'{"model": "m"}', about={}, contents="logged")
    return Passage(asked, "logged", 60.0, HeldCall(Ticket()), httpx2)


def test_an_answer_that_is_deep_is_an_error_of_the_connection() -> None:
    """Some are too deep for one of our readers alone."""
    for depth in range(700, 1000, 5):
        body = b'{"content": [{"type": "tool_use", "input": ' + b"[" * depth + b"]" * depth + b"}]}"
        with contextlib.suppress(httpx2.RemoteProtocolError):
            passage_of(model_requests.MESSAGES).end_body(200, body)
    assembly = Assembly("messages")
    assembly.feed({"type": "message_start", "message": {}})
    deep = json.loads("[" * 500 + "]" * 500)
    assembly.feed(block("start", index=0, content_block={"type": "tool_use", "input": deep}))
    with pytest.raises(StreamFaultError, match="deep"):
        _ = assembly.whole


# --- a stream that readers take in two ways


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def call(index: int, call_id: str | None, arguments: str) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": index, "id": call_id, "function": {"name": "pay", "arguments": arguments}}])


def block(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": f"content_block_{kind}", **more}


TOOL = {"type": "tool_use", "id": "a", "name": "find", "input": {}}
START = {"type": "message_start", "message": {"id": "m", "content": []}}
DONE_ITEM = {"type": "response.output_item.done", "output_index": 0}
PAY = {"type": "function_call", "call_id": "a", "name": "pay", "arguments": "{}"}


@pytest.mark.parametrize(
    ("form", "events"),
    [
        ("chat", [call(0, "a", '{"amount": 1'), call(0, "b", "00}")]),
        ("chat", [call(1, "a", "{}")]),
        ("messages", [START, block("start", index=0, content_block=TOOL), block("start", index=0, content_block=TOOL)]),
        ("messages", [START, block("delta", index=0, delta={"type": "input_json_delta", "partial_json": "{}"})]),
        ("messages", [START, START]),
        ("messages", [START, {"type": "message_stop"}, block("start", index=0, content_block=TOOL)]),
        ("responses", [{**DONE_ITEM, "item": PAY}, {"type": "response.completed", "response": {"output": [TOOL]}}]),
        ("responses", [{**DONE_ITEM, "item": PAY}, {**DONE_ITEM, "item": PAY}]),
        (
            "responses",
            [
                {**DONE_ITEM, "item": PAY},
                {"type": "response.completed", "response": {"output": [{**PAY, "arguments": '{"amount": 9}'}]}},
            ],
        ),
    ],
)
def test_events_that_contradict_each_other_are_a_fault(form: str, events: list[dict[str, Any]]) -> None:
    assembly = Assembly(form)
    *before, last = [
        StreamEvent(str(one.get("type", "")) if form == "messages" else "", json.dumps(one)) for one in events
    ]
    for event in before:
        assembly.take(event)
    with pytest.raises(StreamFaultError):
        assembly.take(last)


@pytest.mark.parametrize(
    ("form", "name", "data"),
    [
        ("messages", "ping", block("start", index=0, content_block=TOOL)),
        ("messages", "", block("start", index=0, content_block=TOOL)),
        ("chat", "thread.run", call(0, "a", "{}")),
    ],
)
def test_an_event_with_the_name_of_another_is_a_fault(form: str, name: str, data: dict[str, Any]) -> None:
    with pytest.raises(StreamFaultError, match="name"):
        Assembly(form).take(StreamEvent(name, json.dumps(data)))


def test_bytes_that_are_no_plain_text_are_a_fault() -> None:
    for stream in (b"\xef\xbb\xbfdata: {}\n\n", b"data: \xff\n\n", b"event: \xff\ndata: {}\n\n"):
        with pytest.raises(StreamFaultError):
            EventReader().feed(stream)


def test_what_a_server_leaves_out_at_the_end_was_said() -> None:
    """OpenAI's Agents SDK runs an item when it is done; a report without it would say that there was no call."""
    assembly = Assembly("responses")
    assembly.take(StreamEvent("", json.dumps({**DONE_ITEM, "item": PAY})))
    assembly.take(StreamEvent("", json.dumps({"type": "response.completed", "response": {"output": []}})))
    assert assembly.whole["output"] == [PAY]
    old = Assembly("chat")
    old.feed(chunk(function_call={"name": "pay", "arguments": "{"}))
    old.feed(chunk(function_call={"arguments": "}"}))
    assert old.whole["choices"][0]["message"]["function_call"] == {"name": "pay", "arguments": "{}"}


def test_an_answer_that_was_cut_off_stays_one() -> None:
    assembly = Assembly("chat")
    for end in ("length", "tool_calls"):
        assembly.feed({"choices": [{"index": 0, "delta": {}, "finish_reason": end}]})
    assembly.feed({"choices": [{"index": 0, "delta": {}, "finish_reason": ["stop"]}]})
    assert assembly.whole["choices"][0]["finish_reason"] == "length"


FINISHED = {"type": "response.completed", "response": {"output": []}}
TWO_CALLS = [call(0, "a", '{"amount": 1'), call(0, "b", "00}"), chunk(), "[DONE]"]


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (model_requests.CHAT, streamed(TWO_CALLS, named=False).body),
        (model_requests.CHAT, streamed(["[DONE]", call(0, "a", "{}")], named=False).body),
        (model_requests.CHAT, streamed([{"error": {"message": "x"}}, "[DONE]"], named=False).body),
        (model_requests.RESPONSES, streamed([{"type": "error"}, {**DONE_ITEM, "item": PAY}], named=True).body),
        (model_requests.MESSAGES, streamed([START, {"type": "message_stop"}, START], named=True).body),
        (model_requests.RESPONSES, streamed([FINISHED], named=True).body + b"event: ping\ndata: {}\n\n"),
        (model_requests.RESPONSES, streamed([FINISHED, {**DONE_ITEM, "item": PAY}], named=True).body),
    ],
)
def test_bytes_with_a_fault_do_not_pass_even_with_the_last_word_in_them(endpoint: ModelEndpoint, said: bytes) -> None:
    """The SDK stops at the last word, and would tell of a whole answer; the log would have a failure."""
    with pytest.raises(httpx2.RemoteProtocolError):
        passage_of(endpoint).is_whole_after(said)


def test_after_the_providers_word_that_it_failed_no_byte_passes() -> None:
    passage = passage_of(model_requests.RESPONSES)
    assert not passage.is_whole_after(streamed([{"type": "error"}], named=True).body)
    with pytest.raises(httpx2.RemoteProtocolError, match="error"):
        passage.is_whole_after(b"d")


def test_a_stream_with_a_fault_reaches_the_program_no_further(stub: Stub) -> None:
    gate, seen = OpenGate(), list[Any]()
    stub.says(streamed(TWO_CALLS, named=False))
    with client_of(gate, stub) as client, pytest.raises(APIError):
        seen.extend(client.chat.completions.create(**ASKING, stream=True))
    assert isinstance(gate.ends[0], Exception)

    async def main() -> None:
        plain = AsyncOpenAI(base_url=f"{stub.url}/v1", api_key=KEY, max_retries=0)
        async with governed_openai(gate, plain, app="shop") as client:  # type: ignore[arg-type]
            async for _ in await client.chat.completions.create(**ASKING, stream=True):
                pass

    stub.says(streamed(TWO_CALLS, named=False))
    with pytest.raises(APIError):
        asyncio.run(main())
    assert isinstance(gate.ends[1], Exception)


def test_the_providers_word_that_it_failed_is_told_by_the_sdk(stub: Stub) -> None:
    gate = OpenGate()
    stub.says(streamed([chunk(content="a"), {"error": {"message": "overloaded"}}], named=False))
    with client_of(gate, stub) as client, pytest.raises(APIError, match="overloaded"):
        list(client.chat.completions.create(**ASKING, stream=True))
    assert "error" in str(gate.ends[0])


def test_the_wires_of_these_tests_are_read_without_a_fault() -> None:
    for wire in (Chat(), Responses(), Messages()):
        assembly = Assembly(wire.form)
        for event in EventReader().feed(wire.asks(("a", "pay", "{}"), stream=True).body):
            assembly.take(event)
        assert assembly.is_done
