"""Functions as parts of an MCP server: their type hints become schemas, and arguments are read exactly by them.

A policy and the verifiers judge arguments as the log has them. So a function gets these and no others: no text is read
as a number or as JSON, and an argument without a parameter is refused.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import mcp_types as types
import pydantic_core
from mcp.server.mcpserver.exceptions import InvalidSignature
from mcp.server.mcpserver.prompts.base import Message, UserMessage, message_validator
from mcp.server.mcpserver.resolve import find_resolved_parameters
from mcp.server.mcpserver.resources import DEFAULT_RESOURCE_SECURITY
from mcp.server.mcpserver.utilities.context_injection import find_context_parameter
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, func_metadata
from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate
from pydantic import ConfigDict, PydanticUserError, ValidationError
from pydantic.fields import FieldInfo

from macaw.gateway.names import INPUT
from processors.proof import jcs
from schemas.errors import InputError, MisuseError

CONTEXT_NAMES: Final = ("ctx", "context")
"""A parameter of one of these names that has no annotation gets the context, as one that is annotated with it."""

PROBLEMS_MAX: Final = 8  # faults of arguments that are told
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_AS_TOLD: Final[Any] = {"by_alias": True, "by_name": False}
"""A value has the name that the schema tells, whatever its model takes beside it: policies name that one."""

_RECEIVERS: Final = ("self", "cls")


class MCPDeclarationError(MisuseError):
    """A function cannot be a part of an MCP server as it is."""


class UnfitArgumentsError(InputError):
    """The arguments of a request do not fit the function. The message names places and kinds, and quotes no value."""


@dataclass(frozen=True, slots=True)
class DeclaredFunction:
    """A function with the schemas of its hints. `context` is the name of the parameter that gets the context."""

    name: str
    description: str
    function: Callable[..., Any]
    context: str | None
    metadata: FuncMetadata = field(repr=False)

    @property
    def parameters(self) -> dict[str, FieldInfo]:
        """The parameters by their own names; some have another one in the model, where pydantic needs theirs."""
        return {one.alias or name: one for name, one in self.metadata.arg_model.model_fields.items()}

    def arguments(self, given: Mapping[str, Any], *, texts: bool = False) -> dict[str, Any]:
        """Return the arguments for the function; with `texts` they come as texts, and are read as their hints say.

        Raises:
            UnfitArgumentsError: they do not fit.
        """
        model = self.metadata.arg_model
        try:
            found = model.model_validate(dict(given), **_AS_TOLD) if texts else _exactly(model, given)
        except ValidationError as exc:
            faults = exc.errors(include_url=False, include_context=False, include_input=False)
            told = [f"{'.'.join(map(str, one['loc']))[:120]}: {one['type']}" for one in faults[:PROBLEMS_MAX]]
            raise UnfitArgumentsError(f"BAD_ARGUMENTS: {'; '.join(told)}") from None
        return found.model_dump_one_level()


def _exactly(model: Any, given: Mapping[str, Any]) -> Any:
    """Read arguments as JSON, without any of the conversions that pydantic makes of Python's values."""
    return model.model_validate_json(jcs.canonical(dict(given)), strict=True, **_AS_TOLD)


def declared_function(
    function: Callable[..., Any], name: str | None, description: str | None, *, structured: bool | None = False
) -> DeclaredFunction:
    """Return a function with its schemas. Raises MCPDeclarationError."""
    called = name or str(getattr(function, "__name__", ""))
    if not called or called == "<lambda>":
        raise MCPDeclarationError("a function without a name needs `name=`")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise MCPDeclarationError(f"{called} is a generator: return a list, and tell of progress by the context")
    try:
        parameters = inspect.signature(function).parameters
        context = find_context_parameter(function) or _unannotated(parameters)
        _check_parameters(called, parameters)
        if find_resolved_parameters(function):
            raise MCPDeclarationError(f"{called} takes Resolve(…), which is not served: ask by the context instead")
        skipped = () if context is None else (context,)
        metadata = func_metadata(function, skip_names=skipped, structured_output=structured)
        metadata.arg_model = _closed(metadata.arg_model)
        metadata.arg_model.model_json_schema(by_alias=True)
        if _has_choices(metadata.arg_model.__pydantic_core_schema__):
            raise MCPDeclarationError(f"{called} takes a value by several names or a path: policies see one name alone")
    except (InvalidSignature, PydanticUserError, TypeError, NameError, ValueError) as exc:
        raise MCPDeclarationError(f"{called}: its type hints give no JSON schema: {str(exc)[:400]}") from exc
    told = description if description is not None else inspect.getdoc(function) or called
    return DeclaredFunction(called, told, function, context, metadata)


def _has_choices(schema: object) -> bool:
    """Whether a schema of pydantic-core has a field with AliasChoices or AliasPath."""
    if isinstance(schema, Mapping):
        return isinstance(schema.get("validation_alias"), list) or any(map(_has_choices, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_has_choices, schema))


def _unannotated(parameters: Mapping[str, inspect.Parameter]) -> str | None:
    named = (one for one in CONTEXT_NAMES if one in parameters)
    return next((one for one in named if parameters[one].annotation is inspect.Parameter.empty), None)


def _check_parameters(name: str, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Raise MCPDeclarationError for parameters that a call cannot name."""
    for one in parameters.values():
        if one.kind not in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}:
            raise MCPDeclarationError(f"{name} takes `{one}`: each parameter needs a name, so that policies see it")
        if one.name in {*_RECEIVERS, INPUT}:
            raise MCPDeclarationError(f"{name} takes `{one.name}`: decorate a function that calls it")


def _closed(model: Any) -> Any:
    """Return a model of arguments that refuses those that it does not know."""
    return type(model)(model.__name__, (model,), {"model_config": ConfigDict(extra="forbid"), "__module__": __name__})


# --- tools


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """A tool: its function, its definition by the names on the wire, and the time that a call may take."""

    function: DeclaredFunction
    listed: Mapping[str, Any] = field(repr=False)
    seconds: float

    def result(self, value: Any) -> dict[str, Any]:
        """Return the result of a call by the names on the wire. Raises as the classes of the value do."""
        converted = self.function.metadata.convert_result(value)
        if not isinstance(converted, types.CallToolResult):
            raise TypeError("a tool returns a value: it asks its client by the context")
        return converted.model_dump(by_alias=True, mode="json", exclude_none=True)


def declared_tool(
    function: DeclaredFunction, *, title: str | None, annotations: types.ToolAnnotations | None, seconds: float
) -> DeclaredTool:
    """Return the tool of a function."""
    listed = types.Tool(
        name=function.name,
        title=title,
        description=function.description,
        input_schema={"$schema": DRAFT, **function.metadata.arg_model.model_json_schema(by_alias=True)},
        output_schema=function.metadata.output_schema,
        annotations=annotations,
    )
    return DeclaredTool(function, listed.model_dump(by_alias=True, mode="json", exclude_none=True), seconds=seconds)


# --- resources


@dataclass(frozen=True, slots=True)
class DeclaredResource:
    """A resource, or all resources of a template for URIs (RFC 6570)."""

    function: DeclaredFunction
    uri: str
    template: UriTemplate | None
    mime_type: str

    @property
    def listed(self) -> dict[str, Any]:
        """Its entry in the list of resources, or in that of templates."""
        place = "uri" if self.template is None else "uriTemplate"
        told = {"name": self.function.name, "description": self.function.description, "mimeType": self.mime_type}
        return {place: self.uri, **told}

    def matched(self, uri: str) -> Mapping[str, Any] | None:
        """Return the arguments that a URI gives, None if it is not one of these.

        A policy judges the text of the URI. So each resource has one: `note://%73ecret` is not `note://secret`.

        Raises:
            UnfitArgumentsError: one of them leaves the place that it is meant for, as `..` or an absolute path does; or
                the template gives another URI for them (RFC 6570, section 3).
        """
        if self.template is None:
            return {} if uri == self.uri else None
        found = self.template.match(uri)
        if found is not None and (at := DEFAULT_RESOURCE_SECURITY.validate(found)) is not None:
            raise UnfitArgumentsError(f"BAD_ARGUMENTS: {at}: a path that leaves its place")
        if found is not None and self.template.expand(found) != uri:
            raise UnfitArgumentsError("BAD_ARGUMENTS: the URI is written in another way than its template writes it")
        return found

    def contents(self, uri: str, value: Any) -> dict[str, Any]:
        """Return the value that was read, by the names on the wire. Raises as the classes of the value do."""
        if isinstance(value, bytes):
            return {"uri": uri, "mimeType": self.mime_type, "blob": base64.b64encode(value).decode()}
        text = value if isinstance(value, str) else pydantic_core.to_json(value).decode()
        return {"uri": uri, "mimeType": self.mime_type, "text": text}


def declared_resource(function: DeclaredFunction, uri: str, mime_type: str | None) -> DeclaredResource:
    """Return the resource of a function. Raises MCPDeclarationError unless the URI names exactly its parameters."""
    try:
        template = UriTemplate.parse(uri)
    except InvalidUriTemplate as exc:
        raise MCPDeclarationError(f"{uri[:120]!r} is no template for URIs: {exc}") from exc
    wanted = set(function.parameters)
    named = set(template.variable_names)
    if named != wanted:
        raise MCPDeclarationError(
            f"{function.name} takes {sorted(wanted)}, and its URI names {sorted(named)}: they must be the same"
        )
    return DeclaredResource(function, uri, template if named else None, mime_type or "text/plain")


# --- prompts


def listed_prompt(function: DeclaredFunction) -> dict[str, Any]:
    """Return the entry of a prompt in the list of prompts."""
    arguments = [
        {"name": name, "required": one.is_required(), **({"description": one.description} if one.description else {})}
        for name, one in function.parameters.items()
    ]
    return {"name": function.name, "description": function.description, "arguments": arguments}


def messages_of(value: Any) -> list[dict[str, Any]]:
    """Return the messages of a prompt, by the names on the wire. Raises ValidationError, TypeError."""
    values: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    return [_message(one).model_dump(by_alias=True, mode="json", exclude_none=True) for one in values]


def _message(value: Any) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, Mapping):
        return message_validator.validate_python(dict(value))
    return UserMessage(value)
