"""Other people's adapters for Anthropic, LiteLLM and Pydantic AI, as they are on PyPI, over our `macaw_client`.

Each runs where its provider's library is installed beside the project: anthropic 1.17.0, litellm 1.110.2 and
pydantic-ai-slim 2.68.0 were tried. Together they bring 340 MB, so the gate does without.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from macaw.installation.tenancy import publish_policies
from macaw_client import MACAWClient, PermissionDenied, RemoteIdentityProvider
from tests.macaw_client.company import Company
from tests.macaw_client.openai_stub import OpenAIStub
from tests.optional import OPTIONAL

pytestmark = pytest.mark.broker

WORDS = [{"role": "user", "content": "hello there"}]
APPS = ("claude-app", "lite-app", "pydantic-app")
POLICIES = [{"policy_id": f"service:{app}", "resources": [f"tool:{app}/*"]} for app in APPS]
LIMITED = {
    "policy_id": "user:alice@fintech.example",
    "resources": ["tool:*/generate"],
    "constraints": {"parameters": {"tool:*/generate": {"model": ["small", "openai/small"]}}},
}


class AnthropicStub(OpenAIStub):
    """The same server, as it speaks the part of Anthropic's API which adapters use: messages, streams, tools."""

    def configure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", self.url.removesuffix("/v1"))
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-test")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def answer_to(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        last = asked["messages"][-1]["content"]
        block: dict[str, Any] = {"type": "text", "text": f"echo: {last}"}
        if not isinstance(last, str):
            block["text"] = f"tool said: {last[-1]['content']}"
        elif asked.get("tools") and (found := re.fullmatch(r"call (\w+) (\{.*\})", last)):
            block = {"type": "tool_use", "id": "use-1", "name": found[1], "input": json.loads(found[2])}
        return self._message(asked, [block], "tool_use" if block["type"] == "tool_use" else "end_turn")

    def events(self, asked: dict[str, Any]) -> bytes:
        words = re.findall(r"\S+\s*", self.answer_to("", asked)["content"][0]["text"])
        told: list[dict[str, Any]] = [
            {"type": "message_start", "message": self._message(asked, [], None)},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in words),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 4},
            },
            {"type": "message_stop"},
        ]
        return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in told).encode()

    @staticmethod
    def _message(asked: dict[str, Any], content: list[dict[str, Any]], why: str | None) -> dict[str, Any]:
        usage = {"input_tokens": 3, "output_tokens": 4}
        of = {"id": "m-1", "type": "message", "role": "assistant", "model": asked["model"], "content": content}
        return {**of, "stop_reason": why, "stop_sequence": None, "usage": usage}


def needs(module: str, package: str) -> pytest.MarkDecorator:
    is_missing = any(importlib.util.find_spec(name) is None for name in ("macaw_adapters", module))
    return pytest.mark.skipif(is_missing, reason=f"{OPTIONAL}{package} (pip install {package})")


@pytest.fixture(scope="module")
def policies(firm: Company) -> None:
    here = firm.office.here
    publish_policies(here.home, here.folder, [json.dumps(one) for one in (*POLICIES, LIMITED)], {})


@pytest.fixture
def alice(inside: Company) -> Iterator[MACAWClient]:
    token, _ = RemoteIdentityProvider().login("alice", inside.password("alice"))
    client = MACAWClient(user_name="alice", iam_token=token, agent_type="user", app_name="trading-app")
    client.register()
    yield client
    client.unregister()


def resources(inside: Company) -> list[str]:
    return [getattr(event.body, "resource", "") for _, event in inside.office.intake()]


@needs("anthropic", "anthropic")
def test_anthropic(inside: Company, policies: None, alice: MACAWClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service, a stream, a tool that the model asks for, a person, denials before the model is asked."""
    from macaw_adapters.anthropic import SecureAnthropic

    with AnthropicStub() as model:
        model.configure(monkeypatch)
        service = SecureAnthropic(app_name="claude-app")
        asked = {"model": "small", "max_tokens": 100}
        assert service.messages.create(messages=WORDS, **asked).content[0].text == "echo: hello there"
        parts = service.messages.create(messages=WORDS, stream=True, **asked)
        texts = [one["delta"].get("text", "") for one in parts if one["type"] == "content_block_delta"]
        assert "".join(texts) == "echo: hello there"
        assert len(texts) > 1

        service.register_tool("add", lambda a, b: {"sum": a + b})
        tools = [{"name": "add", "input_schema": {"type": "object"}}]
        calling = [{"role": "user", "content": 'call add {"a": 2, "b": 3}'}]
        answer = service.messages.create(messages=calling, tools=tools, **asked)
        assert answer.content[0].text == 'tool said: {"sum": 5}'
        assert "tool:claude-app/add" in resources(inside)

        bound = service.bind_to_user(alice)
        assert bound.messages.create(messages=WORDS, **asked).content[0].text == "echo: hello there"
        before = len(model.requests)
        for how in ({}, {"stream": True}):
            with pytest.raises(PermissionError, match="denied"):
                bound.messages.create(messages=WORDS, model="large", max_tokens=100, **how)
        assert len(model.requests) == before
        service.macaw_client.unregister()


@needs("litellm", "litellm")
def test_litellm(inside: Company, policies: None, alice: MACAWClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key stays with the process, and its tools belong to a second client of the same name."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network when it is imported
    from macaw_adapters.litellm import SecureLiteLLM

    with OpenAIStub() as model:
        model.configure(monkeypatch)
        service = SecureLiteLLM(app_name="lite-app", api_base=model.url, api_key="sk-of-the-test")
        answer = service.chat.completions.create(model="openai/small", messages=WORDS)
        assert answer.choices[0].message.content == "echo: hello there"
        parts = service.chat.completions.create(model="openai/small", messages=WORDS, stream=True)
        assert "".join(one["choices"][0]["delta"].get("content") or "" for one in parts) == "echo: hello there"

        service.register_tool("add", lambda a, b: {"sum": a + b})
        tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
        calling = [{"role": "user", "content": 'call add {"a": 2, "b": 3}'}]
        answer = service.chat.completions.create(model="openai/small", messages=calling, tools=tools)
        assert answer.choices[0].message.content == 'tool said: {"sum": 5}'
        assert "tool:lite-app/add" in resources(inside)

        bound = service.bind_to_user(alice)
        bound.chat.completions.create(model="openai/small", messages=WORDS)
        with pytest.raises(PermissionError, match="denied"):
            bound.chat.completions.create(model="openai/large", messages=WORDS)
        service.macaw_client.unregister()
        service._tools_client.unregister()


@needs("pydantic_ai", "pydantic-ai-slim")
def test_pydantic_ai(inside: Company, policies: None, alice: MACAWClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model and each tool of an agent go over the log; a denial comes through its event loop unwrapped."""
    from macaw_adapters.pydantic_ai import SecureAgent
    from pydantic_ai.models.openai import OpenAIChatModel

    def add(a: int, b: int) -> int:
        return a + b

    with OpenAIStub() as model:
        model.configure(monkeypatch)
        agent = SecureAgent(OpenAIChatModel("small"), app_name="pydantic-app", tools=[add])
        assert agent.run_sync("hello there").output == "echo: hello there"
        assert agent.run_sync('call add {"a": 2, "b": 3}').output.startswith("tool said: ")
        assert "tool:pydantic-app/add" in resources(inside)
        assert agent.bind_to_user(alice).run_sync("hello there").output == "echo: hello there"
        with pytest.raises(PermissionDenied):
            agent.bind_to_user(alice).run_sync("hello there", model=OpenAIChatModel("large"))
