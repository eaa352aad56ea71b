"""Other people's adapter for OpenAI, as it is on PyPI, over our `macaw_client` and a local model server.

The same programs as its users write: a service, a person, a service bound to a person, streams, tools, denials.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import pytest

from macaw.installation.tenancy import publish_policies
from macaw_client import MACAWClient, RemoteIdentityProvider
from tests.macaw_client.company import Company
from tests.macaw_client.openai_stub import OpenAIStub
from tests.optional import skip_without

pytestmark = pytest.mark.broker

WORDS = [{"role": "user", "content": "hello there"}]
SERVICE = {"policy_id": "service:model-app", "resources": ["tool:model-app/*"]}
LIMITED = {
    "policy_id": "user:alice@fintech.example",
    "resources": ["tool:model-app/generate"],
    "constraints": {"parameters": {"tool:model-app/generate": {"model": ["small"], "max_tokens": {"max": 200}}}},
}


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("macaw_adapters", "openai")):
        skip_without("macaw-adapters and openai", "pip install -e '.[test]'")


@pytest.fixture(scope="module")
def policies(firm: Company) -> None:
    here = firm.office.here
    publish_policies(here.home, here.folder, [json.dumps(one) for one in (SERVICE, LIMITED)], {})


@pytest.fixture
def model(inside: Company, policies: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIStub]:
    with OpenAIStub() as running:
        running.configure(monkeypatch)
        yield running


@pytest.fixture
def service(model: OpenAIStub) -> Iterator[Any]:
    from macaw_adapters.openai import SecureOpenAI

    made = SecureOpenAI(app_name="model-app")
    yield made
    made.macaw_client.unregister()


@pytest.fixture
def alice(inside: Company) -> Iterator[MACAWClient]:
    token, _ = RemoteIdentityProvider().login("alice", inside.password("alice"))
    client = MACAWClient(user_name="alice", iam_token=token, agent_type="user", app_name="trading-app")
    client.register()
    yield client
    client.unregister()


def test_a_service_calls_its_model(service: Any, model: OpenAIStub) -> None:
    answer = service.chat.completions.create(model="small", messages=WORDS)
    embedded = service.embeddings.create(model="small", input=["a", "b"])
    completed = service.completions.create(model="small", prompt="once")

    assert answer.choices[0].message.content == "echo: hello there"
    assert answer.usage.total_tokens == 7
    assert [one.embedding for one in embedded.data] == [[0.5, 1.0], [0.5, 1.0]]
    assert completed.choices[0].text == "echo: once"


def test_a_stream_comes_in_parts(service: Any) -> None:
    parts = list(service.chat.completions.create(model="small", messages=WORDS, stream=True))

    assert "".join(one.choices[0].delta.content or "" for one in parts) == "echo: hello there"
    assert len(parts) > 2


def test_a_tool_that_the_model_asks_for_goes_over_the_log(service: Any, inside: Company) -> None:
    service.register_tool("add", lambda a, b: {"sum": a + b})
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    asked = [{"role": "user", "content": 'call add {"a": 2, "b": 3}'}]
    answer = service.chat.completions.create(model="small", messages=asked, tools=tools)
    called = [getattr(event.body, "resource", "") for _, event in inside.office.intake()]

    assert answer.choices[0].message.content == 'tool said: {"sum": 5}'
    assert "tool:model-app/add" in called


def test_a_person_is_bound_and_held_to_their_own_policy(service: Any, alice: MACAWClient, model: OpenAIStub) -> None:
    bound = service.bind_to_user(alice)
    answer = bound.chat.completions.create(model="small", messages=WORDS, max_tokens=100)
    before = len(model.requests)

    assert answer.choices[0].message.content == "echo: hello there"
    for refused in ({"model": "large"}, {"model": "small", "max_tokens": 5000}):
        with pytest.raises(PermissionError, match="denied"):
            bound.chat.completions.create(messages=WORDS, **refused)
    with pytest.raises(PermissionError):  # before anything is iterated
        bound.chat.completions.create(model="large", messages=WORDS, stream=True)
    assert len(model.requests) == before
    streamed = bound.chat.completions.create(model="small", messages=WORDS, max_tokens=10, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in streamed) == "echo: hello there"
    bound.unbind()
    with pytest.raises(RuntimeError):
        bound.chat.completions.create(model="small", messages=WORDS)


def test_a_person_calls_a_service_of_another_by_its_id(service: Any, alice: MACAWClient) -> None:
    parameters = {"model": "small", "messages": WORDS, "max_tokens": 10}
    result = alice.invoke_tool("tool:model-app/generate", parameters, target_agent=service.server_id)

    assert result["choices"][0]["message"]["content"] == "echo: hello there"
    assert service.server_id in [one["agent_id"] for one in alice.list_agents("app")]


def test_a_persons_own_adapter_offers_nothing(service: Any, inside: Company) -> None:
    """It asks itself, which offers no such tool, and nobody else is asked in its place."""
    from macaw_adapters.openai import SecureOpenAI

    token, _ = RemoteIdentityProvider().login("alice", inside.password("alice"))
    mine = SecureOpenAI(app_name="model-app", jwt_token=token, user_name="alice")
    with pytest.raises(Exception, match="TOOL_UNAVAILABLE"):
        mine.chat.completions.create(model="small", messages=WORDS, max_tokens=10)
    mine.macaw_client.unregister()


def test_an_intent_of_the_service_blocks_a_model(model: OpenAIStub) -> None:
    from macaw_adapters.openai import SecureOpenAI

    only = {"constraints": {"parameters": {"tool:model-app/generate": {"model": ["small"]}}}}
    service = SecureOpenAI(app_name="model-app", intent_policy={"purpose": "x", **only})
    assert service.chat.completions.create(model="small", messages=WORDS).choices
    with pytest.raises(PermissionError, match="not in allowed"):
        service.chat.completions.create(model="large", messages=WORDS)
    service.macaw_client.unregister()


def test_a_failure_of_the_model_is_no_denial(service: Any) -> None:
    with pytest.raises(Exception, match="the model is broken") as told:
        service.chat.completions.create(model="broken", messages=WORDS)
    assert "denied" not in str(told.value)
    assert "policy" not in str(told.value)
