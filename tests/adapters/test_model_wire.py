"""Requests and answers of models as the log gets them: whatever a provider sends, and however it is cut."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from macaw.adapters import model_requests
from macaw.adapters.model_answers import argument_object, failure_text, read_answer, summary_of
from macaw.adapters.model_requests import ANTHROPIC, OPENAI, ModelEndpoint, endpoint_of, read_request
from macaw.adapters.model_streams import (
    EVENT_BYTES_MAX,
    PARTS_MAX,
    Assembly,
    EventReader,
    StreamEvent,
    StreamFaultError,
)
from macaw.adapters.refusals import UngovernableRequestError
from processors.proof import jcs
from tests.frameworks.model_wires import Call, Chat, Messages, Responses

WIRES = [(Chat(), model_requests.CHAT), (Responses(), model_requests.RESPONSES), (Messages(), model_requests.MESSAGES)]
FORMS = ["chat", "completion", "responses", "messages", "plain"]
BOTH = pytest.mark.parametrize(("wire", "endpoint"), WIRES)

any_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["choices", "index", "delta", "message", "tool_calls", "function", "name", "arguments", "id", "finish_reason"]
KEYS += [
    "usage",
    "content",
    "type",
    "content_block",
    "input",
    "partial_json",
    "response",
    "output",
    "citations",
    "text",
]
TYPES = ["message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "text_delta"]
TYPES += ["input_json_delta", "citations_delta", "response.completed", "function_call", "tool_use", "message", "text"]
# JSON that looks like a provider's, with the wrong kinds at every place.
hostile: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-2, 3) | st.sampled_from(TYPES) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


def parsed(body: dict[str, Any], endpoint: ModelEndpoint = model_requests.CHAT, **how: Any) -> Any:
    return read_request(endpoint, json.dumps(body).encode(), about={"host": "h"}, **({"contents": "logged"} | how))


# --- streams


def read_in_pieces(stream: bytes, cuts: list[int]) -> list[str]:
    reader, events, start = EventReader(), list[str](), 0
    for cut in [*sorted({min(cut, len(stream)) for cut in cuts}), len(stream)]:
        events += [one.data for one in reader.feed(stream[start:cut])]
        start = cut
    return events


@given(st.lists(st.text(alphabet="aé☃: \t{}", min_size=1, max_size=8), max_size=5), st.data())
def test_events_are_the_same_wherever_the_bytes_are_cut(texts: list[str], data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=len(texts), max_size=len(texts)))
    lines = [f": a comment{end}event: x{end}data: {text}{end}{end}" for text, end in zip(texts, ends, strict=True)]
    stream = "".join(lines).encode()

    assert read_in_pieces(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=8))) == texts
    assert read_in_pieces(stream, list(range(len(stream)))) == texts


def test_an_event_is_bounded_however_it_comes() -> None:
    def feed(piece: bytes) -> None:
        reader = EventReader()
        for _ in range(EVENT_BYTES_MAX // len(piece) + 2):
            reader.feed(piece)

    for piece in (b"data: " + b"x" * 2**20, (b"data: " + b"x" * 999 + b"\n") * 1000):
        with pytest.raises(StreamFaultError, match="more than"):
            feed(piece)
    feed(b"data: " + b"x" * 2**20 + b"\n\n")  # many events are not one


@BOTH
@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["refund", "find"]), st.sampled_from(["{}", '{"a": "é\\n"}'])), max_size=3),
    st.text(max_size=20),
)
def test_a_streamed_answer_is_the_whole_one(
    wire: Chat, endpoint: ModelEndpoint, named: list[tuple[str, str]], text: str
) -> None:
    calls: list[Call] = [(f"id{at}", name, arguments) for at, (name, arguments) in enumerate(named)]
    text = text.encode("utf-8", "ignore").decode()
    said = wire.asks(*calls, stream=True, text=text)
    reader, assembly = EventReader(), Assembly(endpoint.form)
    for start in range(0, len(said.body), 7):
        for event in reader.feed(said.body[start : start + 7]):
            assert not assembly.is_done
            assembly.take(event)
    streamed = read_answer(endpoint.form, assembly.whole)
    whole = read_answer(endpoint.form, json.loads(wire.asks(*calls, text=text).body))

    assert assembly.is_done
    assert streamed.is_whole
    assert (streamed.texts, streamed.ended) == (whole.texts, whole.ended)
    assert [(call.call_id, call.name) for call in streamed.calls] == [(i, name) for i, name, _ in calls]
    assert [json.loads(call.arguments) for call in streamed.calls] == [json.loads(a) for _, _, a in calls]
    assert [json.loads(call.arguments) for call in whole.calls] == [json.loads(a) for _, _, a in calls]


@BOTH
def test_a_stream_that_breaks_off_is_never_whole(wire: Chat, endpoint: ModelEndpoint) -> None:
    body = wire.asks(("a", "refund", '{"order": 1}'), stream=True).body
    events = body.decode().split("\n\n")
    for count in range(len(events) - 2):
        assembly = Assembly(endpoint.form)
        for event in EventReader().feed("\n\n".join([*events[:count], ""]).encode()):
            assembly.take(event)
        at_end = assembly.at_end()
        assert at_end == (wire.form == "chat" and '"tool_calls"}' in "".join(events[:count]))
        assert not assembly.is_done


@settings(max_examples=60)
@given(st.sampled_from(FORMS), st.lists(hostile | any_json, max_size=6))
def test_any_stream_is_read_or_refused(form: str, events: list[Any]) -> None:
    assembly = Assembly(form)
    try:
        for event in events:
            assembly.take(StreamEvent(str(event.get("type") if isinstance(event, dict) else ""), json.dumps(event)))
    except StreamFaultError:
        pass
    summary_of(read_answer(form, assembly.whole), frozenset(), hashlib.sha256(), "logged")


@settings(max_examples=60)
@given(st.sampled_from(FORMS), st.dictionaries(st.sampled_from(KEYS), hostile, max_size=5))
def test_any_answer_is_summed_up_and_the_log_takes_it(form: str, whole: dict[str, Any]) -> None:
    told = summary_of(read_answer(form, whole), frozenset({"a"}), hashlib.sha256(), "digest")
    assert "text" not in told
    jcs.canonical(told)


def test_parts_are_counted_by_the_stream_and_bounded() -> None:
    for index in (1, -1, PARTS_MAX, "0", 0.0, True):
        with pytest.raises(StreamFaultError, match="counts"):
            Assembly("chat").feed({"choices": [{"index": index, "delta": {}}]})


def test_texts_of_many_pieces_take_no_time_with_their_square() -> None:
    """A million of them: the copy of a text for each piece would take hours."""
    assembly = Assembly("chat")
    piece = {"choices": [{"index": 0, "delta": {"content": "0123456789"}}]}
    for _ in range(100_000):
        assembly.feed(piece)
    assert len(read_answer("chat", assembly.whole).texts[0]) == 1_000_000


# --- requests


def test_each_request_of_a_model_has_its_operation_and_others_have_none() -> None:
    def operation(path: str, endpoints: Any, method: str = "POST") -> str | None:
        found = endpoint_of(method, path, endpoints)
        return None if found is None else f"{found.form} {found.operation}"

    assert operation("/v1/chat/completions", OPENAI) == "chat generate"
    assert operation("/openai/deployments/x/chat/completions", OPENAI) == "chat generate"
    assert operation("/v1/completions", OPENAI) == "completion complete"
    assert operation("/v1/responses", OPENAI) == "responses generate"
    assert operation("/v1/messages", ANTHROPIC) == "messages generate"
    assert operation("/v1/messages/count_tokens", ANTHROPIC) == "plain count_tokens"
    for path in ("/v1/responses/r-1/cancel", "/v1/threads/t/messages", "/v1/files", "/v1/responses/compact", "/"):
        assert operation(path, OPENAI) is None
    assert operation("/v1/messages/batches", ANTHROPIC) is None
    assert operation("/v1/chat/completions", OPENAI, "GET") is None


def test_every_member_of_a_request_is_told_by_its_name_at_least() -> None:
    body = {"model": "m", "messages": [], "logit_bias": {"1": 2}, "user": "u", "max_tokens": 5, "n": 2}
    asked = parsed({**body, "max_completion_tokens": 7, "tools": [{"type": "custom", "custom": {"name": "c"}}]})

    told = asked.parameters
    assert (told["options"], told["max_tokens"], told["choices"]) == (["logit_bias", "user"], 7, 2)
    assert (told["tools"], told["messages"], told["contents_bytes"]) == (["c"], "[]", 2)


@pytest.mark.parametrize(
    ("endpoint", "more", "name"),
    [
        (model_requests.CHAT, {"web_search_options": {}}, "web_search_options"),
        (model_requests.CHAT, {"tools": [{"type": "Function", "name": "x"}]}, "Function"),
        (model_requests.RESPONSES, {"tools": [{"type": "mcp", "server_url": "https://x"}]}, "mcp"),
        (model_requests.RESPONSES, {"prompt": {"id": "p"}}, "prompt"),
        (model_requests.RESPONSES, {"background": True}, "background"),
        (model_requests.MESSAGES, {"tools": [{"type": "computer_20250124", "name": "computer"}]}, "computer_20250124"),
        (model_requests.MESSAGES, {"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
    ],
)
def test_what_the_provider_would_run_is_named_and_refused(
    endpoint: ModelEndpoint, more: dict[str, Any], name: str
) -> None:
    body = {"model": "m", "messages": [], "input": "go", **more}
    with pytest.raises(UngovernableRequestError, match=name):
        parsed(body, endpoint)
    assert parsed(body, endpoint, provider_tools=frozenset({name})).parameters["provider_tools"] == [name]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model": "m", "model": "n"}',
        b'{"model": 1}',
        b"{}",
        b'{"model": "m", "tools": {}}',
        b'{"model": "m", "tools": [1]}',
        b'{"model": "m", "tools": [{"type": "function"}]}',
        b'{"model": "m", "max_tokens": "1000000"}',
        b'{"model": "m", "n": true}',
        b'{"model": "m", "seed": 9007199254740993}',
        b'{"model": "m", "messages": "\\ud800"}',
        b'{"model": "m", "messages": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_a_request_that_the_log_would_not_take_is_refused(body: bytes) -> None:
    with pytest.raises(UngovernableRequestError):
        read_request(model_requests.CHAT, body, about={"host": "h"}, contents="logged")


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["model", "messages", "tools", "n", "stream", "temperature"]), hostile))
def test_any_request_is_told_or_refused(body: dict[str, Any]) -> None:
    try:
        asked = parsed({"model": "m", **body})
    except UngovernableRequestError:
        return
    jcs.canonical(asked.parameters)
    assert asked.tools == frozenset(asked.parameters["tools"])


# --- small parts


def test_an_error_of_a_provider_is_told_by_its_code_alone() -> None:
    def told(error: Any) -> str:
        return failure_text(400, json.dumps({"error": error}).encode())

    assert told({"type": "rate_limit.error", "code": "too_many", "message": "key sk-123"}) == (
        "HTTP 400 rate_limit.error too_many"
    )
    assert told({"type": "sk-123 is wrong", "code": 7}) == "HTTP 400"
    assert told("text") == "HTTP 400"
    assert failure_text(502, b"<html>") == "HTTP 502"


def test_arguments_are_an_object_or_none() -> None:
    values = [{"a": 1}, '{"a": 1}', "{", "[]", None, [1]]
    assert [argument_object(value) for value in values] == [{"a": 1}, {"a": 1}, {}, {}, {}, {}]
