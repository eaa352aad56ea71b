"""Attestation requirements and their meta as documents write them (docs/mapl.md 1 and 8)."""

from dataclasses import dataclass, field

from tests.reference.mapl.expressions import Node, parse_expression
from tests.reference.mapl.fields import (
    array_of,
    boolean_of,
    criterion_of,
    integer_of,
    key_of,
    number_of,
    object_of,
    patterns_of,
    string_of,
    text_of,
)
from tests.reference.mapl.refusals import RefusedError, below

REQUIREMENTS_MAX = 64
QUORUM_MAX = 16
TIMEOUT_SECONDS_MAX = 604_800
TTL_SECONDS_MAX = 31_622_400
USES_MAX = 1_000_000
PRIORITY_DEFAULT = 100
DENY = "deny"


@dataclass
class Meta:
    """Absent members have the defaults of section 1; one_time's default depends on the kind (section 8)."""

    criteria: list[str] = field(default_factory=list)
    quorum: int = 1
    timeout: int = 0
    time_to_live: int | None = None
    one_time: bool | None = None
    max_uses: int | None = None
    set_by: list[str] = field(default_factory=list)
    priority: float = PRIORITY_DEFAULT


@dataclass
class Requirement:
    pointer: str
    key: str
    condition: Node | None
    meta: Meta  # of the same document; the defaults where it has none

    @property
    def is_external(self) -> bool:
        """Section 8: external iff the same document's meta has approval_criteria."""
        return bool(self.meta.criteria)

    @property
    def is_one_time(self) -> bool:
        """Section 8, defaults: external true unless `one_time:false` or `max_uses` is given; internal false."""
        if self.meta.one_time is not None:
            return self.meta.one_time
        return self.is_external and self.meta.max_uses is None


def parse_requirements(value: object, pointer: str) -> list[tuple[str, str, Node | None]]:
    """The array form: (pointer, key, condition). The object form is E_ATT_FORM."""
    if isinstance(value, dict):
        raise RefusedError("E_ATT_FORM", pointer)
    items = array_of(value, pointer, REQUIREMENTS_MAX)
    return [parse_requirement(item, below(pointer, i)) for i, item in enumerate(items)]


def parse_requirement(value: object, pointer: str) -> tuple[str, str, Node | None]:
    """`key` or `key::{expression}`, split at the first "::"."""
    key, mark, rest = string_of(value, pointer).partition("::")
    key = key_of(key, pointer)
    if not mark:
        return pointer, key, None
    if not (rest.startswith("{") and rest.endswith("}") and len(rest) >= 2):
        raise RefusedError("E_ATT_FORM", pointer)
    return pointer, key, parse_expression(rest[1:-1], pointer)


def parse_metas(value: object, pointer: str) -> dict[str, Meta]:
    metas = {}
    for name, member in object_of(value, pointer).items():
        at = below(pointer, name)
        key = key_of(name, at)
        if key == DENY:
            raise RefusedError("E_ATT_RESERVED", at)
        metas[key] = parse_meta(member, at)
    return metas


def parse_meta(value: object, pointer: str) -> Meta:
    members = object_of(value, pointer)
    meta = Meta()
    for name, argument in members.items():
        read_member(meta, name, argument, below(pointer, name))
    if not meta.criteria and ("quorum" in members or "timeout" in members):
        raise RefusedError("E_ATT_CRITERIA", pointer)
    if meta.one_time and meta.max_uses not in {None, 1}:
        raise RefusedError("E_ATT_USES", pointer)
    return meta


def read_member(meta: Meta, name: str, argument: object, pointer: str) -> None:
    match name:
        case "approval_criteria":
            meta.criteria = parse_criteria(argument, pointer)
        case "quorum":
            meta.quorum = integer_of(argument, pointer, 1, QUORUM_MAX, code="E_ATT_QUORUM")
        case "timeout":
            meta.timeout = integer_of(argument, pointer, 0, TIMEOUT_SECONDS_MAX, code="E_LIMIT")
        case "time_to_live":
            meta.time_to_live = integer_of(argument, pointer, 1, TTL_SECONDS_MAX, code="E_LIMIT")
        case "one_time":
            meta.one_time = boolean_of(argument, pointer)
        case "max_uses":
            meta.max_uses = integer_of(argument, pointer, 1, USES_MAX, code="E_ATT_USES")
        case "set_by":
            meta.set_by = patterns_of(argument, pointer)
        case "priority":
            meta.priority = number_of(argument, pointer)
        case "description":
            text_of(argument, pointer)
        case _:
            raise RefusedError("E_UNKNOWN_FIELD", pointer)


def parse_criteria(value: object, pointer: str) -> list[str]:
    if not isinstance(value, list):
        return [criterion_of(value, pointer)]
    if not value:
        raise RefusedError("E_ATT_CRITERIA", pointer)
    return [criterion_of(item, below(pointer, i)) for i, item in enumerate(value)]
