"""The return annotation of a function, checked when its tool is declared: a type that can never be JSON is refused.

Only certain cases are refused. A result that has no JSON form after all is named at its place, in its report.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import io
import numbers
import types
import typing
from collections import abc
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

from producers.tools.arguments import AnnotationError, peeled, resolved

_NEVER = (
    *(bytes, bytearray, memoryview, complex, Fraction, dt.timedelta, type),
    *(abc.Iterator, abc.AsyncIterable, types.FunctionType, io.IOBase, typing.IO),
    *(types.ModuleType, BaseException),
)
_CALLABLE: object = abc.Callable
_WRITTEN = (
    *(str, int, float, bool, type(None), Decimal, dt.date, dt.time, UUID, PurePath, Enum),
    *(numbers.Integral, numbers.Real, abc.Mapping, abc.Sequence, abc.Set, abc.ValuesView),
)


def check_result(function: Callable[..., object]) -> None:
    """Check that a function can return something that a report can say. Raises AnnotationError."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise AnnotationError(
            "it is a generator, so calling it does nothing yet: return a list, or say @tool(streams=True)"
        )
    annotation = inspect.signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        return
    try:
        annotation = resolved(annotation, function)
    except AnnotationError:
        return  # it may be a name for the type checker only
    if (never := _never(annotation)) is not None:
        raise AnnotationError(f"it returns {_told(never)}, which has no JSON form: return a value that JSON has")


def _never(annotation: Any) -> object | None:
    """Return the part of an annotation of which no value has a JSON form, None where there is none."""
    annotation = peeled(annotation)
    kind, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    parts = [_never(one) for one in arguments]
    if kind is typing.Union or kind is types.UnionType:
        return None if None in parts else parts[0]
    if not isinstance(kind, type) or kind in (object, Any):
        return None
    if kind is not _CALLABLE and not issubclass(kind, _NEVER):
        if issubclass(kind, abc.Mapping | abc.Set | abc.Sequence):
            return next((part for part in parts if part is not None), None)
        has_form = issubclass(kind, _WRITTEN) or dataclasses.is_dataclass(kind) or hasattr(kind, "model_dump")
        if has_form or inspect.isabstract(kind) or getattr(kind, "_is_protocol", False):
            return None
    never: object = annotation
    return never


def _told(annotation: object) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
