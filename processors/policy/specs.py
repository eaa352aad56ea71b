"""Constraints on parameters as documents write them: `parameters` and `denied_parameters` (docs/mapl.md 3 and 4).

`parameter_checks` and `denials` hold calls against them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.json_types import (
    as_choice,
    as_flag,
    as_integer,
    as_list,
    as_number,
    as_object,
    as_text,
    document_order,
    pointer_to,
)
from processors.policy.paths import ANYWHERE, ParsedPath, parse_path
from processors.policy.patterns import check_pattern
from processors.policy.regexes import Regex, Regexes
from processors.proof.jcs import JSONValue

EVERYWHERE = "**"  # the operation key of a path in the short form

_BOUNDS = frozenset({"min", "max", "range"})
_TEXT_SIZES = {"min_length": "least_length", "max_length": "most_length"}
_LIST_SIZES = {"min_items": "least_items", "max_items": "most_items"}
_KEYWORDS = _BOUNDS | _TEXT_SIZES.keys() | _LIST_SIZES.keys() | {"allowed_values", "pattern", "type", "required"}
_NUMBERS = frozenset({"number", "integer"})
TYPES = _NUMBERS | {"string", "boolean", "array", "object"}
_SIZE_MAX = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterConstraint:
    """The constraint of one parameter of the operations that `opkey` meets; `pointer` is the place in the document.

    A field of None does not restrict. `allowed` of None lets any value but null pass, as far as the rest agrees.
    """

    opkey: str
    path: str
    pointer: str
    required: bool
    allowed: tuple[JSONValue, ...] | None
    type: str | None = None
    low: float | None = None
    high: float | None = None
    pattern: str | None = None
    least_length: int | None = None
    most_length: int | None = None
    least_items: int | None = None
    most_items: int | None = None
    place: ParsedPath = field(default=ParsedPath("", ()), compare=False, repr=False)
    regex: Regex | None = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str | None:
        """The type that a value must have: the one that is named, or that a keyword stands for."""
        if self.type is not None:
            return self.type
        if self.low is not None or self.high is not None:
            return "number"
        if self.pattern is not None or self.least_length is not None or self.most_length is not None:
            return "string"
        return "array" if self.least_items is not None or self.most_items is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeniedParameter:
    """Values that a parameter of the operations of `opkey` must not hold. `place` is None for the path `*`."""

    opkey: str
    path: str
    pointer: str
    items: tuple[JSONValue, ...]
    place: ParsedPath | None = field(compare=False, repr=False)


def parse_parameters(value: JSONValue, pointer: str, regexes: Regexes) -> tuple[ParameterConstraint, ...]:
    """Return the constraints of `parameters`, in document order.

    Raises:
        PolicyError: at the first fault in the order of the text.
    """
    found = [
        _constraint(opkey, path, spec, here, regexes)
        for opkey, path, spec, here in _members(as_object(value, pointer), pointer, denied=False)
    ]
    return tuple(sorted(found, key=_order))


def parse_denied_parameters(value: JSONValue, pointer: str) -> tuple[DeniedParameter, ...]:
    """Return the denials of `denied_parameters`, in document order.

    Raises:
        PolicyError: at the first fault in the order of the text.
    """
    found = [
        _denied(opkey, path, items, here)
        for opkey, path, items, here in _members(as_object(value, pointer), pointer, denied=True)
    ]
    return tuple(sorted(found, key=_order))


def _order(found: ParameterConstraint | DeniedParameter) -> tuple[bytes, bytes]:
    # In the short form the path stands where an operation key would.
    first, _, second = found.pointer.removeprefix("/constraints/").partition("/")[2].partition("/")
    return document_order(_name_of(first)), document_order(_name_of(second))


def _name_of(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")


# ---- operation keys, and the short form without them


def _members(members: dict[str, JSONValue], pointer: str, *, denied: bool) -> Iterator[tuple[str, str, JSONValue, str]]:
    """Yield (operation key, path, value, pointer)."""
    if len(members) > limits.OPKEYS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    short = 0
    for name, value in members.items():
        here = pointer_to(pointer, name)
        if _is_path(name, value, here, denied=denied):
            short += 1
            if short > limits.PATHS_MAX:
                raise PolicyError("E_LIMIT", pointer)
            yield EVERYWHERE, name, value, here
            continue
        check_pattern(name, here)
        paths = as_object(value, here)
        if len(paths) > limits.PATHS_MAX:
            raise PolicyError("E_LIMIT", here)
        for path, inner in paths.items():
            yield name, path, inner, pointer_to(here, path)


def _is_path(name: str, value: JSONValue, pointer: str, *, denied: bool) -> bool:
    """Return whether a key is a path of the short form (docs/mapl.md 3), not an operation key.

    Raises:
        PolicyError: E_PARAM_FORM; the key is neither.
    """
    if isinstance(value, list):
        if any(mark in name for mark in (":/" if denied else ":/*")):
            raise PolicyError("E_PARAM_FORM", pointer)
        return True
    if any(mark in name for mark in ":/*"):
        return False
    if not denied and isinstance(value, dict) and value.keys() <= _KEYWORDS:
        return True
    raise PolicyError("E_PARAM_FORM", pointer)


# ---- one path


def _constraint(opkey: str, path: str, spec: JSONValue, pointer: str, regexes: Regexes) -> ParameterConstraint:
    place = parse_path(path, pointer)
    read = _Spec(pointer, regexes)
    if isinstance(spec, list):
        read.allowed = _members_allowed(spec, pointer)
    else:
        read.read(as_object(spec, pointer))
    return ParameterConstraint(
        opkey=opkey,
        path=path,
        pointer=pointer,
        required=read.required,
        allowed=read.allowed,
        type=read.type,
        low=read.low,
        high=read.high,
        pattern=read.regex.pattern if read.regex else None,
        place=place,
        regex=read.regex,
        **read.sizes,
    )


class _Spec:
    """The keywords of one spec, read in the order of the text."""

    def __init__(self, pointer: str, regexes: Regexes) -> None:
        self._pointer = pointer
        self._regexes = regexes
        self.required = False
        self.allowed: tuple[JSONValue, ...] | None = None
        self.type: str | None = None
        self.low: float | None = None
        self.high: float | None = None
        self.regex: Regex | None = None
        self.sizes: dict[str, int] = {}

    def read(self, spec: dict[str, JSONValue]) -> None:
        """Take the keywords in. Raises PolicyError."""
        for keyword, value in spec.items():
            self._keyword(keyword, value, pointer_to(self._pointer, keyword))
        if not spec:
            raise PolicyError("E_SPEC_EMPTY", self._pointer)
        self._check_together(spec)

    def _keyword(self, keyword: str, value: JSONValue, here: str) -> None:
        match keyword:
            case "required":
                self.required = as_flag(value, here)
            case "allowed_values":
                self.allowed = _members_allowed(value, here)
            case "type":
                self.type = as_choice(value, here, TYPES)
            case "min":
                self.low = as_number(value, here)
            case "max":
                self.high = as_number(value, here)
            case "range":
                self._range(value, here)
            case "pattern":
                self.regex = self._regexes.compile(as_text(value, here), here)
            case "min_length" | "max_length":
                self.sizes[_TEXT_SIZES[keyword]] = as_integer(value, here, low=0, high=_SIZE_MAX)
            case "min_items" | "max_items":
                self.sizes[_LIST_SIZES[keyword]] = as_integer(value, here, low=0, high=_SIZE_MAX)
            case _:
                raise PolicyError("E_UNKNOWN_FIELD", here)

    def _range(self, value: JSONValue, here: str) -> None:
        ends = value if isinstance(value, list) else []
        if len(ends) != 2:
            raise PolicyError("E_TYPE", here, "an array of two numbers")
        self.low, self.high = (as_number(end, pointer_to(here, at)) for at, end in enumerate(ends))

    def _check_together(self, spec: dict[str, JSONValue]) -> None:
        kinds = [
            spec.keys() & _BOUNDS != set(),
            self.regex is not None or spec.keys() & _TEXT_SIZES.keys() != set(),
            spec.keys() & _LIST_SIZES.keys() != set(),
        ]
        named = [self.type in _NUMBERS, self.type == "string", self.type == "array"]
        clash = sum(kinds) > 1 or (
            self.type is not None and any(k and not n for k, n in zip(kinds, named, strict=True))
        )
        both_forms = "range" in spec and spec.keys() & {"min", "max"}
        pairs = [(self.low, self.high)]
        pairs += [(self.sizes.get(f"least_{what}"), self.sizes.get(f"most_{what}")) for what in ("length", "items")]
        crossed = any(low is not None and high is not None and low > high for low, high in pairs)
        if clash or both_forms or crossed:
            raise PolicyError("E_SPEC_CONFLICT", self._pointer)


def _members_allowed(value: JSONValue, pointer: str) -> tuple[JSONValue, ...]:
    members = as_list(value, pointer, items_max=limits.ENUM_MEMBERS_MAX)
    if not members:
        raise PolicyError("E_ENUM_EMPTY", pointer)
    for index, literal in enumerate(members):
        if isinstance(literal, str) and "*" in literal:
            check_pattern(literal, pointer_to(pointer, index))
    return tuple(members)


def _denied(opkey: str, path: str, value: JSONValue, pointer: str) -> DeniedParameter:
    place = None if path == ANYWHERE else parse_path(path, pointer)
    items = as_list(value, pointer, items_max=limits.ENUM_MEMBERS_MAX)
    for index, item in enumerate(items):
        if isinstance(item, str):
            _check_item(item, pointer_to(pointer, index))
    return DeniedParameter(opkey=opkey, path=path, pointer=pointer, items=tuple(items), place=place)


def _check_item(item: str, pointer: str) -> None:
    # Literals may be long; what is searched for is bounded like any other pattern.
    if ("*" in item or "?" in item) and len(item) > limits.PATTERN_CHARS_MAX:
        raise PolicyError("E_LIMIT", pointer)
