"""The report of a tool's result: the form in which a model reads it, so that verifiers of results read it, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

from processors.proof import jcs


def reported(value: Any) -> Any:
    """Return a value as JSON: objects of pydantic and dataclasses by their fields, all else by its text.

    An iterator is left as it is: to read it would use it up. Needs pydantic, which the frameworks bring.
    """
    from pydantic_core import to_jsonable_python

    if isinstance(value, Iterator | AsyncIterator | Awaitable):
        return value
    try:
        told = to_jsonable_python(value, fallback=str, bytes_mode="base64")
        jcs.canonical({"told": told})
    except (ValueError, TypeError, RecursionError):  # a cycle, a number or a text that JSON on the log does not take
        return str(value).encode("utf-8", "replace").decode()
    return told
