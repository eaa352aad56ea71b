"""The context of a call, as a function of an MCP server gets it: the caller, and the ways back to the caller's client.

Each question to the client is a governed call of the user (`mcp:SERVER/sampling/createMessage` and so on), so a policy
may deny it; its answer is read strictly. Every method may be awaited; those that only send need not be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Unpack, overload

import mcp_types as types
from mcp.server.elicitation import (
    AcceptedElicitation,
    CancelledElicitation,
    DeclinedElicitation,
    ElicitationResult,
    render_elicitation_schema,
)
from mcp.server.mcpserver import Context as SDKContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError, create_model

from macaw.gateway import names
from macaw.gateway.client_relay import LEVELS
from macaw.gateway.inside import InsideCall
from macaw.gateway.outcomes import DENIED
from processors.proof import jcs
from producers.client.async_client import AsyncClient
from producers.client.calls import Invoking
from schemas.errors import InputError, OutcomeError

if TYPE_CHECKING:
    from producers.agent.agent import Agent

Model = TypeVar("Model", bound=BaseModel)
Read = TypeVar("Read", bound=types.Result)
ReadResource = Callable[[InsideCall, str], Awaitable[Any]]

SAMPLE_TOKENS: Final = 1000  # of an answer, as in the original
_KINDS: Final[Mapping[str, Any]] = {"text": str, "select": str, "confirm": bool, "number": float}


class UnansweredError(OutcomeError):
    """A client did not answer a question of a function: it was denied, is not able to, or its answer does not fit.

    `reason` is the code of a denial, "" else. A function that does not catch it fails with its text.
    """

    def __init__(self, text: str, *, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason


class DeclinedError(UnansweredError):
    """A person has declined to answer."""


class _Sent:
    """The end of sending something: it is over already, and may be awaited all the same."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_SENT: Final = _Sent()


class Context(SDKContext[Any, Any]):
    """The context of one call. A parameter with this annotation, or named `ctx` without one, gets it."""

    _call: InsideCall
    _name: str
    _read: ReadResource

    def __init__(self, call: InsideCall, name: str, read: ReadResource) -> None:
        """Use it as a parameter of a function."""
        super().__init__()
        self._call, self._name, self._read = call, name, read

    # --- who calls

    @property
    def principal(self) -> str:
        """The caller: `user:NAME` for a person, else a program. The log has verified it."""
        return self._call.running.principal_id

    source_agent = principal

    @property
    def user(self) -> str | None:
        """The name of the caller, None where it is a program."""
        kind, _, name = self.principal.partition(":")
        return name if kind == "user" else None

    @property
    def call_id(self) -> str:
        """The id of the call on the log, in hex."""
        return self._call.running.event.hex()

    request_id = call_id

    @property
    def tool_name(self) -> str:
        """The name of the tool, resource or prompt that is executed."""
        return self._name

    @property
    def lifespan(self) -> Any:
        """The value of the server's lifespan, None where it has none."""
        return self._call.functions.lifespan

    # --- questions to the client

    async def sample(
        self,
        prompt: str | Sequence[types.SamplingMessage],
        system_prompt: str | None = None,
        max_tokens: int = SAMPLE_TOKENS,
        temperature: float | None = None,
        **more: Any,
    ) -> str:
        """Return the text that the client's model answers. `more` are further members of the request by their names.

        Raises:
            UnansweredError: there is no such answer.
            ValidationError: this is no request for a model.
        """
        messages: Any = prompt
        if isinstance(prompt, str):
            messages = [types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))]
        asked = types.CreateMessageRequestParams(
            messages=messages, system_prompt=system_prompt, max_tokens=max_tokens, temperature=temperature, **more
        )
        said = await self._asked(names.SAMPLE, asked, types.CreateMessageResult)
        if not isinstance(said.content, types.TextContent):
            raise UnansweredError(f"the client's model answered with {said.content.type}, not with text")
        return said.content.text

    @overload  # without a schema it returns the value, as the original's does
    async def elicit(self, message: str, schema: type[Model]) -> ElicitationResult[Model]: ...

    @overload
    async def elicit(
        self,
        message: str,
        schema: None = None,
        *,
        options: Sequence[str] | None = None,
        input_type: str = "text",
        default: Any = None,
        required: bool = True,
    ) -> Any: ...

    async def elicit(
        self,
        message: str,
        schema: type[BaseModel] | None = None,
        *,
        options: Sequence[str] | None = None,
        input_type: str = "text",
        default: Any = None,
        required: bool = True,
    ) -> Any:
        """Ask the person for the fields of a model, or without one for a single value, which is returned itself.

        `input_type` is text, select (of `options`), confirm or number. Without an answer nothing is confirmed; for
        other values `default` stands then, also None where none is `required`.

        Raises:
            UnansweredError: there is no answer that fits.
            DeclinedError: the person did not answer, and a value is required.
            TypeError: a client cannot ask for such fields.
        """
        if schema is not None:
            return await self._elicited(message, schema)
        said = await self._elicited(message, _single(options, input_type))
        if isinstance(said, AcceptedElicitation):
            return said.data.value  # type: ignore[attr-defined] # the one field of the model
        if input_type == "confirm":
            return False
        if required and default is None:
            raise DeclinedError(f"the person did not answer: {said.action}")
        return default

    async def _elicited(self, message: str, schema: type[Model]) -> ElicitationResult[Model]:
        wanted = types.ElicitRequestFormParams(message=message, requested_schema=render_elicitation_schema(schema))
        said = await self._asked(names.ELICIT, wanted, types.ElicitResult)
        if said.action != "accept":
            return DeclinedElicitation() if said.action == "decline" else CancelledElicitation()
        try:
            data = schema.model_validate_json(jcs.canonical(dict(said.content or {})), strict=True)
        except ValidationError as exc:
            at = sorted({".".join(map(str, one["loc"]))[:80] for one in exc.errors(include_input=False)})
            raise UnansweredError(f"the answer does not fit the question, at {', '.join(at)}") from None
        return AcceptedElicitation(data=data)

    async def list_roots(self) -> list[types.Root]:
        """Return the folders that the client works in. Raises UnansweredError."""
        return (await self._asked(names.LIST_ROOTS, None, types.ListRootsResult)).roots

    async def _asked(self, method: str, params: BaseModel | None, form: type[Read]) -> Read:
        given = {} if params is None else params.model_dump(by_alias=True, mode="json", exclude_none=True)
        try:
            said = await self._call.ask(method, given)
        except MCPError as exc:
            told = exc.error.data if exc.error.code == DENIED and isinstance(exc.error.data, Mapping) else {}
            reason = str(told.get("reason", ""))
            raise UnansweredError(f"{method} has no answer: {exc.error.message[:400]}", reason=reason) from None
        try:
            return form.model_validate(said, by_name=False)
        except ValidationError:
            raise UnansweredError(f"the client's answer to {method} is not one of the protocol") from None

    # --- words to the client

    async def report_progress(
        self, progress: float, total: float | str | None = None, message: str | None = None
    ) -> None:
        """Tell the client how far the call is; a text in the place of `total` is the message, of a total of 1."""
        if isinstance(total, str):
            await self._call.progress(progress, 1.0, total)
        else:
            await self._call.progress(progress, total, message)

    def log(self, level: Any, data: Any, *, logger_name: str | None = None) -> Any:
        """Send a line to the client of this call, unless it wants no such level. `audit` writes one to the log.

        Raises:
            ValueError: there is no such level.
        """
        if level not in LEVELS:
            raise ValueError(f"there is no level {level!r:.40}: it is one of {', '.join(LEVELS)}")
        params = types.LoggingMessageNotificationParams(level=level, data=data, logger=logger_name)
        self._call.notify(types.LoggingMessageNotification(params=params))
        return _SENT

    def debug(self, data: Any, *, logger_name: str | None = None) -> Any:
        return self.log("debug", data, logger_name=logger_name)

    def info(self, data: Any, *, logger_name: str | None = None) -> Any:
        return self.log("info", data, logger_name=logger_name)

    def warning(self, data: Any, *, logger_name: str | None = None) -> Any:
        return self.log("warning", data, logger_name=logger_name)

    def error(self, data: Any, *, logger_name: str | None = None) -> Any:
        return self.log("error", data, logger_name=logger_name)

    async def notify_resource_updated(self, uri: Any) -> None:
        """Tell the clients that have subscribed to a resource that it has changed."""
        params = types.ResourceUpdatedNotificationParams(uri=str(uri))
        self._call.notify(types.ResourceUpdatedNotification(params=params))

    # --- the server itself

    async def read_resource(self, uri: Any) -> Any:
        """Return the value of a resource of this server, as its function returns it: no further call on the log.

        Raises:
            InputError: there is no such resource, or its URI does not fit it.
        """
        return await self._read(self._call, str(uri))

    # --- the log

    @property
    def client(self) -> Agent:
        """The server's own session. `ctx.client.invoke(…)` calls a tool within this call, and blocks its thread.

        Everybody behind the call must be allowed the further one too (ADR 0032).
        """
        return self._call.agent

    async def invoke(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> Any:
        """Call another tool within this call, as the server's program. Raises as `Client.invoke`."""
        how.setdefault("within", self._call.running.event)
        return await AsyncClient(self._call.agent.client).invoke(resource, parameters, **how)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the server's vault, which all its callers share. Raises as `Client.context_get`."""
        return self.client.client.context_get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Put a JSON value into the server's vault, which all its callers share. Raises as `Client.context_set`."""
        self.client.client.context_set(key, value)

    def audit(self, action: str, target: str | None = None, outcome: str = "success", **metadata: Any) -> None:
        """Write a signed event to the log. Raises as `Client.log_event`."""
        self.client.client.log_event(
            "mcp.audit",
            action=action,
            target=target or self._name,
            outcome=outcome,
            signed=True,
            category="mcp",
            metadata={"call": self.call_id, **metadata},
        )


def _single(options: Sequence[str] | None, input_type: str) -> type[BaseModel]:
    """Return the model of one value. Raises InputError."""
    if input_type not in _KINDS or (input_type == "select") != bool(options):
        raise InputError(f"{input_type!r:.40} is no kind of question: text, confirm, number, or select with options")
    kind: Any = _KINDS[input_type]
    if options:
        kind = Literal[tuple(options)]
    return create_model("Answer", value=(kind, ...))
