"""Programs for the original that offer tools: instances find and call each other, streams, samples, persons' tools."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from macaw_client import MACAWClient, PermissionDenied, RemoteIdentityProvider, ToolFailedError, ToolNotFoundError
from tests.macaw_client.company import Company
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


class Calculator:
    """The server of the tests, with handlers of every kind."""

    def __init__(self) -> None:
        self.contexts: list[dict[str, Any]] = []
        self.client = MACAWClient(
            app_name="calc",
            agent_type="service",
            tools={
                "tool:calc/add": {"handler": self.add, "description": "adds", "prompts": ["note"]},
                "calc-sum": {"handler": self.total, "metadata": {"schema": {"type": "object"}}},
                "resource:calc://history": {"handler": lambda _: [1, 2]},
                "tool:calc/count": {"handler": self.count},
                "tool:calc/ask": {"handler": self.ask},
                "tool:calc/bank": {"handler": self.bank},
                "tool:calc/bad": {"handler": self.bad},
            },
        )

    def add(self, params: dict[str, Any]) -> dict[str, Any]:
        self.contexts.append(self.client.current_request_context)
        params["changed"] = object()
        return {"sum": params["a"] + params["b"]}

    def total(self, params: dict[str, Any]) -> Any:
        async def later() -> int:
            await asyncio.sleep(0)
            return sum(params["values"])

        return asyncio.run(later())

    def count(self, params: dict[str, Any]) -> Iterator[dict[str, int]]:
        for n in range(params["to"]):
            yield {"n": n}

    def ask(self, params: dict[str, Any]) -> dict[str, Any]:
        source = self.client.current_request_context["source_agent"]
        said = self.client.invoke_tool("_mcp_sample", {"text": params["text"]}, target_agent=source)
        return {"said": said["result"]}

    def bank(self, _: dict[str, Any]) -> Any:
        return self.client.invoke_tool("tool:bank/count", {})

    def bad(self, params: dict[str, Any]) -> Any:
        return float("inf") if params.get("inf") else 1 / 0


@pytest.fixture
def calc(inside: Company) -> Iterator[Calculator]:
    made = Calculator()
    made.client.register()
    yield made
    made.client.unregister()


@pytest.fixture
def guest(inside: Company) -> Iterator[MACAWClient]:
    client = MACAWClient(app_name="guest")
    client.register()
    yield client
    client.unregister()


@pytest.fixture
def alice(inside: Company) -> Iterator[MACAWClient]:
    token, _ = RemoteIdentityProvider().login("alice", inside.password("alice"))
    client = MACAWClient(app_name="trading-app", user_name="researcher", iam_token=token, agent_type="user")
    client.register()
    yield client
    client.unregister()


def test_a_tool_is_called_by_its_name_and_by_its_agent(calc: Calculator, guest: MACAWClient) -> None:
    given = {"a": 2, "b": 3, "note": "please"}

    assert guest.invoke_tool("tool:calc/add", given) == {"sum": 5}
    assert guest.invoke_tool("tool:calc/add", given, target_agent=calc.client.agent_id) == {"sum": 5}
    assert guest.invoke_tool("calc-sum", {"values": [1, 2]}) == {"result": 3}
    assert guest.invoke_tool("resource:calc://history", {}) == {"result": [1, 2]}
    assert calc.contexts[0]["source_agent"] == guest.agent_id
    assert calc.client.current_request_context == {}
    assert given == {"a": 2, "b": 3, "note": "please"}


def test_agents_and_their_tools_are_found_newest_first(calc: Calculator, guest: MACAWClient) -> None:
    newer = Calculator().client
    newer.register()
    rows = guest.list_agents(agent_type="app")
    servers = [row["agent_id"] for row in rows if "/app:calc:" in row["agent_id"] and "/tool." not in row["agent_id"]]

    assert servers == [newer.agent_id, calc.client.agent_id]
    tools = [row["agent_id"] for row in rows if row["agent_id"].startswith(f"{newer.agent_id}/tool.")]
    assert f"{newer.agent_id}/tool.tool:calc/add" in tools
    assert f"{newer.agent_id}/tool.calc-sum" in tools
    assert f"{newer.agent_id}/tool.resource:calc://history" in tools
    told = guest.get_agent_info(newer.agent_id)
    assert told is not None
    assert told["tools"]["tool:calc/add"]["description"] == "adds"
    told = guest.get_agent_info(f"{newer.agent_id}/tool.tool:calc/add")
    assert told is not None
    assert told["metadata"]["description"] == "adds"
    newer.unregister()
    assert guest.get_agent_info(servers[0]) is None
    with pytest.raises(ToolNotFoundError):
        guest.invoke_tool("tool:calc/add", {"a": 1, "b": 1}, target_agent=servers[0])


def test_a_stream_is_denied_at_once_and_comes_in_parts(calc: Calculator, guest: MACAWClient) -> None:
    """The tool yields the second part only when the first one was taken."""
    taken = threading.Event()

    def slowly(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"n": 0, "source": calc.client.current_request_context["source_agent"]}
        yield {"waited": taken.wait(20)}

    calc.client.register_tool("tool:calc/slowly", slowly)
    parts = guest.invoke_tool("tool:calc/slowly", {}, stream=True)
    assert next(parts) == {"n": 0, "source": guest.agent_id}
    taken.set()
    assert list(parts) == [{"waited": True}]
    assert list(guest.invoke_tool("tool:calc/count", {"to": 0}, stream=True)) == []
    with pytest.raises(PermissionDenied):
        guest.invoke_tool("tool:bank/count", {}, stream=True)


def test_a_stream_that_is_left_behind_stops_its_tool(calc: Calculator, guest: MACAWClient) -> None:
    """Nothing tells its consumer's end but the collector."""
    stopped = threading.Event()

    def endless(_: dict[str, Any]) -> Iterator[dict[str, int]]:
        try:
            for n in range(10_000):
                yield {"n": n}
                time.sleep(0.05)
        finally:
            stopped.set()

    calc.client.register_tool("tool:calc/endless", endless)
    parts = guest.invoke_tool("tool:calc/endless", {}, stream=True)
    assert [next(parts), next(parts)] == [{"n": 0}, {"n": 1}]
    del parts
    assert stopped.wait(PATIENCE_SECONDS)


def test_a_stream_that_breaks_off_is_a_failure_of_the_tool(calc: Calculator, guest: MACAWClient) -> None:
    def breaking(_: dict[str, Any]) -> Iterator[int]:
        yield 1
        raise RuntimeError("the model went away")

    calc.client.register_tool("tool:calc/breaking", breaking)
    parts = guest.invoke_tool("tool:calc/breaking", {}, stream=True)
    assert next(parts) == 1
    with pytest.raises(ToolFailedError, match="the model went away"):
        next(parts)


def test_pictures_and_conversations_go_beside_their_call(calc: Calculator, guest: MACAWClient) -> None:
    """Larger than an event of the log may be, in both directions."""
    calc.client.register_tool("tool:calc/see", lambda given: {"echo": given["messages"][0]["content"], "n": 1})
    picture = "x" * 1_500_000
    result = guest.invoke_tool("tool:calc/see", {"messages": [{"role": "user", "content": picture}]})

    assert result == {"echo": picture, "n": 1}


def test_a_tool_that_is_registered_later_can_be_called_when_that_returns(calc: Calculator, guest: MACAWClient) -> None:
    """And registering it again replaces its handler."""
    with pytest.raises(ToolNotFoundError):
        guest.invoke_tool("tool:calc/later", {}, target_agent=calc.client.agent_id)
    for answer in ("one", "two"):
        calc.client.register_tool("tool:calc/later", lambda _, answer=answer: answer)
        assert guest.invoke_tool("tool:calc/later", {}, target_agent=calc.client.agent_id) == {"result": answer}
    assert calc.client.tools["tool:calc/later"]["metadata"] == {}


def test_a_persons_client_is_asked_back_by_the_server_that_it_calls(calc: Calculator, alice: MACAWClient) -> None:
    """As a sampling: the id in the context leads to that very client, whatever its label says."""
    alice.register_tool("_mcp_sample", handler=lambda params: f"sampled {params['text']}", metadata=None)

    assert alice.invoke_tool("tool:calc/ask", {"text": "x"}) == {"said": "sampled x"}
    assert alice.agent_id.startswith("researcher@trading-app:")
    assert any(row["agent_id"].startswith("alice@") for row in calc.client.list_agents("user"))


def test_a_tool_called_from_a_handler_is_held_to_the_callers_policies(calc: Calculator, guest: MACAWClient) -> None:
    """The service may call the bank, the guest may not, and so not through the service either."""
    assert "result" in calc.client.invoke_tool("tool:bank/count", {})
    with pytest.raises(ToolFailedError):
        guest.invoke_tool("tool:calc/bank", {})


def test_persons_who_call_at_once_are_each_held_to_their_own_policies(calc: Calculator, inside: Company) -> None:
    clients = []
    for name in ("alice", "bob"):
        token = RemoteIdentityProvider().login(name, inside.password(name))[0]
        clients.append(MACAWClient(app_name="trading-app", user_name=name, iam_token=token, agent_type="user"))
    for client in clients:
        client.register()
    target = calc.client.agent_id
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(one.invoke_tool, "tool:calc/add", {"a": n, "b": 1}, target) for n, one in enumerate(clients)
        ]
        found = [one.exception(PATIENCE_SECONDS) or one.result() for one in asked]
    assert found[0] == {"sum": 1}
    assert isinstance(found[1], PermissionDenied)  # bob has no role that may
    assert [one["principal"] for one in calc.contexts] == ["user:alice@fintech.example"]
    for client in clients:
        client.unregister()


@pytest.mark.parametrize("parameters", [{}, {"inf": True}])
def test_a_handler_that_fails_fails_its_call_alone(
    calc: Calculator, guest: MACAWClient, parameters: dict[str, Any]
) -> None:
    with pytest.raises(ToolFailedError) as told:
        guest.invoke_tool("tool:calc/bad", parameters)
    assert "denied" not in str(told.value)
    assert "policy" not in str(told.value)
    assert guest.invoke_tool("tool:calc/add", {"a": 1, "b": 1}) == {"sum": 2}


def test_a_name_of_another_program_is_not_offered(calc: Calculator, inside: Company) -> None:
    thief = MACAWClient(app_name="guest", tools={"tool:calc/add": lambda _: "stolen"})
    with pytest.raises(PermissionDenied):
        thief.register()
    assert not thief.registered


def test_a_person_takes_no_name_from_a_program(calc: Calculator, alice: MACAWClient, guest: MACAWClient) -> None:
    """A person's tools are reached by the id of their client alone."""
    alice.register_tool("tool:calc/add", lambda _: "hers")

    assert guest.invoke_tool("tool:calc/add", {"a": 1, "b": 2}) == {"sum": 3}


def test_another_process_finds_the_server_and_ends_at_once(calc: Calculator, inside: Company) -> None:
    ended = inside.run(
        """
import time, sys
from macaw_client import MACAWClient
client = MACAWClient(app_name="guest", tools={"tool:guest/idle": lambda _: 1})
client.register()
[server, *_] = [a["agent_id"] for a in client.list_agents("app")
                if "/app:calc:" in a["agent_id"] and "/tool." not in a["agent_id"]]
print(client.invoke_tool("tool:calc/add", {"a": 4, "b": 5}, target_agent=server))
print(time.time(), file=sys.stderr, flush=True)
"""
    )
    now = time.time()

    assert ended.stdout == "{'sum': 9}\n", ended.stderr
    assert now - float(ended.stderr.split()[0]) < 1.0


def test_two_programs_offer_tools_of_one_bare_name_each_under_its_own(calc: Calculator, guest: MACAWClient) -> None:
    """The first one has the name; the other one's tools stand below its own, and its agent is asked all the same."""
    other = MACAWClient(
        app_name="second",
        tools={"calc-sum": lambda _: {"from": "second"}, "resource:calc://history": lambda _: "its own"},
    )
    other.register()
    assert guest.invoke_tool("calc-sum", {"values": [1]}, target_agent=calc.client.agent_id) == {"result": 1}
    assert guest.invoke_tool("calc-sum", {}, target_agent=other.agent_id) == {"from": "second"}
    assert guest.invoke_tool("resource:calc://history", {}, target_agent=other.agent_id) == {"result": "its own"}
    assert guest.invoke_tool("calc-sum", {"values": [2]}) == {"result": 2}  # without an agent the owner's
    other.unregister()


def test_programs_with_callbacks_of_one_name_are_each_asked_back(calc: Calculator, inside: Company) -> None:
    """A sampling prompt reaches the client that asked, and no other one."""
    clients = [MACAWClient(app_name=name) for name in ("guest", "second")]
    for client in clients:
        client.register()
        client.register_tool("_mcp_sample", lambda params, client=client: f"{client.app_name} heard {params['text']}")
    for client in clients:
        assert client.invoke_tool("tool:calc/ask", {"text": "x"}) == {"said": f"{client.app_name} heard x"}
        client.unregister()
