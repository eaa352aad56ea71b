"""An operation that a session offers: its handler, with the declaration that the log gets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from producers.tools.declaring import ToolFunction
from schemas import limits
from schemas.errors import MisuseError
from schemas.events.tools import ToolDeclaration

TIMEOUT_SECONDS_DEFAULT = 600.0  # a model, or a person who is asked, takes minutes


class OperationError(MisuseError):
    """An operation cannot be offered as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A handler of one operation. It takes the parameters as a dictionary of its own and may change it.

    `prompts` are the parameters that callers send as authenticated prompts. `bodies` are paths of texts that may be
    large, and travel beside the call then; `*` is every text. `secrets` are those that always do: policies see only
    their presence. `maskable` are paths of parameters at which policies may have values masked. A generator that the
    handler returns goes to the caller item by item. `timeout_seconds` is up to an hour. `input_schema` is the JSON
    Schema of the parameters, as text: the monitor judges by it, and stamps risks.
    """

    handler: Callable[[dict[str, Any]], Any]
    description: str = ""
    prompts: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ("*",)
    secrets: tuple[str, ...] = ()
    maskable: tuple[str, ...] = ()
    timeout_seconds: float = TIMEOUT_SECONDS_DEFAULT
    input_schema: str | None = None

    def declared(self, resource: str) -> ToolDeclaration:
        """Return the declaration for the log. Raises OperationError."""
        if not callable(self.handler):
            raise OperationError(f"the handler of {resource!r} is not callable")
        seconds = self.timeout_seconds
        if not (math.isfinite(seconds) and 0.001 <= seconds <= limits.TOOL_TIMEOUT_MS_MAX / 1000):
            longest = limits.TOOL_TIMEOUT_MS_MAX // 1000
            raise OperationError(f"the time-out of {resource!r} must be 0.001 to {longest} seconds")
        return ToolDeclaration(
            resource=resource,
            description=self.description[: limits.DESCRIPTION_CHARS_MAX],
            timeout_ms=int(seconds * 1000),
            idempotent=False,
            prompts=self.prompts,
            body_paths=(*self.bodies, *self.secrets),
            opaque_paths=self.secrets,
            maskable_paths=self.maskable,
            streams=True,
            input_schema=self.input_schema,
        )

    def as_function(self, resource: str) -> ToolFunction:
        """Return the operation as the execution of calls takes it."""
        return ToolFunction(
            name=resource,
            description=self.description,
            function=self._run,
            readers={},
            timeout_seconds=self.timeout_seconds,
            is_async=False,
            prompts=self.prompts,
            bodies=self.bodies,
            secrets=self.secrets,
            maskable=self.maskable,
            streams=True,
            takes_all=True,
        )

    def _run(self, parameters: dict[str, Any]) -> Any:
        """Run the handler with a fresh event loop at hand: some ask for the loop of their thread."""
        with own_loop():
            return self.handler(parameters)


@contextmanager
def own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give this thread a fresh event loop that does not run, and close it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()
