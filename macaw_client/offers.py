"""The tools of a client: the dict that describes them, and the way in which a handler is called."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from macaw_client.names import resource_of
from macaw_client.values import API_KEY, METADATA, json_of
from producers.agent.offering import own_loop
from schemas.errors import InputError

Handler = Callable[[dict[str, Any]], Any]
_KNOWN = frozenset({"handler", "description", "prompts", "metadata", "read_only"})

_REQUEST: ContextVar[tuple[object, Mapping[str, Any]] | None] = ContextVar("macaw_request", default=None)


class ToolDescriptionError(InputError, TypeError):
    """A tool is not described as `register()` needs it."""


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """One tool of a client, under the name by which its program knows it."""

    name: str
    handler: Handler
    description: str = ""
    prompts: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_read_only: bool = False

    @property
    def resource(self) -> str:
        """The resource that policies and calls name."""
        return resource_of(self.name)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The paths of further parameters that never stand on the log: `secrets` in the metadata of the tool."""
        named = self.metadata.get("secrets") or ()
        return tuple(one for one in named if isinstance(one, str) and one not in (API_KEY, METADATA))

    def as_entry(self) -> dict[str, Any]:
        """Return the tool as programs read it back: a copy of their own, without a member that is None."""
        return {
            "handler": self.handler,
            "description": self.description,
            "prompts": list(self.prompts),
            "metadata": copy.deepcopy(dict(self.metadata)),
            "read_only": self.is_read_only,
        }


def tool_of(name: object, entry: object) -> OfferedTool:
    """Return the tool that an entry of the dict describes; a bare callable is its handler. Raises as `tools_of`."""
    if not isinstance(name, str) or not name:
        raise ToolDescriptionError(f"the name of a tool must be a text, got {type(name).__name__}")
    if callable(entry):
        entry = {"handler": entry}
    if not isinstance(entry, Mapping):
        raise ToolDescriptionError(f"the tool {name[:80]!r} must be described by a dict with a `handler`")
    if unknown := [one for one in entry if one not in _KNOWN]:
        raise ToolDescriptionError(f"the tool {name[:80]!r} has an unknown member {str(unknown[0])[:80]!r}")
    handler, prompts = entry.get("handler"), entry.get("prompts") or ()
    if not callable(handler):
        raise ToolDescriptionError(f"the tool {name[:80]!r} has no `handler` that can be called")
    if isinstance(prompts, str) or not all(isinstance(one, str) for one in prompts):
        raise ToolDescriptionError(f"`prompts` of the tool {name[:80]!r} must be a list of parameter names")
    return OfferedTool(
        name=name,
        handler=handler,
        description=str(entry.get("description") or ""),
        prompts=tuple(prompts),
        metadata=json_of(entry.get("metadata") or {}, f"metadata of {name[:80]}"),
        is_read_only=bool(entry.get("read_only")),
    )


def tools_of(tools: Mapping[str, object] | None) -> dict[str, OfferedTool]:
    """Return the tools that a client is made with. Raises ToolDescriptionError, TypeError."""
    if tools is not None and not isinstance(tools, Mapping):
        raise ToolDescriptionError(f"tools must be a dict of name and description, got {type(tools).__name__}")
    return {name: tool_of(name, entry) for name, entry in (tools or {}).items()}


def request_of(owner: object) -> dict[str, Any]:
    """Return the context of the call that this thread handles for a client; empty where it handles none."""
    found = _REQUEST.get()
    return dict(found[1]) if found is not None and found[0] is owner else {}


def handled(owner: object, handler: Handler, parameters: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """Call a handler of the client `owner` and return its result as JSON; of an iterator, an iterator over its items.

    The handler gets parameters of its own, the context of its call, and an event loop that is not running: it may call
    `asyncio.run`. Raises the handler's error, and TypeError for a result that JSON cannot say.
    """
    given = copy.deepcopy(dict(parameters))
    with _handling(owner, context), own_loop() as loop:
        result = handler(given)
        if inspect.iscoroutine(result):  # the original's older servers return one
            result = loop.run_until_complete(result)
    if isinstance(result, AsyncIterator):
        return _later_items(owner, context, result)
    return Items(owner, context, result) if isinstance(result, Iterator) else json_of(result, "the result")


class Items(Iterator[Any]):
    """The items of a handler's iterator as JSON, each made in the context of its call."""

    def __init__(self, owner: object, context: Mapping[str, Any], items: Iterator[Any]) -> None:
        self._owner, self._context, self._items = owner, context, items

    def __next__(self) -> Any:
        with _handling(self._owner, self._context):
            return json_of(next(self._items), "an item of the stream")

    def close(self) -> None:
        """End the handler's iterator."""
        if isinstance(self._items, Generator):
            with _handling(self._owner, self._context):
                self._items.close()


async def _later_items(owner: object, context: Mapping[str, Any], items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    with _handling(owner, context):
        async for item in items:
            yield json_of(item, "an item of the stream")


def result_as_dict(result: Any) -> dict[str, Any]:
    """Return a result as callers know it: a dict as it is, any other value alone under `result`."""
    return result if isinstance(result, dict) else {"result": result}


@contextlib.contextmanager
def _handling(owner: object, context: Mapping[str, Any]) -> Iterator[None]:
    """Let this thread handle a call in the block."""
    token = _REQUEST.set((owner, dict(context)))
    try:
        yield
    finally:
        _REQUEST.reset(token)
