"""Verifiers on results: a report is passed on to its caller, or withheld (docs/verifiers.md).

A withheld report stays on the log, for all with the right to read intake; the caller is told that it was withheld,
and by which verifiers. The outcome of the call stays the reported one: it has run.
"""

from __future__ import annotations

from typing import NamedTuple

from processors.calls import catalogues
from processors.calls import work as buckets
from processors.calls.executor import executor_of
from processors.calls.verifiers import pipeline
from processors.effects import Effects
from processors.policy.errors import WorkExceededError
from processors.policy.evaluation import HIDDEN, new_work, to_pay
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.state.engine import DETECTING
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import ResultReported
from schemas.rows import CallRow
from schemas.words import Outcome, Surface, VerifierOutcome


class Looked(NamedTuple):
    """Whether a result is withheld; `detail` names the verifiers and the kinds of findings."""

    withheld: bool = False
    detail: str = ""


PASSED_ON = Looked()


def look(tables: Tables, effects: Effects, call: CallRow, body: ResultReported) -> Looked:
    """Let the verifiers look at a report, whatever its outcome. The caller pays. Requires strict JSON in its body."""
    if tables.engine.number < DETECTING:
        return PASSED_ON
    budget = new_work()
    try:
        executor = executor_of(tables, call.resource, call.target)
        schema = executor.output_schema if executor is not None and body.outcome == Outcome.OK else None
        verified = pipeline.verify(
            Surface.RESULT,
            call.resource,
            _value_of(body),
            schema,
            tables.settings,
            budget,
            catalogues=catalogues.in_force(tables),
        )
    except WorkExceededError:
        return Looked(withheld=True, detail=str(Reason.LIMIT_EXCEEDED))
    finally:
        session = tables.sessions.get(call.session_id)
        buckets.note(effects, call.tool if session is None else session.principal_id, to_pay(budget))
    if verified.broke:
        effects.broke(verified.broke)
    denials = [one for one in verified.answers if one.outcome == VerifierOutcome.DENY]
    detail = "; ".join(map(pipeline.kinds_told, denials))[: limits.DETAIL_CHARS_MAX]
    return Looked(withheld=bool(denials), detail=detail)


def _value_of(body: ResultReported) -> JSONValue:
    """Return a result as verifiers see it: a part that travels beside the report is there, and not to be seen."""
    if body.bodies or body.stream is not None:
        return [HIDDEN]  # type: ignore[list-item] # no JSON, and verifiers know it
    return jcs.parse_strict(body.body.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)
