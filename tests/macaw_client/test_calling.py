"""Programs for the original on a real broker: calls and their ends, the vault, events, approvals, discovery."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from macaw_client import MACAWClient, PermissionDenied, RemoteIdentityProvider, ToolFailedError, ToolNotFoundError
from macaw_client.attestations import NotListedError
from macaw_client.names import UnknownAgentError
from tests.macaw_client.company import Company
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def desk(inside: Company) -> Iterator[MACAWClient]:
    client = MACAWClient(app_name="desk")
    assert client.register() is True
    yield client
    client.unregister()


def person(firm: Company, name: str, app: str = "trading-app", **more: Any) -> MACAWClient:
    token, _ = RemoteIdentityProvider().login(name, firm.password(name))
    client = MACAWClient(app_name=app, user_name=name, iam_token=token, agent_type="user", **more)
    client.register()
    return client


def test_a_program_is_registered_on_its_first_use_and_unregistered_twice(inside: Company) -> None:
    """Nobody registered it by hand, and the administrator's key was not used."""
    client = MACAWClient(app_name="first-use")
    assert client.register()
    assert client.register()
    agent_id = client.agent_id

    assert client.registered
    assert "/app:first-use:" in agent_id
    assert agent_id.startswith("local:")
    assert len(client.public_key) == 32
    registry = client._opened().client.connection.registry
    registry.refresh()
    row = registry.tables.principals.get(b"first-use")
    assert row is not None
    assert row.role == "service"
    client.unregister()
    client.unregister()
    assert not client.registered
    again = MACAWClient(app_name="first-use")
    again.register()
    assert again.agent_id != agent_id
    again.unregister()


def test_many_clients_of_one_new_program_register_at_once(inside: Company) -> None:
    """The first one makes the key, the others find it."""
    clients = [MACAWClient(app_name="crowd") for _ in range(4)]
    threads = [threading.Thread(target=one.register) for one in clients]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE_SECONDS)

    assert all(one.registered for one in clients)
    assert len({one.agent_id for one in clients}) == 4
    for client in clients:
        client.unregister()


def test_a_dict_comes_back_as_it_is_and_another_value_is_wrapped(desk: MACAWClient) -> None:
    assert desk.invoke_tool("tool:bank/transfer", {"to": "bob", "amount": 5}) == {"to": "bob", "amount": 5}
    assert desk.invoke_tool(tool_name="tool:bank/count", parameters={})["result"] >= 1
    assert list(desk.invoke_tool("tool:bank/say", {"text": "hi"}, stream=True)) == [{"text": "hi"}]


@pytest.mark.parametrize(
    ("tool", "parameters", "reason", "words"),
    [
        ("tool:bank/transfer", {"to": "eve", "amount": 1}, "PARAM_NOT_ALLOWED", ("not in allowed", "'to'")),
        ("tool:bank/transfer", {"to": "bob", "amount": 5000}, "PARAM_OUT_OF_RANGE", ("exceeds maximum", "'amount'")),
        ("tool:bank/say", {"text": "my secret"}, "PARAM_DENIED", ("blocked", "'text'")),
        ("tool:other/thing", {}, "", ()),
    ],
)
def test_a_denial_has_the_words_by_which_programs_know_it(
    desk: MACAWClient, inside: Company, tool: str, parameters: dict[str, Any], reason: str, words: tuple[str, ...]
) -> None:
    """`denied` and `policy` for a model, no value of policy or call, and never `attest`."""
    before = len(inside.bank.transfers)
    with pytest.raises((PermissionDenied, ToolNotFoundError)) as told:
        desk.invoke_tool(tool, parameters)
    text = str(told.value)

    assert len(inside.bank.transfers) == before
    if isinstance(told.value, PermissionDenied):
        assert isinstance(told.value, PermissionError)
        assert "denied" in text
        assert "policy" in text
        assert told.value.reason
    assert "attest" not in text
    assert not any(value in text for value in ("eve", "bob", "carol", "5000", "1000", "secret"))
    assert all(word in text for word in words)
    assert reason in text


def test_a_tools_failure_is_told_in_its_own_words_alone(desk: MACAWClient) -> None:
    """A model must not be told that a failure was a denial."""
    with pytest.raises(ToolFailedError) as told:
        desk.invoke_tool("tool:bank/fail", {})
    text = str(told.value)

    assert "the ledger is closed" in text
    assert "denied" not in text
    assert "policy" not in text


def test_an_intent_narrows_the_calls_of_its_client(inside: Company) -> None:
    """Of the client, and of one call."""
    client = MACAWClient(app_name="desk", intent_policy={"purpose": "reads", "resources": ["tool:bank/count"]})
    client.register()
    assert "result" in client.invoke_tool("tool:bank/count", {})
    with pytest.raises(PermissionDenied):
        client.invoke_tool("tool:bank/say", {"text": "hi"})
    client.unregister()
    free = MACAWClient(app_name="desk")
    free.register()
    with pytest.raises(PermissionDenied):
        free.invoke_tool("tool:bank/count", {}, intent_policy={"denied_resources": ["tool:bank/*"]})
    assert "result" in free.invoke_tool("tool:bank/count", {})
    free.unregister()


def test_a_parameter_that_json_cannot_say_sends_nothing(desk: MACAWClient, inside: Company) -> None:
    with pytest.raises(TypeError, match=r"parameters\.to is a object"):
        desk.invoke_tool("tool:bank/transfer", {"to": object(), "amount": 1})


def test_an_agent_that_is_not_there_is_not_replaced_by_another(desk: MACAWClient) -> None:
    """A prompt would go to a stranger."""
    with pytest.raises(UnknownAgentError):
        desk.invoke_tool("tool:bank/count", {}, target_agent="local:root/app:bank:ffffffff")
    with pytest.raises(UnknownAgentError):
        desk.invoke_tool("tool:bank/count", {}, target_agent="alice@trading-app:01234567")


def test_the_vault_keeps_values_of_a_session_apart(desk: MACAWClient, inside: Company) -> None:
    desk.context_set("memory:1", {"turns": [{"role": "user", "n": 1.5}], "none": None})

    assert desk.context_get("memory:1") == {"turns": [{"role": "user", "n": 1.5}], "none": None}
    assert desk.context_get("absent") is None
    conversation = [{"role": "user", "content": "word " * 200} for _ in range(300)]
    desk.context_set("memory:long", conversation)
    assert desk.context_get("memory:long") == conversation
    other = MACAWClient(app_name="desk")
    other.register()
    assert other.context_get("memory:1") is None
    other.unregister()


def test_events_are_sent_without_waiting_and_are_all_on_the_log(desk: MACAWClient, inside: Company) -> None:
    before = time.monotonic()
    for n in range(200):
        assert desk.log_event(event_type="step", action=f"a{n}", target="", outcome="error", metadata={"n": n})
    took = time.monotonic() - before
    assert desk.log_event("last", signed=True, metadata={"error": ValueError("x"), "sql": "s" * 50_000}) is True
    desk.unregister()
    kinds = [getattr(event.body, "event_type", "") for _, event in inside.office.intake()]

    assert kinds.count("step") == 200
    assert kinds.count("last") == 1
    assert took < 5


def test_a_prompt_is_a_text_with_an_id(desk: MACAWClient) -> None:
    prompt = desk.create_authenticated_prompt(prompt_text="Sum up", metadata={"of": "report"})

    assert isinstance(prompt, str)
    assert prompt == "Sum up"
    assert len(prompt.prompt_id) == 64
    assert desk.invoke_tool("tool:bank/say", {"text": prompt}) == {"text": "Sum up"}


def test_agents_are_found_with_their_tools(desk: MACAWClient) -> None:
    """Registered hosts of tools are there; one of their ids is called as any instance."""
    agents = desk.list_agents(agent_type="app")
    [bank] = [one for one in agents if "/app:bank:" in one["agent_id"] and "/tool." not in one["agent_id"]]

    assert "tool:bank/count" in bank["tools"]
    assert f"{bank['agent_id']}/tool.tool:bank/count" in [one["agent_id"] for one in agents]
    assert desk.get_agent_info(bank["agent_id"])["tools"] == bank["tools"]  # type: ignore[index]
    assert desk.get_agent_info("local:x/app:none:00000000") is None
    assert "result" in desk.invoke_tool("tool:bank/count", {}, target_agent=bank["agent_id"])


def test_a_call_waits_for_a_person_who_sees_its_parameters(inside: Company) -> None:
    """The approval is for what was shown, and a dict that was changed on the way approves nothing."""
    manager, desk = person(inside, "bob", "approvals"), MACAWClient(app_name="desk")
    desk.register()
    done: list[object] = []
    call = threading.Thread(
        target=lambda: done.append(desk.invoke_tool("tool:bank/transfer", {"to": "bob", "amount": 500}))
    )
    call.start()
    [asked] = wait_until(lambda: manager.list_attestations(status="pending"), "a pending attestation", pause=0.1)

    assert asked["key"] == "large"
    assert asked["approval_criteria"] == "role:manager"
    assert asked["value"] == {"to": "bob", "amount": 500}
    assert asked["for_agent"] == "desk"
    assert asked["status"] == "pending"
    assert isinstance(asked["one_time"], bool)
    assert asked["request_id"]
    with pytest.raises(NotListedError, match="differs"):
        manager.approve_attestation({**asked, "value": {"to": "bob", "amount": 1}}, reason="looks small")
    assert manager.approve_attestation(asked, reason="checked") is True
    call.join(PATIENCE_SECONDS)
    assert done == [{"to": "bob", "amount": 500}]
    manager.unregister()
    desk.unregister()


def test_a_person_who_says_no_is_told_as_an_attestation(inside: Company) -> None:
    manager, desk = person(inside, "bob", "approvals"), MACAWClient(app_name="desk")
    desk.register()
    failed: list[BaseException] = []

    def call() -> None:
        try:
            desk.invoke_tool("tool:bank/transfer", {"to": "carol", "amount": 600})
        except PermissionDenied as exc:
            failed.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    listed = wait_until(manager.list_attestations, "an attestation", pause=0.1)
    assert manager.deny_attestation(listed[0], reason="too much")
    thread.join(PATIENCE_SECONDS)

    assert "attestation" in str(failed[0])
    assert "denied" in str(failed[0])
    manager.unregister()
    desk.unregister()


def test_a_person_is_who_the_token_says(inside: Company) -> None:
    """`user_name` is a label; a token that does not verify opens nothing."""
    alice = person(inside, "alice")
    assert alice.agent_id.startswith("alice@trading-app")
    assert alice.agent_type == "user"
    assert "result" in alice.invoke_tool("tool:bank/count", {})
    alice.unregister()
    token = RemoteIdentityProvider().login("bob", inside.password("bob"))["access_token"]
    head, body, _ = token.split(".")
    signature = inside.office.token("alice").rpartition(".")[2]
    forged = MACAWClient(user_name="alice", iam_token=f"{head}.{body}.{signature}", agent_type="user")
    with pytest.raises(PermissionDenied) as told:
        forged.register()
    assert not forged.registered
    assert not any(part in str(told.value) for part in (head, body))
