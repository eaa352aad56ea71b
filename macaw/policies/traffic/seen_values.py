"""Constraints that let the seen values of parameters pass, and as little else as can be said from them.

few distinct values of a place     `allowed_values`, each as it was seen; texts with stars as a `pattern`
many numbers                       `type`, `min` and `max`
many texts, or a long one          `type`, `min_length` and `max_length`
many lists, of other values        `type`, `min_items` and `max_items`; their items are not bounded
values of several types            nothing but the name, and the place is told as open
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from processors.policy.limits import PATHS_MAX, REGEX_CHARS_MAX
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.forms import nfc
from schemas.errors import InputError

DISTINCT_MAX = 8  # values of one place that are listed one by one
LISTED_CHARS_MAX = 128  # of a value that a policy lists: longer ones are texts of people, and stay on the log alone
_UNSAFE = re.compile(r"[.\[\]*]")
_WORD = re.compile(r"[A-Za-z0-9_]")


class UnnameableError(InputError):
    """A parameter has a name that no path of a policy can name."""


@dataclass(slots=True)
class SeenPlace:
    """The values that calls had at one place, distinct ones by their canonical JSON."""

    calls: int = 0
    values: dict[bytes, JSONValue] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    low: float = 0  # of numbers, of code points of texts, or of items of lists
    high: float = 0
    is_long: bool = False

    def see(self, value: JSONValue) -> None:
        """Note a value."""
        size = _size(value)
        self.low, self.high = (size, size) if not self.calls else (min(self.low, size), max(self.high, size))
        self.calls += 1
        self.kinds.add(_kind(value))
        written = jcs.canonical(value)
        self.is_long = self.is_long or len(written) > LISTED_CHARS_MAX
        if len(self.values) <= DISTINCT_MAX and not self.is_long:
            self.values[written] = value

    def spec(self, calls: int) -> dict[str, Any] | None:
        """Return the constraint of this place among so many calls, None if nothing but the name can be said."""
        bound = self._listed() if len(self.values) <= DISTINCT_MAX and not self.is_long else self._range()
        if bound is None:
            return None
        if self.calls == calls and "null" not in self.kinds:
            bound["required"] = True
        return bound

    def _listed(self) -> dict[str, Any] | None:
        texts = [value for value in self.values.values() if isinstance(value, str)]
        if not any("*" in text for text in texts):
            return {"allowed_values": [value for _, value in sorted(self.values.items())]}
        # A star in a list of values would meet other texts.
        pattern = "|".join(sorted(map(_escaped, texts)))
        if self.kinds != {"string"} or len(pattern) > REGEX_CHARS_MAX:
            return self._range()
        return {"type": "string", "pattern": pattern}

    def _range(self) -> dict[str, Any] | None:
        match sorted(self.kinds):
            case ["integer"] | ["number"] | ["integer", "number"]:
                kind = "integer" if self.kinds == {"integer"} else "number"
                return {"type": kind, "min": self.low, "max": self.high}
            case ["string"]:
                return {"type": "string", "min_length": int(self.low), "max_length": int(self.high)}
            case ["array"]:
                return {"type": "array", "min_items": int(self.low), "max_items": int(self.high)}
            case ["boolean"]:
                return {"type": "boolean"}
            case _:
                return None


@dataclass(slots=True)
class SeenParameters:
    """The parameters of the calls of one resource by one principal."""

    calls: int = 0
    places: dict[str, SeenPlace] = field(default_factory=dict)

    def see(self, parameters: Mapping[str, JSONValue]) -> None:
        """Note the parameters of one call. Raises UnnameableError, and has noted nothing."""
        found = list(_leaves(parameters, ""))
        if len(found) + len(self.places) > PATHS_MAX and len({*self.places, *(path for path, _ in found)}) > PATHS_MAX:
            raise UnnameableError(f"its calls have more than {PATHS_MAX} parameters")
        self.calls += 1
        for path, value in found:
            self.places.setdefault(path, SeenPlace()).see(value)

    def paths(self) -> list[str]:
        """Return the places that a call may have, for `allowed_parameters`."""
        return sorted(self.places)

    def specs(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return the constraint of each place, and the places without one."""
        found: dict[str, dict[str, Any]] = {}
        open_places = []
        for path, place in sorted(self.places.items()):
            spec = None if self._is_around_another(path) else place.spec(self.calls)
            if spec is None:
                open_places.append(path)
            else:
                found[path] = spec
        return found, open_places

    def _is_around_another(self, path: str) -> bool:
        """Return whether a place is an object in some calls and has a value in others: no constraint fits both."""
        return any(
            other != path and (other.startswith(f"{path}.") or path.startswith(f"{other}.")) for other in self.places
        )


def _leaves(value: Mapping[str, JSONValue], above: str) -> Iterator[tuple[str, JSONValue]]:
    """Yield each place with its value. Objects are entered, lists are values. Raises UnnameableError."""
    for name, one in value.items():
        if not name or _UNSAFE.search(name) or nfc(name) != name or not name.isprintable() or name != name.strip():
            raise UnnameableError("a parameter has a name that no path of a policy can name")
        path = f"{above}{name}"
        if isinstance(one, dict) and one:
            yield from _leaves(one, f"{path}.")
        else:
            yield path, one


def _kind(value: JSONValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "integer" if float(value).is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"


def _size(value: JSONValue) -> float:
    if isinstance(value, bool) or value is None:
        return 0
    if isinstance(value, (int, float)):
        return value
    return len(nfc(value)) if isinstance(value, str) else len(value)


def _escaped(text: str) -> str:
    return "".join(one if _WORD.fullmatch(one) else f"\\x{{{ord(one):x}}}" for one in nfc(text))
