"""An answer of a model, whole or as it comes: its tool calls, and its summary for the log. Pure.

Nothing here trusts the provider: each member may be absent or of another kind, and is passed over then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from macaw.adapters.model_requests import NAME_CHARS_MAX, Contents

JSONObject = dict[str, Any]

CALLS_TOLD_MAX = 64  # tool calls of one answer that the log names; all are counted
CODE_CHARS_MAX = 64
# Ends of an answer that leave its tool calls as the model meant them.
WHOLE_ENDS = frozenset({"stop", "tool_calls", "function_call", "end_turn", "tool_use", "stop_sequence", "completed"})


class ToolCall(NamedTuple):
    """A tool call of a model: nothing of it is trusted. `arguments` is the text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The words of a model, and its tool calls. `ended` is the provider's word for the end, empty without one."""

    calls: tuple[ToolCall, ...]
    texts: tuple[str, ...]
    ended: str
    usage: Mapping[str, int]
    model: str = ""
    ran: tuple[str, ...] = ()  # tools that the provider has run

    @property
    def is_whole(self) -> bool:
        """Whether the model came to its own end: else the last tool call may be half of one."""
        return self.ended in WHOLE_ENDS


def read_answer(form: str, whole: JSONObject) -> ModelAnswer:
    """Return a whole answer in the form of an endpoint."""
    readers = {"chat": _chat, "responses": _response, "messages": _message, "completion": _completion}
    reader = readers.get(form)
    if reader is None:
        return ModelAnswer((), (), "stop", _usage(whole), _text(whole.get("model")))
    return reader(whole)


def summary_of(answer: ModelAnswer, offered: frozenset[str], raw: Any, contents: Contents) -> JSONObject:
    """Return the report of an answer. `raw` is the running digest of its bytes."""
    told: JSONObject = {
        "ended": answer.ended[:CODE_CHARS_MAX],
        "model": answer.model[:NAME_CHARS_MAX],
        "usage": dict(answer.usage),
        "tool_calls": len(answer.calls),
        "answer_sha256": raw.hexdigest(),
    }
    if answer.calls:
        told["calls"] = [
            {
                "name": call.name[:NAME_CHARS_MAX],
                "offered": call.name in offered,
                "arguments_sha256": hashlib.sha256(call.arguments.encode("utf-8", "surrogatepass")).hexdigest(),
            }
            for call in answer.calls[:CALLS_TOLD_MAX]
        ]
    if answer.ran:
        told["provider_ran"] = sorted({name[:NAME_CHARS_MAX] for name in answer.ran})[:CALLS_TOLD_MAX]
    if contents == "logged" and answer.texts:
        told["text"] = "\n".join(answer.texts)
    return told


def argument_object(value: Any) -> JSONObject:
    """Return the arguments of a tool call as an object, an empty one where they are none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def failure_text(status: int, body: bytes) -> str:
    """Return the status of an answer that is an error, and its code. Its message may quote a key, and is left out."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    error = told.get("error") if isinstance(told, dict) else None
    codes = [error.get(name) for name in ("type", "code")] if isinstance(error, dict) else []
    words = [one for one in codes if isinstance(one, str) and _is_code(one)]
    return " ".join([f"HTTP {status}", *words])


def _is_code(text: str) -> bool:
    return len(text) <= CODE_CHARS_MAX and text.replace("_", "").replace(".", "").isalpha() and text.isascii()


# --- the forms


def _chat(whole: JSONObject) -> ModelAnswer:
    choices = [one for one in _list(whole, "choices") if isinstance(one, dict)]
    said = [_object(one, "message") for one in choices]
    calls: list[ToolCall] = []
    for message in said:
        listed = list(_objects(message, "tool_calls"))
        if isinstance(message.get("function_call"), dict):
            listed.append({"function": message["function_call"]})
        for one in listed:
            function = _object(one, "function") or _object(one, "custom")
            calls.append(ToolCall(_text(one.get("id")), _text(function.get("name")), _written(function)))
    texts = [_text(one.get(name)) for one in said for name in ("content", "refusal")]
    ends = [_text(one.get("finish_reason")) for one in choices]
    return ModelAnswer(tuple(calls), _said(texts), _worst(ends), _usage(whole), _text(whole.get("model")))


def _completion(whole: JSONObject) -> ModelAnswer:
    choices = list(_objects(whole, "choices"))
    ends = [_text(one.get("finish_reason")) for one in choices]
    texts = _said(_text(one.get("text")) for one in choices)
    return ModelAnswer((), texts, _worst(ends), _usage(whole), _text(whole.get("model")))


def _response(whole: JSONObject) -> ModelAnswer:
    calls, texts, ran = list[ToolCall](), list[str](), list[str]()
    for item in _objects(whole, "output"):
        match item.get("type"):
            case "function_call" | "custom_tool_call":
                calls.append(ToolCall(_text(item.get("call_id")), _text(item.get("name")), _written(item)))
            case "message":
                texts += [_text(one.get("text")) or _text(one.get("refusal")) for one in _objects(item, "content")]
            case str() as kind if kind != "reasoning":
                ran.append(kind)
            case _:
                pass
    usage, model = _usage(whole), _text(whole.get("model"))
    return ModelAnswer(tuple(calls), _said(texts), _text(whole.get("status")), usage, model, tuple(ran))


def _message(whole: JSONObject) -> ModelAnswer:
    calls, texts, ran = list[ToolCall](), list[str](), list[str]()
    for block in _objects(whole, "content"):
        match block.get("type"):
            case "tool_use":
                given = block.get("input")
                text = given if isinstance(given, str) else json.dumps(given)
                calls.append(ToolCall(_text(block.get("id")), _text(block.get("name")), text))
            case "text":
                texts.append(_text(block.get("text")))
            case "server_tool_use" | "mcp_tool_use":
                ran.append(_text(block.get("name")))
            case _:  # thinking, and what comes with later versions of the API
                pass
    ended = _text(whole.get("stop_reason"))
    return ModelAnswer(tuple(calls), _said(texts), ended, _usage(whole), _text(whole.get("model")), tuple(ran))


def _worst(ends: list[str]) -> str:
    """Return the end of an answer with several choices: one that is not whole, if there is one."""
    return next((one for one in ends if one not in WHOLE_ENDS), ends[0] if ends else "")


def _said(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _usage(whole: JSONObject) -> dict[str, int]:
    """Return the counts of tokens, those alone that are whole numbers at the outermost."""
    found = {name[:NAME_CHARS_MAX]: value for name, value in _object(whole, "usage").items() if type(value) is int}
    return {name: value for name, value in list(found.items())[:16] if 0 <= value < 2**53}


def _written(holder: JSONObject) -> str:
    value = holder.get("arguments", holder.get("input"))
    return value if isinstance(value, str) else json.dumps(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(holder: Mapping[str, Any], name: str) -> JSONObject:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _list(holder: Mapping[str, Any], name: str) -> list[Any]:
    value = holder.get(name)
    return value if isinstance(value, list) else []


def _objects(holder: Mapping[str, Any], name: str) -> Iterable[JSONObject]:
    return (one for one in _list(holder, name) if isinstance(one, dict))
