"""Call parameters become arguments that fit the function's annotations, or the call is refused before it runs.

Parameters are JSON, so these annotations can be met: `str`, `int`, `float` (any number; a boolean is not one), `bool`,
`None`, `Decimal` (a number), `Literal`, `Enum` (by value), `list`, `tuple`, `dict` and their kin in `collections.abc`,
unions, `TypedDict`, dataclasses, and classes with pydantic's `model_validate_json`, which are asked to be strict.
`Any`, `object` and no annotation take everything. Another annotation is refused when the tool is declared: a parameter
that looks checked but is not would be worse than an error.

Pydantic itself is not used: a host's installation stays small, and in its lax mode pydantic would take `"5"` for 5.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any

from processors.proof import jcs
from producers.tools.result_text import exception_text, place_text
from schemas import limits
from schemas.errors import InputError, MisuseError

PROBLEMS_MAX = 16  # of one call that the error names
WHY_CHARS_MAX = 200
# Of one call: nested unions could otherwise be tried in unboundedly many ways.
STEPS_MAX = 8 * limits.PARAMETERS_NODES_MAX

_QUALIFIERS = {typing.Annotated, typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", typing.Annotated)}
_JSON_NAMES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class AnnotationError(MisuseError):
    """An annotation cannot be met by JSON, or cannot be read."""


class ToolArgumentError(InputError):
    """The parameters of a call do not fit the function, which did not run: the caller's mistake."""

    def __init__(self, tool: str, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = [(at, why[:WHY_CHARS_MAX]) for at, why in problems[:PROBLEMS_MAX]]
        super().__init__(f"tool {tool!r}: {'; '.join(f'{at}: {why}' for at, why in self.problems)}")


class _MisfitError(Exception):
    """A value does not fit the annotation at its place."""

    def __init__(self, at: tuple[object, ...], why: str) -> None:
        super().__init__(why)
        self.at, self.why = at, why


class _Steps:
    """The work that is left for reading the parameters of one call."""

    def __init__(self) -> None:
        self.left = STEPS_MAX

    def take(self, at: tuple[object, ...]) -> None:
        self.left -= 1
        if self.left < 0:
            raise _MisfitError(at, "there are too many ways to read it")


_Read = Callable[[Any, tuple[object, ...], _Steps], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class ArgumentReader:
    """Makes an argument of a JSON value as one annotation says. `want` names the expected kind of value, for people."""

    want: str
    read: _Read

    def __call__(self, value: Any, at: tuple[object, ...], steps: _Steps) -> Any:
        steps.take(at)
        return self.read(value, at, steps)


def readers_of(function: Callable[..., object]) -> dict[str, ArgumentReader]:
    """Return the reader of each parameter of a function. Raises AnnotationError, which names the parameter."""
    readers = {}
    for name, parameter in inspect.signature(function).parameters.items():
        try:
            reader = _reader(resolved(parameter.annotation, function), {})
        except (AnnotationError, RecursionError) as exc:
            raise AnnotationError(f"the parameter {name!r}: {exc}") from exc
        readers[name] = _or_null(reader) if parameter.default is None else reader
    return readers


def bind(
    name: str, function: Callable[..., object], readers: Mapping[str, ArgumentReader], parameters: Mapping[str, object]
) -> inspect.BoundArguments:
    """Return the arguments of a tool's function for the parameters of a call, defaults filled in.

    Raises:
        ToolArgumentError: parameters are missing, unexpected, or do not fit their annotations; it names all of them.
    """
    signature = inspect.signature(function)
    steps, arguments, problems = _Steps(), dict[str, Any](), list[tuple[str, str]]()
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    for given, value in parameters.items():
        key = given if given in signature.parameters and given != rest else rest
        if key is None:
            problems.append((place_text((given,)), "unexpected"))
            continue
        try:
            arguments[given] = readers[key](value, (given,), steps)
        except _MisfitError as exc:
            problems.append((place_text(exc.at), exc.why))
    problems += [
        (place_text((one.name,)), "missing")
        for one in signature.parameters.values()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD and one.name not in parameters
    ]
    if problems:
        raise ToolArgumentError(name, problems)
    bound = signature.bind(**arguments)
    bound.apply_defaults()
    return bound


def resolved(annotation: object, function: Callable[..., object]) -> object:
    """Return an annotation with its names looked up where the function was written. Raises AnnotationError."""
    written = inspect.unwrap(getattr(function, "__func__", function))
    return _hints(types.SimpleNamespace(__annotations__={"it": annotation}), getattr(written, "__globals__", {}))["it"]


def _hints(of: object, names: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of, names, include_extras=True)
    except Exception as exc:
        raise AnnotationError(f"its annotation cannot be read: {exception_text(exc)}") from exc


def _misfit(want: str, value: object, at: tuple[object, ...]) -> _MisfitError:
    return _MisfitError(at, f"want {want}, got {_JSON_NAMES.get(type(value), type(value).__name__)}")


def _whole(value: Any, at: tuple[object, ...], _: _Steps) -> int:
    # 1e22 is a whole number too, and readers of JSON give a double for it.
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value)
    raise _misfit("a whole number", value, at)


def _exactly(want: str, *kinds: type, make: Callable[[Any], Any] = lambda value: value) -> ArgumentReader:
    def read(value: Any, at: tuple[object, ...], _: _Steps) -> Any:
        if type(value) not in kinds:
            raise _misfit(want, value, at)
        return make(value)

    return ArgumentReader(want, read)


_ANY = ArgumentReader("anything", lambda value, _at, _steps: value)
_NULL = _exactly("null", type(None))
_SIMPLE: dict[object, ArgumentReader] = {
    typing.Any: _ANY,
    object: _ANY,
    inspect.Parameter.empty: _ANY,
    None: _NULL,
    type(None): _NULL,
    bool: _exactly("a boolean", bool),
    int: ArgumentReader("a whole number", _whole),
    float: _exactly("a number", int, float, make=float),
    str: _exactly("a text", str),
    Decimal: _exactly("a number", int, float, make=lambda value: Decimal(repr(value))),
}


def _reader(annotation: Any, seen: dict[type, ArgumentReader]) -> ArgumentReader:
    """Return the reader of an annotation. `seen` are the classes that are being read: they may hold each other."""
    annotation = peeled(annotation)
    if type(annotation).__hash__ is None:  # a list or dict, say: not an annotation
        raise AnnotationError(f"JSON has no form for {annotation!r:.60}")
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    kind = origin or annotation
    if (isinstance(kind, type) and kind in _SIMPLE) or kind in (None, Any):
        return _SIMPLE[kind]
    if kind in {typing.Union, types.UnionType}:
        return _union([_reader(one, seen) for one in arguments])
    if kind is typing.Literal:
        return _one_of([(one.value if isinstance(one, Enum) else one, one) for one in arguments])
    if kind in _CONTAINERS:
        return _CONTAINERS[kind](arguments, seen)
    if not isinstance(annotation, type):
        raise AnnotationError(f"JSON has no form for {str(annotation)[:WHY_CHARS_MAX]}; Any takes every value")
    return seen[annotation] if annotation in seen else _class(annotation, seen)


def peeled(annotation: Any) -> Any:
    """Return an annotation without the parts that only name or qualify it."""
    while True:
        if typing.get_origin(annotation) in _QUALIFIERS:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # of Python 3.12
            annotation = annotation.__value__
        else:
            return annotation


def _class(cls: type, seen: dict[type, ArgumentReader]) -> ArgumentReader:
    if issubclass(cls, Enum):
        return _one_of([(one.value, one) for one in cls])
    if callable(getattr(cls, "model_validate_json", None)):
        return _model(cls)
    if issubclass(cls, dict) and hasattr(cls, "__required_keys__"):
        make: Callable[..., Any] = dict
        optional = {name for name, hint in _hints(cls).items() if not _is_required(cls, name, hint)}
        names: Iterable[str] = _hints(cls)
    elif dataclasses.is_dataclass(cls):
        fields = [one for one in dataclasses.fields(cls) if one.init]
        make, names = cls, [one.name for one in fields]
        missing = dataclasses.MISSING
        optional = {one.name for one in fields if one.default is not missing or one.default_factory is not missing}
    else:
        raise AnnotationError(
            f"JSON has no form for a {cls.__qualname__}: take a text, number, list, object, Enum or dataclass, and make"
            " it in the function"
        )
    members: dict[str, ArgumentReader] = {}
    want = f"an object that is a {cls.__name__}"

    def read(value: Any, at: tuple[object, ...], steps: _Steps) -> Any:
        return _read_object(want, make, members, optional, value, at, steps)

    seen[cls] = reader = ArgumentReader(want, read)
    hints = _hints(cls)
    members.update({name: _reader(hints[name], seen) for name in names})
    return reader


def _is_required(cls: Any, name: str, hint: object) -> bool:
    # `__required_keys__` is wrong where annotations are texts (python/cpython#97727).
    marked = typing.get_origin(hint)
    return marked is typing.Required or (marked is not typing.NotRequired and name in cls.__required_keys__)


def _read_object(
    want: str,
    make: Callable[..., Any],
    members: Mapping[str, ArgumentReader],
    optional: Collection[str],
    value: Any,
    at: tuple[object, ...],
    steps: _Steps,
) -> Any:
    if type(value) is not dict:
        raise _misfit(want, value, at)
    for name in value:
        if name not in members:
            raise _MisfitError((*at, name), "unexpected")
    for name in members:
        if name not in value and name not in optional:
            raise _MisfitError((*at, name), "missing")
    given = {name: members[name](one, (*at, name), steps) for name, one in value.items()}
    return _made(lambda: make(**given), at)


def _made(make: Callable[[], Any], at: tuple[object, ...]) -> Any:
    try:
        return make()
    except BaseException as exc:
        raise _MisfitError(at, f"it is refused ({exception_text(exc)})") from exc


def _model(cls: Any) -> ArgumentReader:
    def read(value: Any, at: tuple[object, ...], _: _Steps) -> Any:
        try:
            # As JSON: a strict model then takes texts for types that JSON lacks, and only numbers for numbers.
            return cls.model_validate_json(jcs.canonical(value), strict=True)
        except BaseException as exc:
            raise _model_misfit(exc, at) from exc

    return ArgumentReader(f"an object that is a {cls.__name__}", read)


def _model_misfit(exc: Any, at: tuple[object, ...]) -> _MisfitError:
    """Return the misfit for a model's error: the first place where the value does not fit."""
    try:
        first = exc.errors()[0]
        return _MisfitError((*at, *first["loc"]), str(first["msg"]))
    except Exception:  # noqa: BLE001 - it is no error of pydantic's kind
        return _MisfitError(at, f"it is refused ({exception_text(exc)})")


def _or_null(reader: ArgumentReader) -> ArgumentReader:
    """Return a reader that takes null too, for a parameter whose default is None (implicit Optional)."""
    return reader if reader is _ANY else _union([reader, _NULL])


def _union(readers: Sequence[ArgumentReader]) -> ArgumentReader:
    want = " or ".join(dict.fromkeys(one.want for one in readers))

    def read(value: Any, at: tuple[object, ...], steps: _Steps) -> Any:
        deepest: _MisfitError | None = None
        for reader in readers:
            try:
                return reader(value, at, steps)
            except _MisfitError as exc:
                if steps.left < 0:
                    raise
                if len(exc.at) > len(deepest.at if deepest else at):
                    deepest = exc
        raise deepest or _misfit(want, value, at)

    return ArgumentReader(want, read)


def _one_of(pairs: Sequence[tuple[Any, Any]]) -> ArgumentReader:
    """Return a reader that takes one of some values. `true` does not match 1, unlike in Python."""
    for value, _ in pairs:
        if type(value) not in _JSON_NAMES or type(value) in {list, dict}:
            raise AnnotationError(f"JSON has no form for the value {value!r:.60}")
    values = {_exact(value): made for value, made in reversed(pairs)}  # of an alias the first counts
    want = f"one of {', '.join(jcs.canonical(value).decode()[:60] for value, _ in pairs[:PROBLEMS_MAX])}"

    def read(value: Any, at: tuple[object, ...], _: _Steps) -> Any:
        if type(value) in {list, dict}:
            raise _misfit(want, value, at)
        if (key := _exact(value)) not in values:
            raise _MisfitError(at, f"want {want}")
        return values[key]

    return ArgumentReader(want, read)


def _exact(value: Any) -> tuple[type, Any]:
    return (float if type(value) is int else type(value)), value


def _list(arguments: Sequence[Any], seen: dict[type, ArgumentReader]) -> ArgumentReader:
    item = _reader(arguments[0], seen) if arguments else _ANY

    def read(value: Any, at: tuple[object, ...], steps: _Steps) -> list[Any]:
        if type(value) is not list:
            raise _misfit("a list", value, at)
        return [item(one, (*at, n), steps) for n, one in enumerate(value)]

    return ArgumentReader("a list", read)


def _tuple(arguments: Sequence[Any], seen: dict[type, ArgumentReader]) -> ArgumentReader:
    if not arguments or arguments[-1] is Ellipsis:
        some = _list(arguments[:1], seen)
        return ArgumentReader(some.want, lambda value, at, steps: tuple(some(value, at, steps)))
    items = [] if tuple(arguments) == ((),) else [_reader(one, seen) for one in arguments]
    want = f"a list of {len(items)}"

    def read(value: Any, at: tuple[object, ...], steps: _Steps) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(items):
            raise _MisfitError(at, f"want {want}")
        return tuple(item(one, (*at, n), steps) for n, (item, one) in enumerate(zip(items, value, strict=True)))

    return ArgumentReader(want, read)


def _dict(arguments: Sequence[Any], seen: dict[type, ArgumentReader]) -> ArgumentReader:
    name, member = (_reader(one, seen) for one in arguments) if arguments else (_ANY, _ANY)
    if arguments and arguments[0] not in {str, Any} and typing.get_origin(arguments[0]) is not typing.Literal:
        raise AnnotationError("the names in a JSON object are texts: annotate them with str or Literal")

    def read(value: Any, at: tuple[object, ...], steps: _Steps) -> dict[Any, Any]:
        if type(value) is not dict:
            raise _misfit("an object", value, at)
        return {name(key, (*at, key), steps): member(one, (*at, key), steps) for key, one in value.items()}

    return ArgumentReader("an object", read)


_CONTAINERS: dict[object, Callable[[Sequence[Any], dict[type, ArgumentReader]], ArgumentReader]] = {
    **dict.fromkeys((list, Sequence, MutableSequence, Collection, Iterable), _list),
    **dict.fromkeys((dict, Mapping, MutableMapping), _dict),
    tuple: _tuple,
}
