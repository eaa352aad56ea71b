"""Bodies and fields that have their place on the wire before a rule gives them a meaning.

An event that uses one is refused by name: its signer must not believe that it was honoured. A later engine takes rows
out of these tables, and so nothing that was refused under an earlier engine changes its outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from processors.refusal import Refusal
from schemas.events.attributes import Attributes
from schemas.events.tenancy import LimitsSet
from schemas.events.tools import ToolDeclaration, ToolsOffered
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered, ResultReported, SessionOpened

BODIES: frozenset[type] = frozenset()
FIELDS: Mapping[type, tuple[str, ...]] = {
    ResultReported: ("fingerprints",),
    LimitsSet: ("settings",),
    Attributes: ("offers",),  # of persons and workloads: a program has it from its registration
    ToolDeclaration: ("result_body_paths", "maskable_paths", "input_schema", "output_schema"),
}
_INSIDE: Mapping[type, tuple[str, ...]] = {
    SessionOpened: ("attributes",),
    PrincipalRegistered: ("tools",),
    ToolsOffered: ("tools",),
}


def check_supported(body: object) -> None:
    """Raise Refusal NOT_SUPPORTED if no rule of this engine honours the body, or a field that it sets."""
    if type(body) in BODIES:
        raise Refusal(Reason.NOT_SUPPORTED, f"no rule honours {type(body).__name__} yet")
    for name in _set_fields(body):
        raise Refusal(Reason.NOT_SUPPORTED, f"no rule honours `{name}` yet: leave it out")


def _set_fields(record: Any) -> Iterator[str]:
    """Yield the names of fields in a record, or in a record inside it, that are set before their time."""
    for name in FIELDS.get(type(record), ()):
        if getattr(record, name) not in (None, (), False):  # an empty text or digest is set too
            yield name
    for name in _INSIDE.get(type(record), ()):
        inside = getattr(record, name)
        for one in inside if isinstance(inside, tuple) else (inside,):
            yield from _set_fields(one)
