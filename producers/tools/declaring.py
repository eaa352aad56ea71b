"""Declaring tools: a tool is a plain function that its author marked, found and bound by name.

A function marked with `tool` stays callable as it is. The mark holds only facts that the host cannot read from the
function itself. Nothing here knows a broker, a signature or a policy: those live in the tool host.
"""

import copy
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, overload

from producers.tools.arguments import AnnotationError, ArgumentReader, bind, readers_of
from producers.tools.attesting import AttestationError, Terms, check_declared
from producers.tools.hinted_schemas import GivenSchema, declared_schema, result_schema_of, schema_of
from producers.tools.importing import ToolDeclarationError, module_in
from producers.tools.return_types import check_result
from schemas import limits

P = ParamSpec("P")
R = TypeVar("R")

TIMEOUT_SECONDS_DEFAULT = 30.0

EVERY_TEXT = "*"

_MARK = "__macaw_tool__"
_CALL: ContextVar[str] = ContextVar("macaw_idempotency_key")
# The name becomes the last segment of a resource, so it may hold neither a separator nor a wildcard.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFunction:
    """One callable tool, with the facts that its host needs to offer it."""

    name: str
    description: str
    function: Callable[..., object]
    readers: Mapping[str, ArgumentReader]
    timeout_seconds: float = TIMEOUT_SECONDS_DEFAULT
    idempotent: bool = False
    is_async: bool
    attests: tuple[str, ...] = ()
    auto_attest: Mapping[str, Terms] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    takes_all: bool = False  # the function takes the parameters as one dictionary
    bodies: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    maskable: tuple[str, ...] = ()
    streams: bool = False
    input_schema: str | None = None
    output_schema: str | None = None

    @property
    def body_paths(self) -> tuple[str, ...]:
        """The paths of texts that may travel beside a call."""
        return (*self.bodies, *self.secrets)

    @property
    def opaque_paths(self) -> tuple[str, ...]:
        """Those of them that always do, and are present for policies."""
        return self.secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    name: str | None
    description: str | None
    timeout_seconds: float
    idempotent: bool
    attests: tuple[str, ...]
    auto_attest: Mapping[str, Mapping[str, Any]]
    prompts: tuple[str, ...]
    bodies: tuple[str, ...]
    secrets: tuple[str, ...]
    maskable: tuple[str, ...]
    streams: bool
    input_schema: GivenSchema
    output_schema: GivenSchema


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS_DEFAULT,
    idempotent: bool = False,
    attests: Sequence[str] = (),
    auto_attest: Mapping[str, Mapping[str, Any]] | None = None,
    prompts: Sequence[str] = (),
    bodies: Sequence[str] = (),
    secrets: Sequence[str] = (),
    maskable: Sequence[str] = (),
    streams: bool = False,
    input_schema: GivenSchema = None,
    output_schema: GivenSchema = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS_DEFAULT,
    idempotent: bool = False,
    attests: Sequence[str] = (),
    auto_attest: Mapping[str, Mapping[str, Any]] | None = None,
    prompts: Sequence[str] = (),
    bodies: Sequence[str] = (),
    secrets: Sequence[str] = (),
    maskable: Sequence[str] = (),
    streams: bool = False,
    input_schema: GivenSchema = None,
    output_schema: GivenSchema = None,
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function or method as a tool and return it unchanged.

    The name defaults to the function's own, the description to the first paragraph of its docstring.
    `idempotent` promises that running the same call twice does no more than running it once. Such a call is run again,
    with the same `idempotency_key`, where its instance died before it had reported; any other call never is.

    `attests` names the attestation keys that the function may set (`context`), `auto_attest` those
    that are set whenever it ends well, each with `value`, `one_time`, `max_uses` and `ttl_seconds` where they differ
    from True, False, any number and for ever. `prompts` names parameters that are texts for a model: a call must
    bring an authenticated prompt for each. `bodies` names paths of texts that may be large, and travel beside
    the call then; `*` is every text. `secrets` names those that always do: policies see only their presence.
    `maskable` names paths of parameters at which policies may have values replaced by tokens; `*` is every parameter.
    `streams`: the function is a generator, and each item that it yields goes to the caller at once.
    `input_schema` and `output_schema` are JSON Schemas (draft 2020-12) of parameters and result, or `FROM_HINTS`.
    """
    mark = _Mark(
        name=name,
        description=description,
        timeout_seconds=timeout_seconds,
        idempotent=idempotent,
        attests=_listed(attests),
        auto_attest=dict(auto_attest or {}),
        prompts=_listed(prompts),
        bodies=_listed(bodies),
        secrets=_listed(secrets),
        maskable=_listed(maskable),
        streams=streams,
        input_schema=input_schema,
        output_schema=output_schema,
    )

    def put(target: Callable[P, R]) -> Callable[P, R]:
        setattr(target, _MARK, mark)
        return target

    return put if function is None else put(function)


def _listed(names: Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def idempotency_key() -> str:
    """Return the key of the present call: 64 hexadecimal digits, the same whenever this call is run.

    It is the digest of the call that the caller signed, so neither the monitor nor the host can choose it. Threads that
    the tool starts itself do not see it.

    Raises:
        LookupError: no call runs here.
    """
    try:
        return _CALL.get()
    except LookupError:
        raise LookupError("no tool call runs in this context: there is no idempotency key") from None


@contextmanager
def calling(key: str) -> Iterator[None]:
    """Let `idempotency_key` return `key` until the block ends."""
    before = _CALL.set(key)
    try:
        yield
    finally:
        _CALL.reset(before)


def collect_tools(source: object) -> tuple[ToolFunction, ...]:
    """Return the tools of a module or of an object, in the order in which they were written.

    Of a module only its own functions count, not imported ones; of an object its bound methods, those of its base
    classes first.

    Raises:
        ToolDeclarationError: there is none, a name is declared twice, or a declaration is unusable.
    """
    return _distinct(_marked(source), origin=_describe(source))


def load_tools(spec: str) -> tuple[ToolFunction, ...]:
    """Import the module or file in `spec` and collect its tools.

    `spec` is `package.module` or a path that ends in `.py`, alone or followed by `:attribute`. An attribute that is a
    class or an unmarked function is called without arguments and its answer is collected.

    Raises:
        ToolDeclarationError: there is no such module, file or attribute, or it holds no usable tool.
    """
    module, attribute = module_in(spec)
    return collect_tools(_attribute(module, attribute) if attribute else module)


def bind_arguments(tool: ToolFunction, parameters: Mapping[str, object]) -> inspect.BoundArguments:
    """Return the arguments of the tool's function for `parameters`, defaults filled in.

    Raises:
        ToolArgumentError: parameters are missing, unexpected, or do not fit their annotations; it names all of them.
    """
    if tool.takes_all:
        # A copy of its own: the function may change it, and nothing else reads it afterwards.
        return _TAKES_ALL.bind(copy.deepcopy(dict(parameters)))
    return bind(tool.name, tool.function, tool.readers, parameters)


def _handler(parameters: dict[str, object], /) -> object:
    """The shape of a function that takes all parameters as one."""
    raise NotImplementedError


_TAKES_ALL = inspect.signature(_handler)


def _marked(source: object) -> Iterator[tuple[Callable[..., object], _Mark]]:
    """Yield the marked callables of `source` with their marks, without running any property of it."""
    for value, mark in _candidates(source):
        if mark is not None:
            found = getattr(source, value) if isinstance(value, str) else value
            assert callable(found)
            yield found, mark


def _candidates(source: object) -> Iterator[tuple[object, _Mark | None]]:
    """Yield values, or the names of an object's attributes, with the mark that each of them bears."""
    if isinstance(source, ModuleType):
        own = (value for value in vars(source).values() if _module_of(value) == source.__name__)
        yield from ((value, _mark_of(value)) for value in own)
    elif inspect.isroutine(source):
        yield source, _mark_of(source)
    else:
        names = dict.fromkeys(name for cls in reversed(type(source).__mro__) for name in vars(cls))
        yield from ((name, _mark_of(inspect.getattr_static(source, name))) for name in names)


def _distinct(marked: Iterable[tuple[Callable[..., object], _Mark]], *, origin: str) -> tuple[ToolFunction, ...]:
    tools: dict[str, ToolFunction] = {}
    for function, mark in marked:
        found = _tool_function(function, mark)
        if found.name in tools:
            raise ToolDeclarationError(f"{origin} declares the tool {found.name!r} twice")
        tools[found.name] = found
    if not tools:
        raise ToolDeclarationError(f"{origin} declares no tool: mark a function with @tool")
    return tuple(tools.values())


def _tool_function(function: Callable[..., object], mark: _Mark) -> ToolFunction:
    name = _checked_name(str(getattr(function, "__name__", "")) if mark.name is None else mark.name)
    _check_parameters(name, function)
    if not (math.isfinite(mark.timeout_seconds) and mark.timeout_seconds > 0):
        raise ToolDeclarationError(
            f"tool {name!r}: the timeout must be a positive number of seconds, got {mark.timeout_seconds}"
        )
    description = _first_paragraph(function) if mark.description is None else mark.description
    if len(description) > limits.DESCRIPTION_CHARS_MAX:
        raise ToolDeclarationError(
            f"tool {name!r}: the description has {len(description)} characters, at most {limits.DESCRIPTION_CHARS_MAX}"
            " are taken: give a shorter one with @tool(description=…), or shorten the docstring's first paragraph"
        )
    if mark.streams and mark.idempotent:
        raise ToolDeclarationError(f"tool {name!r}: a stream is never begun again, so it cannot be idempotent")
    attests, terms = _attestations(name, mark)
    try:
        readers = readers_of(function)
        if not mark.streams:  # else each item is checked as it comes
            check_result(function)
        parameters_schema = declared_schema(mark.input_schema, lambda: schema_of(function))
        result_schema = declared_schema(mark.output_schema, lambda: result_schema_of(function))
    except AnnotationError as exc:
        raise ToolDeclarationError(f"tool {name!r}: {exc}") from exc
    return ToolFunction(
        name=name,
        description=description,
        function=function,
        readers=readers,
        timeout_seconds=mark.timeout_seconds,
        idempotent=mark.idempotent,
        is_async=inspect.iscoroutinefunction(function),
        attests=attests,
        auto_attest=terms,
        prompts=_checked_paths(name, function, mark.prompts, "prompt"),
        bodies=_checked_paths(name, function, [one for one in mark.bodies if one not in mark.secrets], "body"),
        secrets=_checked_paths(name, function, mark.secrets, "secret"),
        maskable=_checked_paths(name, function, mark.maskable, "maskable path"),
        streams=mark.streams,
        input_schema=parameters_schema,
        output_schema=result_schema,
    )


def _attestations(name: str, mark: _Mark) -> tuple[tuple[str, ...], dict[str, Terms]]:
    """Return the keys that a tool declares to attest, and the automatic ones. Raises ToolDeclarationError."""
    if len(mark.auto_attest) > limits.ATTESTATIONS_PER_REPORT_MAX:
        raise ToolDeclarationError(f"tool {name!r}: a call attests at most {limits.ATTESTATIONS_PER_REPORT_MAX} keys")
    try:
        check_declared(mark.attests)
        terms = {key: Terms.read(key, given) for key, given in mark.auto_attest.items()}
    except AttestationError as exc:
        raise ToolDeclarationError(f"tool {name!r}: {exc}") from exc
    return tuple(dict.fromkeys((*mark.attests, *terms))), terms


def _checked_paths(name: str, function: Callable[..., object], paths: Sequence[str], what: str) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}
    for path in paths:
        # A path begins with the name of a parameter.
        anywhere = path == EVERY_TEXT and what != "prompt"
        if not (open_ended or anywhere or re.split(r"[.\[]", path, maxsplit=1)[0] in names):
            raise ToolDeclarationError(f"tool {name!r}: it has no parameter for the {what} {path[:60]!r}")
    return tuple(dict.fromkeys(paths))


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ToolDeclarationError(
            f"{name[:60]!r} cannot name a tool: use letters, digits, '_', '.' or '-', starting with a letter or '_'"
        )
    return name


def _check_parameters(name: str, function: Callable[..., object]) -> None:
    # A call carries a JSON object, so every parameter must be reachable by its name.
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolDeclarationError(
                f"tool {name!r}: the parameter {parameter.name!r} is positional-only, but calls name their parameters"
            )
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise ToolDeclarationError(
                f"tool {name!r}: '*{parameter.name}' takes unnamed values, but calls name their parameters"
            )


def _first_paragraph(function: Callable[..., object]) -> str:
    text = inspect.getdoc(function) or ""
    return " ".join(text.split("\n\n", 1)[0].split())


def _mark_of(value: object) -> _Mark | None:
    if not inspect.isroutine(value):
        return None
    # The mark may sit on a static or class method, or on the function inside it.
    marks = (getattr(one, _MARK, None) for one in (value, getattr(value, "__func__", None)))
    return next((mark for mark in marks if isinstance(mark, _Mark)), None)


def _module_of(value: object) -> str | None:
    return getattr(value, "__module__", None)


def _describe(source: object) -> str:
    if isinstance(source, ModuleType):
        return f"module {source.__name__!r}"
    return f"{type(source).__name__!r} object"


def _attribute(module: ModuleType, name: str) -> object:
    try:
        value: object = getattr(module, name)
    except AttributeError as exc:
        raise ToolDeclarationError(f"module {module.__name__!r} has no attribute {name!r}") from exc
    is_factory = inspect.isclass(value) or (inspect.isroutine(value) and not _mark_of(value))
    return value() if is_factory and callable(value) else value
