"""A streamed answer of a model, put together while it passes: server-sent events (WHATWG HTML 9.2), then whole JSON.

The bytes go to the program as they came. The answer is put together for the log, and for the tool calls of a run: a
call is one only when the answer is at its end.
"""

from __future__ import annotations

import codecs
import json
from typing import Any, NamedTuple

from macaw.adapters.model_answers import WHOLE_ENDS, JSONObject
from schemas.errors import InputError

EVENT_BYTES_MAX = 16 * 1024 * 1024  # of one event: the last one of a response holds all of it
PARTS_MAX = 4096  # choices, blocks or tool calls of one answer

DONE = "[DONE]"


class StreamFaultError(InputError):
    """A stream of a model is not as the provider's API says, or ends with the provider's word that it failed."""


class ProviderFailedError(StreamFaultError):
    """The provider's own word in a stream that it failed, which the SDKs tell in their way."""

    def __init__(self) -> None:
        super().__init__("the provider ended the stream with an error")


class StreamEvent(NamedTuple):
    """One event of a stream. `name` is empty without a name."""

    name: str
    data: str


class EventReader:
    """Cuts a stream of bytes into its events. A line ends with CR LF, LF or CR, and may be cut anywhere."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line whose end has not come
        self._data: list[bytes] = []
        self._name = b""
        self._size, self._has_begun = 0, False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """Return the events that end in this chunk. Raises StreamFaultError."""
        if self._after_cr and chunk:  # the CR has ended a line, and its LF belongs to it
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        if chunk.endswith(b"\r"):
            self._after_cr = True
        self._size += len(chunk)
        *ended, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events = []
        for line in ended:
            event = self._line(b"".join((*self._rest, line)))
            self._rest.clear()
            if event is not None:
                events.append(event)
                self._size = len(rest)
        self._rest.append(rest)
        if self._size > EVENT_BYTES_MAX:
            raise StreamFaultError(f"an event of the stream has more than {EVENT_BYTES_MAX} bytes")
        return events

    def _line(self, line: bytes) -> StreamEvent | None:
        if not self._has_begun and line.startswith(codecs.BOM_UTF8):
            raise StreamFaultError("the stream begins with a byte order mark, which some readers pass over")
        self._has_begun = True
        if not line:
            return self._event()
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.removeprefix(b" ")
        return None

    def _event(self) -> StreamEvent | None:
        data, self._data = b"\n".join(self._data), []
        name, self._name = self._name, b""
        try:
            return StreamEvent(name.decode(), data.decode()) if data else None
        except UnicodeDecodeError as exc:
            raise StreamFaultError("an event of the stream is not UTF-8") from exc


class Assembly:
    """One streamed answer in one form, event by event."""

    def __init__(self, form: str) -> None:
        self._whole: JSONObject = {}
        self._items: dict[int, JSONObject] = {}  # of a response, which come before its end
        self.is_done, self._form = False, form
        self._take = {"chat": self._chat, "completion": self._chat, "responses": self._response}.get(
            form, self._message
        )

    @property
    def whole(self) -> JSONObject:
        """The answer as if it had come at once, as far as it has come. Raises StreamFaultError."""
        try:
            return {name: _joined(value) for name, value in self._whole.items()}
        except RecursionError as exc:
            raise StreamFaultError("the model's answer is nested too deeply") from exc

    def take(self, event: StreamEvent) -> None:
        """Take one event as it came.

        Raises:
            StreamFaultError: it is not a JSON object, or says that it failed; or it has a name by which SDKs take it
                for something else, or comes after the end.
        """
        is_last_word = event.data.strip() == DONE
        if self.is_done:
            is_ping = event.name == "ping" and self._form == "messages"  # whose SDK passes over it
            if not is_last_word and not is_ping:
                raise StreamFaultError("the stream goes on after the end of the model's answer")
        elif is_last_word:
            self.is_done = self._form != "messages"  # there it is a word of gateways, and the SDK passes over it
        else:
            self._take_named(event)

    def _take_named(self, event: StreamEvent) -> None:
        try:
            told = json.loads(event.data)
        except (ValueError, RecursionError) as exc:
            raise StreamFaultError("an event of the stream is not JSON") from exc
        kind = told.get("type") if isinstance(told, dict) else None
        # Anthropic's SDK goes by the name, and OpenAI's takes such a name for another API's.
        if event.name != kind if self._form == "messages" else event.name.startswith("thread."):
            raise StreamFaultError("an event of the stream has another name than type")
        self.feed(told)

    def feed(self, event: Any) -> None:
        """Take the data of one event. Raises StreamFaultError if it is no object, or says that it failed."""
        if not isinstance(event, dict):
            raise StreamFaultError("an event of the stream is not a JSON object")
        if event.get("error") and event.get("type") in (None, "error"):
            raise ProviderFailedError
        self._take(event)

    def at_end(self) -> bool:
        """Whether the answer was whole when the bytes ended: some servers end a chat without a last word."""
        choices = self._whole.get("choices") or []
        return self.is_done or bool(choices and all(one.get("finish_reason") for one in choices))

    # --- OpenAI: chat, and completions

    def _chat(self, event: JSONObject) -> None:
        for name in ("id", "model", "usage"):
            if event.get(name) is not None:
                self._whole[name] = event[name]
        for part in _objects(event.get("choices")):
            choice = _part(self._whole.setdefault("choices", []), part.get("index"), {"message": {}})
            end = part.get("finish_reason")
            if isinstance(end, str) and end and choice.get("finish_reason", "stop") in WHOLE_ENDS:
                choice["finish_reason"] = end  # an answer that was cut off stays one
            _join(choice, part, ("text",))
            delta = part.get("delta")
            if isinstance(delta, dict):
                self._chat_delta(choice["message"], delta)

    @staticmethod
    def _chat_delta(message: JSONObject, delta: JSONObject) -> None:
        _join(message, delta, ("content", "refusal"))
        if isinstance(delta.get("role"), str):
            message["role"] = delta["role"]
        if isinstance(delta.get("function_call"), dict):
            _join(message.setdefault("function_call", {}), delta["function_call"], ("name", "arguments"))
        for one in _objects(delta.get("tool_calls")):
            call = _part(message.setdefault("tool_calls", []), one.get("index"), {"type": "function"})
            for name in ("id", "type"):
                if isinstance(one.get(name), str) and one[name]:
                    if name == "id" and call.setdefault("id", one["id"]) != one["id"]:
                        raise StreamFaultError("two tool calls of the stream have one index")
                    call[name] = one[name]
            for kind in ("function", "custom"):
                if isinstance(one.get(kind), dict):
                    _join(call.setdefault(kind, {}), one[kind], ("name", "arguments", "input"))

    # --- OpenAI: responses

    def _response(self, event: JSONObject) -> None:
        match event.get("type"), event.get("response"):
            case "response.completed" | "response.incomplete" | "response.failed", dict() as whole:
                self._whole, self.is_done = self._with_items(whole), True
            case "response.output_item.done", _ if isinstance(event.get("item"), dict):
                at = event.get("output_index")
                if type(at) is not int or not 0 <= at < PARTS_MAX or at in self._items:
                    raise StreamFaultError("the stream counts its parts wrongly")
                self._items[at] = event["item"]
            case "error", _:
                raise ProviderFailedError
            case _:
                pass  # a part of the answer, all of which comes at its end

    def _with_items(self, whole: JSONObject) -> JSONObject:
        """Return a response with its items. Raises StreamFaultError if it has other tool calls at its end than before.

        Some servers leave out at the end what they have sent.
        """
        before = [self._items[at] for at in sorted(self._items)]
        if not whole.get("output"):
            return {**whole, "output": before}
        said = [_call_of(one) for one in _objects(whole.get("output"))]
        if any(_call_of(one) not in said for one in before if _call_of(one)):
            raise StreamFaultError("the response has other tool calls at its end than on its way")
        return whole

    # --- Anthropic

    def _message(self, event: JSONObject) -> None:
        match event:
            case {"type": "message_start", "message": dict() as message}:
                if self._whole:
                    raise StreamFaultError("two answers of the model begin in one stream")
                self._whole = {**message, "content": []}
            case {"type": "content_block_start", "content_block": dict() as block}:
                blocks = self._whole.setdefault("content", [])
                if event.get("index") != len(blocks):
                    raise StreamFaultError("the stream counts its parts wrongly")
                _part(blocks, event.get("index"), {}).update(block)
            case {"type": "content_block_delta", "delta": dict() as delta}:
                blocks = self._whole.setdefault("content", [])
                if event.get("index") == len(blocks):
                    raise StreamFaultError("a part of the stream has no beginning")
                self._block_delta(_part(blocks, event.get("index"), {}), delta)
            case {"type": "message_delta", "delta": dict() as delta}:
                self._whole.update({name: delta[name] for name in ("stop_reason", "stop_sequence") if name in delta})
                before, usage = self._whole.get("usage"), event.get("usage")
                if isinstance(usage, dict):
                    self._whole["usage"] = {**(before if isinstance(before, dict) else {}), **usage}
            case {"type": "message_stop"}:
                self.is_done = True
            case _:
                pass  # a ping, the end of a block, and what comes with later versions of the API

    @staticmethod
    def _block_delta(block: JSONObject, delta: JSONObject) -> None:
        match delta:
            case {"type": "input_json_delta", "partial_json": str() as text}:
                if not isinstance(block.get("input"), _Pieces):  # it begins as an empty object
                    block["input"] = _Pieces()
                block["input"].append(text)
            case {"type": "citations_delta", "citation": citation}:
                before = block.get("citations")
                block["citations"] = [*(before if isinstance(before, list) else []), citation]
            case {"type": "text_delta" | "thinking_delta" | "signature_delta"}:
                _join(block, delta, ("text", "thinking", "signature"))
            case _:
                pass


class _Pieces(list[str]):
    """A text that comes in pieces: joined once, because to join each piece takes time with the square of them."""


def _join(whole: JSONObject, delta: JSONObject, names: tuple[str, ...]) -> None:
    for name in names:
        if isinstance(delta.get(name), str):
            before = whole.get(name)
            if not isinstance(before, _Pieces):
                whole[name] = before = _Pieces([before] if isinstance(before, str) else [])
            before.append(delta[name])


def _joined(value: Any) -> Any:
    """Return a value with its texts in one piece. Deeper values of the provider's own are left as they are."""
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, list):
        return [_joined(one) for one in value]
    if isinstance(value, dict):
        return {name: _joined(one) for name, one in value.items()}
    return value


def _call_of(item: JSONObject) -> tuple[Any, ...]:
    """Return what makes a tool call of an item of a response, nothing for other items."""
    if item.get("type") not in ("function_call", "custom_tool_call"):
        return ()
    return tuple(item.get(name) for name in ("call_id", "name", "arguments", "input"))


def _objects(value: Any) -> list[JSONObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _part(parts: list[Any], index: Any, empty: JSONObject) -> JSONObject:
    """Return the part with this index, which is 0 where there is none. Raises StreamFaultError."""
    at = 0 if index is None else index
    if type(at) is not int or not 0 <= at < PARTS_MAX or at > len(parts):
        raise StreamFaultError("the stream counts its parts wrongly")
    if at == len(parts):
        parts.append({name: dict(value) if isinstance(value, dict) else value for name, value in empty.items()})
    part = parts[at]
    assert isinstance(part, dict)
    return part
