"""Functions of a program as tools of a model: each call of the model is a governed call, or a refusal it is told.

    tools = GovernedTools(gate, [refund, find], app="shop")

A model's word is not trusted: a call is looked at before the log is asked, and one that fits no function is refused
here. The log has it in the report of the model's answer.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Self

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.model_answers import ToolCall
from macaw.adapters.model_requests import OPERATIONS
from macaw.adapters.refusals import (
    PermissionDeniedError,
    ResultUnconfirmedError,
    UngovernableToolError,
    failure_for_model,
    sentence_for_model,
)
from processors.proof import jcs
from producers.tools.arguments import AnnotationError, ArgumentReader, ToolArgumentError, bind, readers_of
from producers.tools.hinted_schemas import schema_of
from producers.tools.result_text import exception_text, result_text
from schemas import limits
from schemas.errors import MacawError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # as both providers take it


class RoundLimits(NamedTuple):
    """The bounds of a run: rounds and seconds of all of it, and calls, arguments and results of one round."""

    rounds: int = 16
    calls: int = 16  # of one answer; further ones are refused
    argument_bytes: int = limits.BODY_PARAMETERS_BYTES
    result_bytes: int = limits.BODY_RESULT_BYTES
    seconds: float = 600.0


class ToolAnswer(NamedTuple):
    """The result of one tool call as the model is told it."""

    call_id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ModelTool:
    """A function as a model is offered it."""

    name: str
    description: str
    schema: str  # JSON Schema of its parameters, as text
    function: Callable[..., Any]
    readers: Mapping[str, ArgumentReader]
    defaults: Mapping[str, Any]  # as JSON: a parameter that the model leaves out is one for policies all the same
    own_defaults: Mapping[str, Any]  # as they were when it was offered: a call can change a list of the function's own


class _RefusedCallError(Exception):
    """A call that the log is not asked about; the message is for the model."""


class GovernedTools:
    """The functions that a model may call, under one app and one gate. Thread-safe, and for asyncio."""

    def __init__(
        self,
        gate: Gate,
        functions: Sequence[Callable[..., Any]],
        *,
        app: str,
        patience: GatePatience | None = None,
        bounds: RoundLimits | None = None,
    ) -> None:
        """Take functions, sync or async, with named parameters and type hints that JSON can meet.

        Raises:
            UngovernableToolError: a function is none of those, or its name is taken, reserved or unfit.
        """
        self._gate, self._app, self._patience = gate, app, patience
        self.bounds = bounds or RoundLimits()
        self._tools: dict[str, ModelTool] = {}
        for function in functions:
            one = _offered(function)
            if one.name in self._tools:
                raise UngovernableToolError(f"there are two tools called {one.name}: rename one of them")
            self._tools[one.name] = one

    @property
    def offered(self) -> tuple[ModelTool, ...]:
        """The tools as they are offered to the model."""
        return tuple(self._tools.values())

    # --- one round

    def answer(self, calls: Sequence[ToolCall], *, is_whole: bool = True) -> list[ToolAnswer]:
        """Run the calls of one answer of the model at once, each in a thread of its own; return one answer for each id.

        With `is_whole` False the model's answer broke off, and none is run.
        """
        judged = self._judged(calls, is_whole=is_whole)
        self._offer(judged)
        if len(judged) == 1:
            return [self._answer(*judged[0])]
        with ThreadPoolExecutor(max(1, min(len(judged), self.bounds.calls))) as pool:
            # Each thread with a context of its own: a tool call within a governed call stays within it.
            running = [pool.submit(contextvars.copy_context().run, self._answer, call, ready) for call, ready in judged]
            return [one.result() for one in running]

    async def answer_async(self, calls: Sequence[ToolCall], *, is_whole: bool = True) -> list[ToolAnswer]:
        """As `answer`, each in a task of its own; functions that are not async run in threads."""
        judged = self._judged(calls, is_whole=is_whole)
        await asyncio.to_thread(self._offer, judged)
        return list(await asyncio.gather(*(self._answer_async(*one) for one in judged)))

    def _judged(self, calls: Sequence[ToolCall], *, is_whole: bool) -> list[tuple[ToolCall, _Ready | str]]:
        """Return each call, once for each id, ready to be run or with the refusal for the model."""
        times = Counter(call.call_id for call in calls)
        judged: dict[str, tuple[ToolCall, _Ready | str]] = {}
        seen: set[tuple[str, bytes]] = set()
        for number, call in enumerate(calls):
            if call.call_id in judged:
                continue
            try:
                self._check(call, number, times[call.call_id], is_whole=is_whole)
                ready = self._ready(call, seen)
                seen.add(ready.key)
                judged[call.call_id] = (call, ready)
            except _RefusedCallError as exc:
                judged[call.call_id] = (call, str(exc))
        return list(judged.values())

    def _check(self, call: ToolCall, number: int, times: int, *, is_whole: bool) -> None:
        """Raise _RefusedCallError unless a call has a place in its answer."""
        if not is_whole:
            raise _RefusedCallError("The answer broke off before its end, so none of its calls was run.")
        if times > 1 or not call.call_id:
            raise _RefusedCallError("Several calls have this id, or none: they were not run.")
        if number >= self.bounds.calls:
            raise _RefusedCallError(f"At most {self.bounds.calls} calls are run at once: this one was not run.")

    def _ready(self, call: ToolCall, seen: Collection[tuple[str, bytes]]) -> _Ready:
        tool = self._tools.get(call.name)
        if tool is None:
            raise _RefusedCallError("There is no tool of this name. Nothing was run.")
        text = call.arguments.encode("utf-8", "surrogatepass")
        if len(text) > self.bounds.argument_bytes:
            raise _RefusedCallError("The arguments are too large. The call was not run.")
        try:
            given = jcs.parse_strict(text or b"{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise _RefusedCallError("The arguments are not a JSON object. The call was not run.")
        try:
            bound = bind(tool.name, tool.function, tool.readers, given)
        except ToolArgumentError as exc:
            raise _RefusedCallError(f"The arguments do not fit, so the call was not run: {exc}") from exc
        bound.arguments.update({n: deepcopy(v) for n, v in tool.own_defaults.items() if n not in given})
        given = {**tool.defaults, **given}
        key = (tool.name, jcs.canonical(given))
        if key in seen:
            raise _RefusedCallError("The same call stands twice in one answer: it was run once, not again.")
        return _Ready(tool, given, bound, key)

    def _offer(self, judged: Sequence[tuple[ToolCall, _Ready | str]]) -> None:
        """Declare the tools of these calls on the log, with their schemas. A tool that cannot be is refused later."""
        for _, ready in judged:
            if isinstance(ready, _Ready):
                tool = ready.tool
                fits = len(tool.schema.encode()) <= limits.TOOL_SCHEMA_BYTES_MAX
                try:
                    self._gate.offer(
                        self._resource(tool),
                        description=tool.description,
                        input_schema=tool.schema if fits else None,
                    )
                except (MacawError, ValueError):
                    return  # the gate tries again with each call, and refuses it

    def _resource(self, tool: ModelTool) -> str:
        return f"tool:{self._app}/{tool.name}"

    # --- one call

    def _answer(self, call: ToolCall, ready: _Ready | str) -> ToolAnswer:
        if isinstance(ready, str):
            return ToolAnswer(call.call_id, ready, is_error=True)
        bound, function = ready.bound, ready.tool.function

        telling = _Telling(call, self.bounds.result_bytes)

        def run() -> Any:
            telling.has_begun = True
            value = function(*bound.args, **bound.kwargs)
            return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value

        with telling:
            telling.value = self._gate.run(self._resource(ready.tool), ready.given, run, patience=self._patience)
        return telling.answer

    async def _answer_async(self, call: ToolCall, ready: _Ready | str) -> ToolAnswer:
        if isinstance(ready, str):
            return ToolAnswer(call.call_id, ready, is_error=True)
        bound, function = ready.bound, ready.tool.function

        telling = _Telling(call, self.bounds.result_bytes)

        async def run() -> Any:
            telling.has_begun = True
            if inspect.iscoroutinefunction(function):
                return await function(*bound.args, **bound.kwargs)
            return await asyncio.to_thread(function, *bound.args, **bound.kwargs)

        with telling:
            resource = self._resource(ready.tool)
            telling.value = await self._gate.run_async(resource, ready.given, run, patience=self._patience)
        return telling.answer


class _Ready(NamedTuple):
    """A call that the log is asked about."""

    tool: ModelTool
    given: dict[str, Any]
    bound: inspect.BoundArguments
    key: tuple[str, bytes]


class _Telling:
    """A block in which a tool runs, and the sentence for the model at its end: its value, a refusal, or its error."""

    def __init__(self, call: ToolCall, room: int) -> None:
        self.value: Any = None
        self.has_begun = False
        self.answer = ToolAnswer(call.call_id, "", is_error=True)
        self._room = room

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> bool:
        match exc:
            case None:
                text = self.value if isinstance(self.value, str) else result_text(self.value, self._room).text
                if len(text.encode("utf-8", "replace")) > self._room:
                    self._tell("The call has taken effect, but its result is too large to be shown. Do not repeat it.")
                else:
                    self.answer = self.answer._replace(text=text, is_error=False)
            case PermissionDeniedError() if not self.has_begun:
                self._tell(sentence_for_model(exc))
            case ResultUnconfirmedError():
                self._tell(sentence_for_model(exc))
            case MacawError():
                self._tell(failure_for_model(exc))
            case Exception():  # the tool's own: a model that hears of it can correct itself
                self._tell(f"The tool failed: {exception_text(exc)}")
            case _:
                return False
        return True

    def _tell(self, text: str) -> None:
        self.answer = self.answer._replace(text=text)


async def _awaited(value: Any) -> Any:
    return await value


def _offered(function: Callable[..., Any]) -> ModelTool:
    name = str(getattr(function, "__name__", ""))
    if not _NAME.fullmatch(name):
        raise UngovernableToolError(f"{name[:60]!r} cannot name a tool: use letters, digits, _ and -")
    if name in OPERATIONS:
        raise UngovernableToolError(f"{name} is the name of the model's own calls in the log: rename the function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UngovernableToolError(f"{name} is a generator: return a list instead")
    try:
        schema, readers = schema_of(function), readers_of(function)
        own_defaults, defaults = _defaults_of(function)
    except (AnnotationError, jcs.NotJSONError) as exc:
        raise UngovernableToolError(f"{name}: {exc}") from exc
    description = " ".join((inspect.getdoc(function) or "").split("\n\n", 1)[0].split())
    return ModelTool(name, description, schema, function, readers, defaults, own_defaults)


def _defaults_of(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return copies of the defaults of a function, as they are and as JSON. Raises NotJSONError."""
    given = {one.name: one.default for one in inspect.signature(function).parameters.values()}
    values = {name: value for name, value in given.items() if value is not inspect.Parameter.empty}
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    as_json = jcs.parse_strict(jcs.canonical(plain))
    assert isinstance(as_json, dict)
    return deepcopy(values), as_json


def schema_value(tool: ModelTool) -> dict[str, Any]:
    """Return the schema of a tool's parameters as a JSON value of its own."""
    value = json.loads(tool.schema)
    assert isinstance(value, dict)
    return value
