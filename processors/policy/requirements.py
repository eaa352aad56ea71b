"""Attestation requirements of documents: keys, conditions, and the meta of a key (docs/mapl.md 1 and 8).

Whether a requirement is met is judged by `attestations`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import re2

from processors.policy import limits
from processors.policy.conditions import compile_condition
from processors.policy.errors import PolicyError
from processors.policy.expressions import Expression, parse_expression
from processors.policy.json_types import (
    as_flag,
    as_integer,
    as_label,
    as_list,
    as_number,
    as_object,
    as_text,
    pointer_to,
)
from processors.policy.named import Condition
from processors.policy.patterns import check_pattern
from processors.policy.regexes import Regexes
from processors.proof.jcs import JSONValue

DENY = "deny"  # the key that nothing satisfies
APPROVER = "role:approver"
PRIORITY = 100.0

_KEY = re2.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,127}")
_CRITERION = re2.compile(r"(?:role|team|user|group):(?s:.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """The declaration of a key in a document. With criteria the requirement is external: people must approve."""

    criteria: tuple[str, ...] = ()
    quorum: int = 1
    timeout_ms: int = 0
    time_to_live_ms: int | None = None
    one_time: bool | None = None
    max_uses: int | None = None
    set_by: tuple[str, ...] = ()
    priority: float = PRIORITY

    @property
    def once(self) -> bool:
        """Return whether it serves once. Approvals of people do by default, unless a number of uses is given."""
        if self.one_time is not None:
            return self.one_time
        return bool(self.criteria) and self.max_uses is None

    @property
    def uses_max(self) -> int | None:
        """How many uses there are, None for any number."""
        return 1 if self.once else self.max_uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A key that must be attested, wherever its condition is not false. `condition` of None: always."""

    key: str
    text: str
    pointer: str
    condition: Condition | None
    expression: Expression | None = field(default=None, repr=False)  # what the condition was made of
    meta: Meta = Meta()
    regexes: int = 0

    @property
    def external(self) -> bool:
        """Whether people must approve."""
        return bool(self.meta.criteria)


def parse_requirements(value: JSONValue, pointer: str, regexes: Regexes) -> tuple[Requirement, ...]:
    """Return the requirements of an array. Raises PolicyError at the first fault in the order of the text."""
    if isinstance(value, dict):
        raise PolicyError("E_ATT_FORM", pointer)
    items = as_list(value, pointer, items_max=limits.REQUIREMENTS_MAX)
    places = (pointer_to(pointer, at) for at in range(len(items)))
    return tuple(_requirement(as_text(item, at), at, regexes) for item, at in zip(items, places, strict=True))


def _requirement(text: str, pointer: str, regexes: Regexes) -> Requirement:
    key, separated, rest = text.partition("::")
    if not _KEY.fullmatch(key):
        raise PolicyError("E_ATT_KEY", pointer)
    if not separated:
        return Requirement(key=key, text=text, pointer=pointer, condition=None)
    if len(rest) < 2 or not rest.startswith("{") or not rest.endswith("}"):
        raise PolicyError("E_ATT_FORM", pointer)
    parsed = parse_expression(rest[1:-1], pointer, regexes)
    return Requirement(
        key=key,
        text=text,
        pointer=pointer,
        condition=compile_condition(parsed.expression),
        expression=parsed.expression,
        regexes=parsed.regexes,
    )


def parse_metas(value: JSONValue, pointer: str) -> dict[str, Meta]:
    """Return the declarations of a document's keys. Raises PolicyError at the first fault in the order of the text."""
    members = as_object(value, pointer)
    if len(members) > limits.REQUIREMENTS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    found = {}
    for key, meta in members.items():
        here = pointer_to(pointer, key)
        name = parse_key(key, here)  # before what is said of it: the first fault of the text is told
        found[name] = _meta(as_object(meta, here), here)
    return found


def parse_key(value: JSONValue, pointer: str) -> str:
    """Return a key that something can satisfy. Raises PolicyError E_ATT_KEY, or E_ATT_RESERVED for `deny`."""
    key = as_text(value, pointer)
    if not _KEY.fullmatch(key) or "::" in key:
        raise PolicyError("E_ATT_KEY", pointer)
    if key == DENY:
        raise PolicyError("E_ATT_RESERVED", pointer)
    return key


def _meta(meta: dict[str, JSONValue], pointer: str) -> Meta:
    found: dict[str, object] = {}
    for name, value in meta.items():
        here = pointer_to(pointer, name)
        if name not in _META:
            raise PolicyError("E_UNKNOWN_FIELD", here)
        member, read = _META[name]
        found[member] = read(value, here)
    found.pop("", None)
    if "criteria" not in found and {"quorum", "timeout_ms"} & found.keys():
        raise PolicyError("E_ATT_CRITERIA", pointer)
    if found.get("one_time") and found.get("max_uses", 1) != 1:
        raise PolicyError("E_ATT_USES", pointer)
    return Meta(**found)  # type: ignore[arg-type]


def _milliseconds(value: JSONValue, pointer: str) -> int:
    return 1000 * as_integer(value, pointer, low=0, high=limits.TIMEOUT_SECONDS_MAX)


def _life(value: JSONValue, pointer: str) -> int:
    return 1000 * as_integer(value, pointer, low=1, high=limits.TIME_TO_LIVE_SECONDS_MAX)


def _setters(value: JSONValue, pointer: str) -> tuple[str, ...]:
    patterns = as_list(value, pointer, items_max=limits.PATTERNS_MAX)
    for at, pattern in enumerate(patterns):
        here = pointer_to(pointer, at)
        check_pattern(as_text(pattern, here), here)
    return tuple(map(str, patterns))


def _criteria(value: JSONValue, pointer: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        return (parse_criterion(value, pointer),)
    criteria = as_list(value, pointer, items_max=limits.REQUIREMENTS_MAX)
    if not criteria:
        raise PolicyError("E_ATT_CRITERIA", pointer)
    return tuple(parse_criterion(one, pointer_to(pointer, at)) for at, one in enumerate(criteria))


# What a document may say of a key: the member of `Meta`, and how it is read. A description is read and forgotten.
_META: dict[str, tuple[str, Callable[[JSONValue, str], object]]] = {
    "approval_criteria": ("criteria", _criteria),
    "quorum": ("quorum", partial(as_integer, low=1, high=limits.QUORUM_MAX, code="E_ATT_QUORUM")),
    "timeout": ("timeout_ms", _milliseconds),
    "time_to_live": ("time_to_live_ms", _life),
    "one_time": ("one_time", as_flag),
    "max_uses": ("max_uses", partial(as_integer, low=1, high=limits.USES_MAX, code="E_ATT_USES")),
    "set_by": ("set_by", _setters),
    "priority": ("priority", as_number),
    "description": ("", as_label),
}


def parse_criterion(value: JSONValue, pointer: str) -> str:
    """Return a criterion: `role:`, `team:`, `user:` or `group:` and a name. Raises PolicyError E_ATT_CRITERIA."""
    text = as_label(value, pointer)
    if not _CRITERION.fullmatch(text):
        raise PolicyError("E_ATT_CRITERIA", pointer)
    return text


def approval_requirement(policy_id: str, criterion: str, pointer: str) -> Requirement:
    """Return the meaning of `require_approval`: one approval for this very call, within five minutes."""
    key = f"approval:{hashlib.sha256(policy_id.encode()).hexdigest()[:32]}"
    meta = Meta(criteria=(criterion,), timeout_ms=limits.APPROVAL_TIMEOUT_SECONDS * 1000, one_time=True)
    return Requirement(key=key, text=key, pointer=pointer, condition=None, meta=meta)
