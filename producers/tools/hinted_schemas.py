"""JSON Schemas (draft 2020-12) of a tool's parameters and result, made of the type hints of its function.

The hints are those that `producers.tools.arguments` reads, and the schema takes exactly the values that it takes:

- `str`, `int`, `float`, `Decimal`, `bool`, `None`, `Literal`, `Enum` by value, `Any`;
- `list[T]` and its kin, `tuple[T, ...]` and `tuple[A, B]`, `dict[str, T]`, unions, `TypedDict`, dataclasses;
- `Annotated[T, {"maximum": 100, "x-macaw-risk": "money"}]` adds keywords of JSON Schema to the schema of T; it
  stands around a union, `Annotated[T | None, {...}]`, because Python cannot hash a dictionary inside one.

A parameter with a default is not required. `**rest: T` takes further members that fit T; without it they are refused.
Decimals, times, identifiers and paths in a result are texts, and sets are lists, as `result_text` writes them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from processors.content.schema_keywords import SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX
from processors.proof.jcs import JSONValue, MalformedJSONError, NotJSONError, canonical, parse_strict
from producers.tools.arguments import AnnotationError, resolved
from producers.tools.result_text import exception_text

_Schema = dict[str, Any]


class SchemaSource(Enum):
    """A place that a schema comes from, where it is not written out."""

    FROM_HINTS = "the function's type hints"


FROM_HINTS: Final = SchemaSource.FROM_HINTS
GivenSchema: TypeAlias = str | Mapping[str, Any] | Literal[SchemaSource.FROM_HINTS] | None


class HintedSchemaError(AnnotationError, TypeError):
    """A type hint has no JSON Schema, or a schema that was written out is not JSON; the message names the place."""


def schema_of(function: Callable[..., object]) -> str:
    """Return the JSON Schema of a function's parameters as canonical JSON (RFC 8785).

    Raises:
        HintedSchemaError: a hint has no schema; the message names the parameter.
    """
    members: dict[str, _Schema] = {}
    required: list[str] = []
    rest: _Schema | bool = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
            raise HintedSchemaError(f"the parameter {name!r} has no name in a call: make it one that is named")
        schema = _named(f"the parameter {name!r}", parameter.annotation, function, result=False)
        if parameter.kind is parameter.VAR_KEYWORD:
            rest = schema or True
            continue
        if parameter.default is parameter.empty:
            required.append(name)
        elif parameter.default is None:
            schema = _union([schema, {"type": "null"}])  # the reader takes null here too
        members[name] = schema
    whole: _Schema = {"type": "object", "properties": members, "additionalProperties": rest}
    return _text({**whole, "required": sorted(required)} if required else whole)


def result_schema_of(function: Callable[..., object]) -> str:
    """Return the JSON Schema of a function's result as canonical JSON (RFC 8785).

    Raises:
        HintedSchemaError: there is no return annotation, or it has no schema.
    """
    annotation = inspect.signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        raise HintedSchemaError("the result has no annotation: annotate it, or write the schema out")
    return _text(_named("the result", annotation, function, result=True))


def declared_schema(given: GivenSchema, of_hints: Callable[[], str]) -> str | None:
    """Return the canonical text of a schema as `@tool` takes it, None for none.

    Raises:
        HintedSchemaError: it is not a JSON object, or `of_hints` raises.
    """
    if given is None:
        return None
    if given is FROM_HINTS:
        return of_hints()
    try:
        if isinstance(given, str):
            value: object = parse_strict(given.encode(), depth_max=SCHEMA_DEPTH_MAX)
        else:
            value = dict(given)
        if not isinstance(value, dict):
            raise HintedSchemaError("a schema is a JSON object: write one with `type` and `properties`")
        return _text(value)
    except (MalformedJSONError, NotJSONError, UnicodeEncodeError) as exc:
        raise HintedSchemaError(f"the schema is not JSON ({exception_text(exc)}): correct its text") from exc


def _named(place: str, annotation: object, function: Callable[..., object], *, result: bool) -> _Schema:
    try:
        return _Reading(result=result).schema(resolved(annotation, function))
    except (AnnotationError, NotJSONError, RecursionError) as exc:
        raise HintedSchemaError(f"{place}: {exc}") from exc


def _text(schema: _Schema) -> str:
    try:
        data = canonical(schema)
    except NotJSONError as exc:
        raise HintedSchemaError(f"the schema is not JSON ({exc.cause}): use texts, numbers, lists and objects") from exc
    if len(data) > SCHEMA_BYTES_MAX:
        raise HintedSchemaError(
            f"the schema has {len(data)} bytes, at most {SCHEMA_BYTES_MAX} are taken: use fewer or simpler types"
        )
    return data.decode()


_SIMPLE: Mapping[object, str] = {
    bool: "boolean", int: "integer", float: "number", str: "string", Decimal: "number", None: "null",
    type(None): "null",
}  # fmt: skip
_TEXTS = (Decimal, dt.date, dt.time, UUID, PurePath)  # as `result_text` writes them; a datetime is a date
_LISTS = frozenset({list, Sequence, MutableSequence, Collection, Iterable})
_SETS = frozenset({set, frozenset, AbstractSet})
_OBJECTS = frozenset({dict, Mapping, MutableMapping})
_ANYTHING = frozenset({Any, object, inspect.Parameter.empty})
_PRESENCE = {typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", typing.Required)}


class _Reading:
    """One hint that is read. `inside` are the classes that it is within: none may hold itself."""

    def __init__(self, *, result: bool) -> None:
        self.result = result
        self.inside: list[type] = []

    def schema(self, hint: Any) -> _Schema:
        hint, constraints = _peeled(hint)
        schema = self._plain(hint)
        both = sorted(schema.keys() & constraints.keys())
        if both:
            raise HintedSchemaError(f"its hint gives `{both[0]}` already: leave it out of Annotated")
        return {**schema, **constraints}

    def _plain(self, hint: Any) -> _Schema:
        if type(hint).__hash__ is None:
            raise HintedSchemaError(f"JSON has no form for {hint!r:.60}")
        kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        single = self._single(kind)
        if single is not None:
            return single
        if kind in {typing.Union, types.UnionType}:
            return _union([self.schema(one) for one in arguments])
        if kind is Literal:
            return _one_of([one.value if isinstance(one, Enum) else one for one in arguments])
        return self._container(kind, arguments)

    def _single(self, kind: Any) -> _Schema | None:
        if kind in _ANYTHING:
            return {}
        if self.result and isinstance(kind, type) and issubclass(kind, _TEXTS):
            return {"type": "string"}
        return {"type": _SIMPLE[kind]} if kind in _SIMPLE else None

    def _container(self, kind: Any, arguments: tuple[Any, ...]) -> _Schema:
        if kind in _LISTS or (self.result and kind in _SETS):
            return _array(self.schema(arguments[0]) if arguments else {})
        if kind is tuple:
            return self._tuple(arguments)
        if kind in _OBJECTS:
            return self._mapping(arguments)
        if not isinstance(kind, type):
            raise HintedSchemaError(f"JSON Schema has no form for {str(kind)[:120]}; Any takes every value")
        return self._class(kind)

    def _tuple(self, arguments: tuple[Any, ...]) -> _Schema:
        if not arguments or arguments[-1] is Ellipsis:
            return _array(self.schema(arguments[0]) if arguments else {})
        parts = [] if arguments == ((),) else [self.schema(one) for one in arguments]
        whole: _Schema = {"type": "array", "items": False, "minItems": len(parts)}
        return {**whole, "prefixItems": parts} if parts else whole

    def _mapping(self, arguments: tuple[Any, ...]) -> _Schema:
        if not arguments:
            return {"type": "object"}
        names = self.schema(arguments[0])
        if names and names != {"type": "string"} and set(names) != {"enum"}:
            raise HintedSchemaError("the names in a JSON object are texts: annotate them with str or Literal")
        whole: _Schema = {"type": "object"}
        if "enum" in names:
            whole["propertyNames"] = names
        member = self.schema(arguments[1])
        return {**whole, "additionalProperties": member} if member else whole

    def _class(self, cls: Any) -> _Schema:
        if issubclass(cls, Enum):
            return _one_of([one.value for one in cls])
        hints, optional = _members(cls, result=self.result)
        if cls in self.inside:
            raise HintedSchemaError(f"{cls.__qualname__} holds itself, and a recursive schema is not judged: use Any")
        self.inside.append(cls)
        members = {}
        for name, hint in hints.items():
            try:
                members[name] = self.schema(hint)
            except HintedSchemaError as exc:
                raise HintedSchemaError(f"{cls.__qualname__}.{name}: {exc}") from exc
        self.inside.pop()
        whole: _Schema = {"type": "object", "properties": members, "additionalProperties": False}
        required = sorted(name for name in members if name not in optional)
        return {**whole, "required": required} if required else whole


def _peeled(hint: Any) -> tuple[Any, _Schema]:
    """Return a hint without the parts that only name or qualify it, and the keywords that it adds."""
    constraints: _Schema = {}
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            hint, *added = typing.get_args(hint)
            for one in added:
                if isinstance(one, Mapping):
                    constraints.update(one)
        elif origin in _PRESENCE:
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # of Python 3.12
            hint = hint.__value__
        else:
            return hint, constraints


def _members(cls: Any, *, result: bool) -> tuple[dict[str, Any], set[str]]:
    """Return the hints of a class's members, and the names that may be missing."""
    if issubclass(cls, dict) and hasattr(cls, "__required_keys__"):
        hints = _class_hints(cls)
        return hints, {name for name, hint in hints.items() if not _is_required(cls, name, hint)}
    if dataclasses.is_dataclass(cls):
        hints, missing = _class_hints(cls), dataclasses.MISSING
        fields = [one for one in dataclasses.fields(cls) if one.init or result]
        given = {one.name for one in fields if one.default is not missing or one.default_factory is not missing}
        return {one.name: hints[one.name] for one in fields}, set() if result else given
    raise HintedSchemaError(
        f"JSON Schema has no form for a {cls.__qualname__}: take a text, number, list, object, Enum or dataclass, or"
        " write the schema out"
    )


def _class_hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception as exc:
        raise HintedSchemaError(f"the hints of {cls.__qualname__} cannot be read: {exception_text(exc)}") from exc


def _is_required(cls: Any, name: str, hint: object) -> bool:
    # `__required_keys__` is wrong where annotations are texts (python/cpython#97727).
    marked = typing.get_origin(hint)
    return marked is typing.Required or (marked is not typing.NotRequired and name in cls.__required_keys__)


def _array(items: _Schema) -> _Schema:
    return {"type": "array", "items": items} if items else {"type": "array"}


def _one_of(values: Sequence[object]) -> _Schema:
    for value in values:
        if value is not None and type(value) not in {str, int, float, bool}:
            raise HintedSchemaError(f"JSON has no form for the value {value!r:.60}")
    distinct = {_text({"": value}): value for value in values}
    return {"enum": list[JSONValue](typing.cast("Iterable[JSONValue]", distinct.values()))}


def _union(schemas: Sequence[_Schema]) -> _Schema:
    """Return the schema of a union. That of T or null has the keywords of T at its own place if it can."""
    if not all(schemas):
        return {}
    distinct = list({canonical(one): one for one in schemas}.values())
    if all(set(one) == {"type"} for one in distinct):
        kinds = sorted({kind for one in distinct for kind in _kinds(one)})
        return {"type": kinds[0] if len(kinds) == 1 else kinds}
    others = [one for one in distinct if one != {"type": "null"}]
    if len(others) == 1 and len(others) < len(distinct):
        [only] = others
        if "type" in only and not only.keys() & {"enum", "const", "not", "anyOf", "allOf", "oneOf", "if"}:
            return {**only, "type": sorted({*_kinds(only), "null"})}
        if set(only) <= {"enum", "x-macaw-risk"} and "enum" in only:
            return {**only, "enum": [*only["enum"], *([] if None in only["enum"] else [None])]}
    return {"anyOf": distinct}


def _kinds(schema: _Schema) -> list[str]:
    kind = schema["type"]
    return [kind] if isinstance(kind, str) else list(kind)
