"""OpenAI's SDK: a client with governed calls to models, and runs with governed tool calls.

    client = governed_openai(gate, OpenAI(), app="shop")
    tools = GovernedTools(gate, [refund], app="shop")
    print(CHAT.run(client, tools, model="gpt-5", messages=[{"role": "user", "content": "refund order 7"}]).text)

The client is of the same class, sync or async. Chat completions and responses ask for `tool:shop/generate`, embeddings
for `tool:shop/embed`, and completions for `tool:shop/complete`; other requests are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from macaw.adapters import model_requests
from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.model_answers import JSONObject
from macaw.adapters.model_requests import Contents
from macaw.adapters.model_rounds import Rounds
from macaw.adapters.model_tools import ModelTool, ToolAnswer, schema_value
from macaw.adapters.model_transport import ModelRules, governed_copy

C = TypeVar("C")


def governed_openai(
    gate: Gate,
    client: C,
    *,
    app: str,
    contents: Contents = "logged",
    provider_tools: Collection[str] = (),
    ungoverned: Collection[str] = (),
    patience: GatePatience | None = None,
) -> C:
    """Return a copy of `client` (`OpenAI`, `AsyncOpenAI` and their kin) that asks the log before each request.

    `contents` as "digest" keeps texts off the log. `provider_tools` are kinds of tools that the provider may run, as
    `web_search`; `ungoverned` are further requests that pass without a decision, each as `GET /v1/models`.
    A call of the copy raises PermissionDeniedError, ResultUnconfirmedError or UngovernableRequestError as it is,
    besides the errors of the SDK.
    """
    rules = ModelRules(
        app=app,
        endpoints=model_requests.OPENAI,
        contents=contents,
        provider_tools=frozenset(provider_tools),
        ungoverned=frozenset(ungoverned),
        patience=patience,
    )
    governed: C = governed_copy(gate, client, rules)
    return governed


class _Chat(Rounds):
    endpoint = model_requests.CHAT
    history = "messages"

    def create(self, client: Any) -> Callable[..., Any]:
        create: Callable[..., Any] = client.chat.completions.create
        return create

    def described(self, tool: ModelTool) -> JSONObject:
        function = {"name": tool.name, "description": tool.description, "parameters": schema_value(tool)}
        return {"type": "function", "function": function}

    def said(self, whole: JSONObject) -> list[JSONObject]:
        message = next((one.get("message") or {} for one in whole.get("choices") or []), {})
        kept = {name: message[name] for name in ("content", "tool_calls", "refusal") if message.get(name) is not None}
        return [{"role": "assistant", **({} if "tool_calls" in kept else {"content": ""}), **kept}]

    def told(self, answers: Sequence[ToolAnswer]) -> list[JSONObject]:
        return [{"role": "tool", "tool_call_id": one.call_id, "content": one.text} for one in answers]


class _Responses(Rounds):
    endpoint = model_requests.RESPONSES
    history = "input"

    def create(self, client: Any) -> Callable[..., Any]:
        create: Callable[..., Any] = client.responses.create
        return create

    def described(self, tool: ModelTool) -> JSONObject:
        named = {"type": "function", "name": tool.name, "description": tool.description}
        # Strict schemas need every parameter to be required: defaults would have no meaning.
        return {**named, "parameters": schema_value(tool), "strict": False}

    def said(self, whole: JSONObject) -> list[JSONObject]:
        return [one for one in whole.get("output") or [] if isinstance(one, dict)]

    def told(self, answers: Sequence[ToolAnswer]) -> list[JSONObject]:
        return [{"type": "function_call_output", "call_id": one.call_id, "output": one.text} for one in answers]


CHAT: Rounds = _Chat()
RESPONSES: Rounds = _Responses()
