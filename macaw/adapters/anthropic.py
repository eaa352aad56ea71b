"""Anthropic's SDK: a client with governed calls to models, and runs with governed tool calls.

    client = governed_anthropic(gate, Anthropic(), app="shop")
    tools = GovernedTools(gate, [refund], app="shop")
    said = [{"role": "user", "content": "refund order 7"}]
    print(MESSAGES.run(client, tools, model="claude-sonnet-5", max_tokens=1024, messages=said).text)

The client is of the same class, sync or async. Messages ask for `tool:shop/generate`, the counting of tokens for
`tool:shop/count_tokens`; other requests are refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from macaw.adapters import model_requests
from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.model_answers import JSONObject, argument_object
from macaw.adapters.model_requests import Contents
from macaw.adapters.model_rounds import Rounds
from macaw.adapters.model_tools import ModelTool, ToolAnswer, schema_value
from macaw.adapters.model_transport import ModelRules, governed_copy
from schemas.errors import MacawError

C = TypeVar("C")


def governed_anthropic(
    gate: Gate,
    client: C,
    *,
    app: str,
    contents: Contents = "logged",
    provider_tools: Collection[str] = (),
    ungoverned: Collection[str] = (),
    patience: GatePatience | None = None,
) -> C:
    """Return a copy of `client` (`Anthropic` or `AsyncAnthropic`) that asks the log before each request.

    `provider_tools` are kinds of tools beside functions, as `web_search_20250305`: most of them the provider runs, and
    some the program, as `bash_20250124`. Everything else is as in `macaw.adapters.openai.governed_openai`.
    """
    rules = ModelRules(
        app=app,
        endpoints=model_requests.ANTHROPIC,
        contents=contents,
        provider_tools=frozenset(provider_tools),
        ungoverned=frozenset(ungoverned),
        patience=patience,
    )
    copied = governed_copy(gate, client, rules)
    is_async = hasattr(client, "__aenter__")
    governed: C = copied.with_middleware(_with_own_errors_async if is_async else _with_own_errors)
    return governed


def _with_own_errors(request: Any, call_next: Callable[[Any], Any]) -> Any:
    """Raise an error of the gate as it is: the SDK takes it for one of the connection, and would send again."""
    try:
        return call_next(request)
    except Exception as exc:
        if isinstance(exc.__cause__, MacawError):
            raise exc.__cause__ from None
        raise


async def _with_own_errors_async(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    """Raise as `_with_own_errors`."""
    try:
        return await call_next(request)
    except Exception as exc:
        if isinstance(exc.__cause__, MacawError):
            raise exc.__cause__ from None
        raise


class _Messages(Rounds):
    endpoint = model_requests.MESSAGES
    history = "messages"

    def create(self, client: Any) -> Callable[..., Any]:
        create: Callable[..., Any] = client.messages.create
        return create

    def described(self, tool: ModelTool) -> JSONObject:
        return {"name": tool.name, "description": tool.description, "input_schema": schema_value(tool)}

    def said(self, whole: JSONObject) -> list[JSONObject]:
        blocks = [dict(one) for one in whole.get("content") or [] if isinstance(one, dict)]
        for block in blocks:
            if "input" in block:  # streamed arguments are a text, which may be broken
                block["input"] = argument_object(block["input"])
        return [{"role": "assistant", "content": blocks}]

    def told(self, answers: Sequence[ToolAnswer]) -> list[JSONObject]:
        results = [
            {
                "type": "tool_result",
                "tool_use_id": one.call_id,
                "content": one.text,
                **({"is_error": True} if one.is_error else {}),
            }
            for one in answers
        ]
        return [{"role": "user", "content": results}]


MESSAGES: Rounds = _Messages()
