"""The three wires of models, for tests that say one thing on all of them: chat, responses, messages."""

from __future__ import annotations

import json
from typing import Any

from tests.frameworks.model_stub import Said, streamed, whole

Call = tuple[str, str, str]  # id, name, arguments as the model writes them

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


class Chat:
    """OpenAI's chat completions."""

    form = "chat"

    def asks(self, *calls: Call, stream: bool = False, ended: str = "tool_calls", text: str | None = None) -> Said:
        listed = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
        if not stream:
            message = {"role": "assistant", "content": text, **({"tool_calls": listed} if listed else {})}
            return self._whole([{"index": 0, "message": message, "finish_reason": ended, "logprobs": None}])
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": text}]
        for at, (call_id, name, arguments) in enumerate(calls):
            one, two = halves(arguments)
            start = {"index": at, "id": call_id, "type": "function", "function": {"name": name, "arguments": one}}
            deltas += [{"tool_calls": [start]}, {"tool_calls": [{"index": at, "function": {"arguments": two}}]}]
        return streamed([*map(self._chunk, deltas), self._chunk({}, ended), "[DONE]"], named=False)

    def says(self, text: str, *, stream: bool = False, ended: str = "stop") -> Said:
        return self.asks(stream=stream, ended=ended, text=text)

    def dies(self, *calls: Call) -> Said:
        """A stream that ends in the middle of an argument, in good order."""
        said = self.asks(*calls, stream=True)
        events = said.body.decode().split("\n\n")
        return Said("\n\n".join([*events[: 2 + len(calls)], ""]).encode(), kind=said.kind)

    @staticmethod
    def _whole(choices: list[dict[str, Any]]) -> Said:
        about = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m-1"}
        return whole({**about, "choices": choices, "usage": USAGE})

    @staticmethod
    def _chunk(delta: dict[str, Any], ended: str | None = None) -> dict[str, Any]:
        about = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
        return {**about, "choices": [{"index": 0, "delta": delta, "finish_reason": ended}]}

    def told(self, request: dict[str, Any]) -> list[str]:
        """What the model was told of its tool calls."""
        return [one["content"] for one in request["messages"] if one["role"] == "tool"]

    def asking(self, **more: Any) -> dict[str, Any]:
        return {"model": "m-1", "messages": [{"role": "user", "content": "go"}], **more}

    def most(self, tokens: int) -> dict[str, Any]:
        return {"max_completion_tokens": tokens}

    def create(self, client: Any) -> Any:
        return client.chat.completions.create

    def hosted(self) -> tuple[str, dict[str, Any]]:
        return "web_search_options", {"web_search_options": {}}

    def tool(self, name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


class Responses(Chat):
    """OpenAI's responses."""

    form = "responses"

    def asks(self, *calls: Call, stream: bool = False, ended: str = "completed", text: str | None = None) -> Said:
        items: list[dict[str, Any]] = [
            {"type": "function_call", "id": f"fc_{i}", "call_id": i, "name": n, "arguments": a, "status": "completed"}
            for i, n, a in calls
        ]
        if text is not None:
            part = {"type": "output_text", "text": text, "annotations": []}
            items.append({"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]})
        about = {"id": "r-1", "object": "response", "created_at": 1, "model": "m-1", "parallel_tool_calls": True}
        response = {**about, "tools": [], "tool_choice": "auto", "status": ended, "output": items}
        response["usage"] = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        if not stream:
            return whole(response)
        begun = {**response, "status": "in_progress", "output": []}
        events: list[dict[str, Any]] = [{"type": "response.created", "sequence_number": 0, "response": begun}]
        for at, item in enumerate(items):
            events.append({"type": "response.output_item.added", "output_index": at, "item": item})
            if item["type"] == "function_call":
                events += [
                    {"type": "response.function_call_arguments.delta", "output_index": at, "delta": half}
                    | {"item_id": item["id"]}
                    for half in halves(item["arguments"])
                ]
            events.append({"type": "response.output_item.done", "output_index": at, "item": item})
        events.append({"type": f"response.{ended}", "response": response})
        return streamed([{**one, "sequence_number": at} for at, one in enumerate(events)], named=True)

    def says(self, text: str, *, stream: bool = False, ended: str = "completed") -> Said:
        return self.asks(stream=stream, ended=ended, text=text)

    def told(self, request: dict[str, Any]) -> list[str]:
        return [one["output"] for one in request["input"] if one.get("type") == "function_call_output"]

    def asking(self, **more: Any) -> dict[str, Any]:
        return {"model": "m-1", "input": "go", **more}

    def most(self, tokens: int) -> dict[str, Any]:
        return {"max_output_tokens": tokens}

    def create(self, client: Any) -> Any:
        return client.responses.create

    def hosted(self) -> tuple[str, dict[str, Any]]:
        return "web_search", {"tools": [{"type": "web_search"}]}

    def tool(self, name: str) -> dict[str, Any]:
        return {"type": "function", "name": name, "parameters": {"type": "object"}, "strict": False}


class Messages(Chat):
    """Anthropic's messages."""

    form = "messages"

    def asks(self, *calls: Call, stream: bool = False, ended: str = "tool_use", text: str | None = None) -> Said:
        about = {"id": "m-1", "type": "message", "role": "assistant", "model": "m-1", "stop_sequence": None}
        usage = {"input_tokens": 3, "output_tokens": 4}
        texts = [] if text is None else [{"type": "text", "text": text}]
        if not stream:
            blocks = [{"type": "tool_use", "id": i, "name": n, "input": _read(a)} for i, n, a in calls]
            return whole({**about, "content": [*texts, *blocks], "stop_reason": ended, "usage": usage})
        start = {**about, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 0}}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
        parts = [(one, [{"type": "text_delta", "text": half} for half in halves(one["text"])]) for one in texts]
        parts = [({**one, "text": ""}, deltas) for one, deltas in parts]
        for call_id, name, arguments in calls:
            deltas = [{"type": "input_json_delta", "partial_json": half} for half in ("", *halves(arguments))]
            parts.append(({"type": "tool_use", "id": call_id, "name": name, "input": {}}, deltas))
        for at, (block, deltas) in enumerate(parts):
            events.append({"type": "content_block_start", "index": at, "content_block": block})
            events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": at})
        delta = {"stop_reason": ended, "stop_sequence": None}
        events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 4}}, {"type": "message_stop"}]
        return streamed(events, named=True)

    def says(self, text: str, *, stream: bool = False, ended: str = "end_turn") -> Said:
        return self.asks(stream=stream, ended=ended, text=text)

    def told(self, request: dict[str, Any]) -> list[str]:
        blocks = [one for message in request["messages"] if message["role"] == "user" for one in _blocks(message)]
        return [one["content"] for one in blocks if one.get("type") == "tool_result"]

    def asking(self, **more: Any) -> dict[str, Any]:
        return {"model": "m-1", "max_tokens": 100, "messages": [{"role": "user", "content": "go"}], **more}

    def most(self, tokens: int) -> dict[str, Any]:
        return {"max_tokens": tokens}

    def create(self, client: Any) -> Any:
        return client.messages.create

    def hosted(self) -> tuple[str, dict[str, Any]]:
        return "web_search_20250305", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}

    def tool(self, name: str) -> dict[str, Any]:
        return {"name": name, "input_schema": {"type": "object"}}


def _read(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    return message["content"] if isinstance(message["content"], list) else []
