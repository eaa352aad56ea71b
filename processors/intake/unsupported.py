"""Bodies and fields that have their place on the wire before a rule gives them a meaning.

An event that uses one is refused by name: its signer must not believe that it was honoured. A later engine takes rows
out of these tables, and so nothing that was refused under an earlier engine changes its outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from processors.refusal import Refusal
from processors.state.engine import DETECTING
from schemas.events.attributes import Attributes
from schemas.events.catalogues import CataloguePublished, CatalogueWithdrawn
from schemas.events.enforcement import EnforcementSet
from schemas.events.tenancy import LimitsSet
from schemas.events.tools import ToolDeclaration, ToolsOffered
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.reasons import Reason
from schemas.records import InvocationRequested, PrincipalRegistered, ResultReported, SessionOpened

BODIES: frozenset[type] = frozenset()  # without a rule in any engine
BODIES_BEFORE_DETECTING: frozenset[type] = frozenset({CataloguePublished, CatalogueWithdrawn, EnforcementSet})
FIELDS: Mapping[type, tuple[str, ...]] = {  # without a rule in any engine
    ResultReported: ("fingerprints",),
    Attributes: ("offers",),  # of persons and workloads: a program has it from its registration
    ToolDeclaration: ("result_body_paths",),
}
BEFORE_DETECTING: Mapping[type, tuple[str, ...]] = {  # without a rule in engine 1 only
    LimitsSet: ("settings",),
    ToolDeclaration: ("maskable_paths", "input_schema", "output_schema"),
    PrincipalRegistered: ("verifier", "approver"),
    AttestationApproved: ("once", "for_ms", "uses", "said_by"),
    AttestationDenied: ("said_by",),
    InvocationRequested: ("verdicts",),
}
_INSIDE: Mapping[type, tuple[str, ...]] = {
    SessionOpened: ("attributes",),
    PrincipalRegistered: ("tools",),
    ToolsOffered: ("tools",),
}


def check_supported(body: object, engine: int) -> None:
    """Raise Refusal NOT_SUPPORTED if no rule of the engine with this number honours the body, or a field it sets."""
    if type(body) in BODIES or (engine < DETECTING and type(body) in BODIES_BEFORE_DETECTING):
        raise Refusal(Reason.NOT_SUPPORTED, f"no rule honours {type(body).__name__} yet")
    for name in _set_fields(body, engine):
        raise Refusal(Reason.NOT_SUPPORTED, f"no rule honours `{name}` yet: leave it out")


def unsupported_of(cls: type, engine: int) -> tuple[str, ...]:
    """Return the fields of a record's class that no rule of an engine honours, in the order in which they are told."""
    later = BEFORE_DETECTING.get(cls, ()) if engine < DETECTING else ()
    return (*FIELDS.get(cls, ()), *later)


def _set_fields(record: Any, engine: int) -> Iterator[str]:
    """Yield the names of fields in a record, or in a record inside it, that are set before their time."""
    for name in unsupported_of(type(record), engine):
        if getattr(record, name) not in (None, (), False):  # an empty text or digest is set too
            yield name
    for name in _INSIDE.get(type(record), ()):
        inside = getattr(record, name)
        for one in inside if isinstance(inside, tuple) else (inside,):
            yield from _set_fields(one, engine)
