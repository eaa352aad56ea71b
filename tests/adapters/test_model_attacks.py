"""Attacks on the calls of a model: a request, a stream or a tool that is read in another way than it was decided."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest
from openai import APIConnectionError, AsyncOpenAI, OpenAI

from macaw.adapters import model_requests
from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.model_answers import ToolCall
from macaw.adapters.model_http import about
from macaw.adapters.model_requests import ModelEndpoint, read_request
from macaw.adapters.model_tools import GovernedTools
from macaw.adapters.model_transport import LOOP_BYTES_MAX, ModelRules
from macaw.adapters.openai import CHAT, governed_openai
from macaw.adapters.refusals import (
    Begun,
    PermissionDeniedError,
    ResultUnconfirmedError,
    UngovernableRequestError,
    sentence_for_model,
)
from tests.adapters.open_gate import ASKING, KEY, OpenGate, client_of
from tests.frameworks.model_stub import Said, Stub, model_server
from tests.frameworks.model_wires import Chat

# --- a request that goes to another place, or is another one, than policies see


def request(url: str = "https://api.test/v1/chat/completions", **how: Any) -> Any:
    headers = {"Content-Type": "application/json", **how.pop("headers", {})}
    return how.pop("library", httpx2).Request("POST", url, headers=headers, content=b"{}", **how)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/%2e%2e/chat/completions",
        "/v1/batches%2F..%2Fchat/completions",
        "/v1/files%3F/chat/completions",
        "/v1/files%23/chat/completions",
        "/v1//chat/completions",
        "/v1/files;/chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/\u212a/chat/completions",
        "/v1\\chat/completions",
    ],
)
def test_an_address_that_servers_read_in_two_ways_is_refused(path: str) -> None:
    for library in (httpx, httpx2):
        with pytest.raises(UngovernableRequestError, match="path"):
            about(request(f"https://api.test{path}", library=library))


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Host": "other.test"}, "Host"),
        ({"X-HTTP-Method-Override": "DELETE"}, "method-override"),
        ({"X-Original-URL": "/v1/files"}, "original-url"),
        ({"X-Forwarded-Host": "other.test"}, "forwarded-host"),
        ({"Content-Encoding": "gzip"}, "encoded"),
        ({"Content-Type": "application/json; charset=utf-16"}, "UTF-8"),
        ({"Content-Type": "application/json; charset=utf-7"}, "UTF-8"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "UTF-8"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "UTF-8"),
        ({"anthropic-beta": "a b"}, "plain word"),
    ],
)
def test_a_header_that_changes_the_request_is_refused(headers: dict[str, str], name: str) -> None:
    with pytest.raises(UngovernableRequestError, match=name):
        about(request(headers=headers))


@pytest.mark.parametrize("extension", ["target", "sni_hostname"])
def test_an_extension_that_moves_the_request_is_refused(extension: str) -> None:
    with pytest.raises(UngovernableRequestError, match=extension):
        about(request(extensions={extension: b"/v1/files"}))


def test_policies_see_where_a_request_goes_and_no_key_of_the_address() -> None:
    url = "https://user:secret@api.test/openai/deployments/gpt-5/chat/completions?api-version=secret2&key=secret3"
    told = about(request(url, headers={"anthropic-beta": "b-2, a-1", "Authorization": "Bearer secret4"}))
    path = "/openai/deployments/gpt-5/chat/completions"
    assert told == {"host": "api.test", "path": path, "query": ["api-version", "key"], "betas": ["a-1", "b-2"]}


def test_the_transport_refuses_before_it_asks(stub: Stub) -> None:
    gate = OpenGate()
    stub.says(Chat().says("done"))
    with client_of(gate, stub, ungoverned=["GET /v1/models"]) as client:
        create = client.chat.completions.create
        for headers in ({"Content-Encoding": "gzip"}, {"Host": "other.test"}, {"X-HTTP-Method": "GET"}):
            with pytest.raises(UngovernableRequestError):
                create(**ASKING, extra_headers=headers)
        with pytest.raises(UngovernableRequestError):
            client.models.list(extra_headers={"X-HTTP-Method-Override": "POST"})
        for body in (b"\xef\xbb\xbf{}", json.dumps(ASKING).encode("utf-16"), gzip.compress(b"{}")):
            with pytest.raises(UngovernableRequestError):
                client.post("/chat/completions", cast_to=object, content=body)
        assert (gate.asked, stub.requests) == ([], [])
        create(**ASKING, extra_query={"api-version": "1"})
    assert gate.asked[0][1]["query"] == ["api-version"]


@pytest.mark.parametrize(
    "more",
    [
        {"Model": "other"},
        {"MESSAGES": []},
        {"tool\u017f": [{"type": "web_search"}]},  # Go folds the long s
        {"Web_Search_Options": {}},
        {"input": [{"type": "additional_tools", "Tools": [{"type": "shell"}]}]},
        {"stream": 1},
        {"stream": "true"},
        {"tools": [{"type": "function", "name": "a", "function": {"name": "b"}}]},
        {"tools": [{"type": "function", "function": {"name": "a", "Name": "b"}}]},
        {"tools": [{"Type": "web_search", "name": "a"}]},
        {"tools": [{"type": ["web_search"], "name": "a"}]},
        {"tools": [{"type": {}, "name": "a"}]},
        {"models": ["other"]},
        {"fallbacks": [{"model": "other"}]},
        {"plugins": [{"id": "web"}]},
        {"data_sources": [{}]},
        {"messages": [{"role": "user", "content": [{"type": "x", "tools": [{"type": "mcp"}]}]}]},
        {"input": [{"type": "additional_tools", "tools": [{"type": "shell"}]}]},
        {"input": [{"type": "tool_search_output", "tools": [{"type": "mcp", "server_url": "https://x"}]}]},
    ],
)
@pytest.mark.parametrize("endpoint", [model_requests.CHAT, model_requests.RESPONSES, model_requests.MESSAGES])
def test_a_body_that_another_reader_takes_for_another_request_is_refused(
    endpoint: ModelEndpoint, more: dict[str, Any]
) -> None:
    body = json.dumps({"model": "m", **more}).encode()
    with pytest.raises(UngovernableRequestError):
        read_request(endpoint, body, about={}, contents="logged")


def test_functions_that_the_history_brings_are_offered_and_items_that_are_kept_are_told() -> None:
    def parameters(*items: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"model": "m", "input": items}).encode()
        return read_request(model_requests.RESPONSES, body, about={}, contents="logged").parameters

    wire = {"type": "additional_tools", "tools": [{"type": "function", "name": "wire"}]}
    listed = {"type": "mcp_list_tools", "tools": [{"name": "what a server said"}]}
    assert parameters(wire, listed)["tools"] == ["wire"]
    for item in ({"type": "item_reference", "id": "i"}, {"id": "i"}):
        assert parameters(item)["continues"] is True
    assert "continues" not in parameters({"role": "user", "content": "go", "id": "i"})


# --- an answer that is sent on, or compressed


def test_a_request_is_not_sent_on_to_another_server(stub: Stub) -> None:
    """A key in a header of its own, as Anthropic's, would go along."""
    gate = OpenGate()
    with model_server() as other, client_of(gate, stub) as client:
        other.says(Chat().says("done"))
        stub.says(Said(b"", status=307, headers={"Location": f"{other.url}/v1/chat/completions"}))
        with pytest.raises(UngovernableRequestError, match="another server"):
            client.chat.completions.create(**ASKING)
        assert other.paths == []
    assert isinstance(gate.ends[0], UngovernableRequestError)


def test_a_compressed_answer_is_not_read(stub: Stub) -> None:
    """Ten bytes can be ten thousand, and ten millions where they are compressed twice."""
    body = gzip.compress(gzip.compress(b" " * 10_000_000))
    gate = OpenGate()
    stub.says(Said(body, headers={"Content-Encoding": "gzip, gzip"}), Chat().says("done"))
    with client_of(gate, stub) as client:
        with pytest.raises(UngovernableRequestError, match="compresses"):
            client.chat.completions.create(**ASKING)
        client.chat.completions.create(**ASKING)
    assert stub.headers[-1]["Accept-Encoding"] == "identity"


# --- a key where it should not be


@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_of_the_connection_brings_no_key_to_the_log(stub: Stub, is_async: bool) -> None:
    """A key that was read from a file with its line end is quoted by the HTTP library."""
    gate = OpenGate()
    how: dict[str, Any] = {"base_url": f"{stub.url}/v1", "api_key": f"{KEY}\n", "max_retries": 0}

    async def main() -> None:
        async with governed_openai(gate, AsyncOpenAI(**how), app="shop") as client:  # type: ignore[arg-type]
            await client.chat.completions.create(**ASKING)

    def ask() -> None:
        with governed_openai(gate, OpenAI(**how), app="shop") as client:  # type: ignore[arg-type]
            client.chat.completions.create(**ASKING)

    with pytest.raises(APIConnectionError) as raised:
        asyncio.run(main()) if is_async else ask()
    assert KEY in repr(raised.value.__cause__)
    (end,) = gate.ends
    assert str(end) == "LocalProtocolError"
    assert KEY not in f"{end!r}{end.__cause__!r}"


def test_what_the_programs_own_http_client_adds_is_sent_and_seen(stub: Stub) -> None:
    gate = OpenGate()
    stub.says(Chat().says("done"))
    own = httpx.Client(headers={"X-Gateway": "of-the-test"}, params={"tenant": "a"})
    plain = OpenAI(base_url=f"{stub.url}/v1", api_key=KEY, max_retries=0, http_client=own)
    with governed_openai(gate, plain, app="shop") as client:  # type: ignore[arg-type]
        client.chat.completions.create(**ASKING)
    assert (stub.headers[-1]["X-Gateway"], gate.asked[0][1]["query"]) == ("of-the-test", ["tenant"])


def test_a_large_question_is_read_outside_of_the_event_loop(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """To parse 64 MiB takes seconds, in which nothing else of the program would go on."""
    read, threads = ModelRules.read, list[int]()

    def note(rules: ModelRules, asked: Any) -> Any:
        threads.append(threading.get_ident())
        return read(rules, asked)

    monkeypatch.setattr(ModelRules, "read", note)

    async def main() -> None:
        plain = AsyncOpenAI(base_url=f"{stub.url}/v1", api_key=KEY, max_retries=0)
        async with governed_openai(OpenGate(), plain, app="shop") as client:  # type: ignore[arg-type]
            for text in ("go", "go" * LOOP_BYTES_MAX):
                said: Any = [{"role": "user", "content": text}]
                await client.chat.completions.create(model="m", messages=said)

    stub.says(Chat().says("done"), Chat().says("done"))
    asyncio.run(main())
    here = threading.get_ident()
    assert [one == here for one in threads] == [True, False]


# --- a tool that runs with something else


def test_a_default_that_the_function_changes_is_not_the_next_calls() -> None:
    def add(item: str, items: list[str] = []) -> list[str]:  # noqa: B006 (the attack)
        items.append(item)
        return items

    gate = OpenGate()
    tools = GovernedTools(gate, [add], app="shop")  # type: ignore[arg-type]
    told = [tools.answer([ToolCall(f"id{n}", "add", f'{{"item": "{n}"}}')])[0].text for n in range(2)]
    assert told == ['["0"]', '["1"]']
    assert [given["items"] for _, given in gate.asked] == [[], []]


def test_an_answer_with_several_choices_runs_nothing() -> None:
    def pay(amount: int) -> str:
        raise AssertionError("it must not run")

    gate = OpenGate()
    tools = GovernedTools(gate, [pay], app="shop")  # type: ignore[arg-type]
    whole = json.loads(Chat().asks(("a", "pay", '{"amount": 1}')).body)
    whole["choices"] *= 2
    with pytest.raises(UngovernableRequestError, match="choices"):
        CHAT.answers(tools, whole)
    with pytest.raises(UngovernableRequestError, match="choices"):
        asyncio.run(CHAT.answers_async(tools, whole))
    assert gate.asked == []


@pytest.mark.parametrize("name", ["\uff50ay", "p\u0430y", "Pay", "pay ", "pay\x00"])
def test_a_name_that_looks_like_a_tools_is_none(name: str) -> None:
    def pay(amount: int) -> int:
        return amount

    gate = OpenGate()
    (told,) = GovernedTools(gate, [pay], app="shop").answer([ToolCall("a", name, '{"amount": 1}')])  # type: ignore[arg-type]
    assert (told.is_error, gate.asked) == (True, [])


def test_a_denial_within_a_tool_that_has_begun_says_neither_its_text_nor_that_nothing_ran() -> None:
    inner = PermissionDeniedError("denied by policy p: amount is 500", reason="PARAM_OUT_OF_RANGE")

    def tool() -> None:
        raise inner

    begun = Begun(tool)
    assert "was not run" in sentence_for_model(inner, has_begun=begun.has_begun)
    with pytest.raises(PermissionDeniedError):
        begun()
    told = sentence_for_model(inner, has_begun=begun.has_begun)
    assert told == "The tool failed: PermissionDeniedError (PARAM_OUT_OF_RANGE)"
    assert "taken effect" in sentence_for_model(ResultUnconfirmedError("x"), has_begun=True)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_patience_that_no_clock_takes_is_refused(seconds: float) -> None:
    for patience in (GatePatience(seconds), GatePatience(1.0, seconds)):
        gate = Gate(SimpleNamespace(client=None))  # type: ignore[arg-type]
        with pytest.raises(PermissionDeniedError, match=r"not run: .*seconds"):
            gate.run("tool:shop/pay", {}, lambda: pytest.fail("it must not run"), patience=patience)
    GatePatience().check()
