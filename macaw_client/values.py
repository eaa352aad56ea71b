"""Objects of other libraries as JSON: the parameters of a call, as a private copy that nothing else changes."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from schemas.limits import PARAMETERS_DEPTH_MAX

# Classes whose instances say "nothing was given" in the libraries of model providers.
_NOTHING = frozenset({"NotGiven", "Omit", "NotGivenType", "PydanticUndefinedType", "UndefinedType"})
_SHOWN_CHARS = 80


def json_of(value: object, name: str = "parameters") -> Any:
    """Return a value as JSON, copied: models, records and bytes (as base64) too. `name` is its place, for messages.

    A member that stands for "not given" is left out.

    Raises:
        TypeError: an object that JSON cannot say. The message has its place and its class, not its value.
        ValueError: a number that is not finite, or values within values too deep to be judged.
    """
    return _Copying(is_tolerant=False).of(value, name, 0)


def shown_json_of(value: object) -> Any:
    """Return a value as JSON for a record of the application: an object that JSON cannot say becomes its class."""
    return _Copying(is_tolerant=True).of(value, "metadata", 0)


# Copies of a class's own instances: a subclass may do anything when it is read.
_PLAIN: tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(bytes(value)).decode("ascii")),
    ((dt.date, dt.time), lambda value: value.isoformat()),
    (uuid.UUID, str),
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Copying:
    """One copy. If it is tolerant, it raises nothing."""

    is_tolerant: bool

    def of(self, value: object, name: str, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.of(value.value, name, depth + 1)
        if isinstance(value, float):
            return self._number(value, name)
        for kind, plain in _PLAIN:
            if isinstance(value, kind):
                return plain(value)
        if depth > PARAMETERS_DEPTH_MAX:
            return self._fault(ValueError(f"{name} is nested more than {PARAMETERS_DEPTH_MAX} deep"), value)
        return self._whole(value, name, depth)

    def _number(self, value: float, name: str) -> object:
        if not math.isfinite(value):
            return self._fault(ValueError(f"{name} is {value}: the log takes finite numbers alone"), value)
        return float(value)

    def _whole(self, value: object, name: str, depth: int) -> Any:
        """Return a value of several parts, or one of another library's class."""
        if isinstance(value, Mapping):
            return self._members(value, name, depth)
        if isinstance(value, list | tuple):
            return [self.of(one, f"{name}[{at}]", depth + 1) for at, one in enumerate(value)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
            return self._members(found, name, depth)
        if not isinstance(value, type) and callable(dump := getattr(value, "model_dump", None)):
            # As the libraries themselves send a model: only members that were set, under their names on the wire.
            return self.of(dump(mode="json", by_alias=True, exclude_unset=True), name, depth + 1)
        kind = type(value).__name__
        return self._fault(TypeError(f"{name} is a {kind[:_SHOWN_CHARS]}: give texts, numbers, lists and dicts"), value)

    def _members(self, value: Mapping[Any, object], name: str, depth: int) -> Any:
        found: dict[str, Any] = {}
        for key, one in value.items():
            if type(one).__name__ in _NOTHING:
                continue
            if not isinstance(key, str):
                if not self.is_tolerant:
                    raise TypeError(f"{name} has a key of the class {type(key).__name__}: JSON has texts alone as keys")
                found[str(key)[:_SHOWN_CHARS]] = self.of(one, name, depth + 1)
                continue
            text = str.__str__(key)
            found[text] = self.of(one, f"{name}.{text[:_SHOWN_CHARS]}", depth + 1)
        return found

    def _fault(self, exc: Exception, value: object) -> object:
        if not self.is_tolerant:
            raise exc
        return str(value) if isinstance(value, float) else f"<{type(value).__name__[:_SHOWN_CHARS]}>"


# ---- credentials: a provider's key is given as `api_key`, and credentials of a caller in the object `_metadata`. Both
# go as secrets of the call: the log has a salted digest, and policies see that they are there. A value of several parts
# goes as one text, because any part of it may be one.

API_KEY, METADATA = "api_key", "_metadata"
_TEXT = "$json"
# The paths of credentials; every tool of this package declares them.
SECRET_PATHS = (API_KEY, f"{API_KEY}.{_TEXT}", f"{METADATA}.{_TEXT}")


def covered(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return parameters as they are sent, and the paths of their credentials."""
    sent, paths = dict(parameters), []
    for name in (API_KEY, METADATA):
        value = sent.get(name)
        if value is None:
            continue
        if name == API_KEY and isinstance(value, str):
            paths.append(name)
            continue
        sent[name] = {_TEXT: json.dumps(value)}
        paths.append(f"{name}.{_TEXT}")
    return sent, tuple(paths)


def uncovered(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as a handler gets them."""
    given = dict(parameters)
    for name in (API_KEY, METADATA):
        value = given.get(name)
        if isinstance(value, dict) and value.keys() == {_TEXT} and isinstance(value[_TEXT], str):
            with contextlib.suppress(ValueError):  # a text of the sender's own stays as it came
                given[name] = json.loads(value[_TEXT])
    return given
