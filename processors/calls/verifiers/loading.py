"""The tables of the verifiers that a tenant has turned on, loaded by the process before one of its records needs them.

It changes no answer: a detector loads itself at its first text, and that record would wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from processors.calls.verifiers.content import EVERY
from processors.calls.verifiers.verifier import SCHEMA_OF, modes_of
from processors.content.loading import load as load_detector
from processors.state.engine import DETECTING
from processors.state.settings import DEFAULTS
from processors.state.tables import Tables
from schemas.words import Surface

NONE: frozenset[str] = frozenset()
_SCHEMAS = frozenset(SCHEMA_OF.values())


def wanted(tables: Tables) -> frozenset[str]:
    """Return the names of the verifiers that a tenant's settings turn on, of calls or of results."""
    if tables.engine.number < DETECTING or tables.settings is DEFAULTS:
        return NONE
    return frozenset(name for surface in Surface for name in modes_of(tables.settings, surface))


def load(names: Iterable[str]) -> None:
    """Load the tables of some verifiers; a second time takes microseconds. Raises ImportError, DetectorDataError."""
    for name in names:
        for one in EVERY:
            if one.name == name:
                load_detector(one.detector())
        if name in _SCHEMAS:
            from processors.content import parameter_schemas, risk_places  # noqa: F401 - importing them is the work
