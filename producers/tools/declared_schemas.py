"""The JSON Schemas of a host's operations: parameters are compared before a call is executed, results before a report.

The schemas are given compiled: a client's installation does not have the library that judges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from processors.policy.json_types import pointer_to
from processors.policy.limits import WORK_UNITS_MAX
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from producers.tools.admission import AdmittedCall
from producers.tools.execution import Ended, failed
from schemas.words import Outcome

PARAMETERS_INVALID = "PARAMETERS_INVALID"
RESULT_INVALID = "RESULT_INVALID"
NODES_MAX = 1_000_000  # values in a result; a larger one is not judged, and does not fit
TOO_LARGE = "too large to be judged"


class JudgedPlace(Protocol):
    """A place where a value does not fit."""

    @property
    def path(self) -> Sequence[str | int]: ...
    @property
    def keyword(self) -> str: ...


class JudgingSchema(Protocol):
    """A compiled schema."""

    def units(self, value: JSONValue) -> int:
        """Return a bound on the work of `faults` for a value."""

    def faults(self, value: JSONValue) -> Sequence[JudgedPlace]:
        """Return the places where a value does not fit."""


class OperationSchemas(NamedTuple):
    """The schemas of one operation."""

    parameters: JudgingSchema | None = None
    result: JudgingSchema | None = None


class DeclaredSchemas:
    """The schemas of one host, by resource."""

    def __init__(self, schemas: Mapping[str, OperationSchemas]) -> None:
        self._schemas = dict(schemas)

    def refusal(self, call: AdmittedCall) -> Ended | None:
        """Return the end of a call whose parameters do not fit, None for others."""
        schema = self._schemas.get(call.decision.resource, OperationSchemas()).parameters
        problems = [] if schema is None else _problems(schema, call.parameters)
        return failed(PARAMETERS_INVALID, problems=problems) if problems else None

    def checked(self, call: AdmittedCall, ended: Ended) -> Ended:
        """Return the end of a call, as failed if its result does not fit: it has been executed all the same.

        The items of a stream are not compared.
        """
        schema = self._schemas.get(call.decision.resource, OperationSchemas()).result
        if schema is None or ended.outcome != Outcome.OK or ended.stream is not None:
            return ended
        try:
            value = jcs.parse_strict(ended.body.encode(), depth_max=jcs.WRITTEN_DEPTH_MAX, nodes_max=NODES_MAX)
        except jcs.MalformedJSONError:
            return failed(RESULT_INVALID, problems=[{"at": "", "why": TOO_LARGE}])
        problems = _problems(schema, value)
        if not problems:
            return ended
        # The parts without a JSON form are still told to the host's operator: they may be the reason.
        return replace(failed(RESULT_INVALID, problems=problems), unwritten=ended.unwritten)


def _problems(schema: JudgingSchema, value: JSONValue) -> list[JSONValue]:
    if schema.units(value) > WORK_UNITS_MAX:
        return [{"at": "", "why": TOO_LARGE}]
    return [{"at": _pointer(one.path), "why": one.keyword} for one in schema.faults(value)]


def _pointer(steps: Sequence[str | int]) -> str:
    pointer = ""
    for step in steps:
        pointer = pointer_to(pointer, step)
    return pointer
