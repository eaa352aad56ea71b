"""The pipeline of verifiers around one call: its stamps for the policies, and the one answer over all verifiers.

Engine 1 has no verifiers of texts and no stamps. From engine 2 on a call's parameters are read with the stamps beside
them, under the reserved name `stamps`; verifiers that did not run are stamped as their worst.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from processors.calls import catalogues
from processors.calls.denial import DeniedCall
from processors.calls.executor import Executor
from processors.calls.parameters import Parameters
from processors.calls.standing import BOUND
from processors.calls.verifiers import outside, pipeline, ruled
from processors.calls.verifiers.outside import Outside
from processors.calls.verifiers.pipeline import NOT_ASKED, Verified
from processors.calls.verifiers.verifier import VerifiedCall
from processors.identity.declarations import resource_row
from processors.identity.verifiers import StandingVerifier
from processors.policy.evaluation import Work
from processors.policy.paths import Every, ParsedPath, parse_path
from processors.policy.stamped import STAMPS, Stamped, stamps_read
from processors.policy.verdict import Verdict
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.state.engine import DETECTING
from processors.state.settings import DEFAULTS
from processors.state.tables import Tables
from schemas.events.verdicts import VerifierVerdict
from schemas.reasons import Reason
from schemas.records import SignedEvent
from schemas.words import Outcome, Role, Surface, VerifierOutcome


class VerifierAnswers(NamedTuple):
    """The answers on one call, for its decision."""

    verdicts: tuple[VerifierVerdict, ...] = ()
    stamps: str | None = None


NONE = VerifierAnswers()


def arguments(
    tables: Tables,
    asked: VerifiedCall,
    parameters: Parameters,
    judged: dict[str, JSONValue],
    executor: Executor | None,
    work: Work,
    kept: Sequence[SignedEvent] = (),
) -> tuple[Verified, Outside, dict[str, JSONValue]]:
    """Return the answers of all verifiers, those from outside apart, and the parameters with the stamps for policies.

    `kept` are verdicts that were reported while the call waited.

    Raises:
        DeniedCall: MALFORMED_PARAMETERS for a parameter that has the reserved name, or the fault of a verdict.
        WorkExceededError.
    """
    if tables.engine.number < DETECTING:
        return NOT_ASKED, outside.NONE, judged
    if STAMPS in parameters.value:  # in no other spelling: nothing else becomes these letters in NFC
        raise DeniedCall(Reason.MALFORMED_PARAMETERS, f"the name `{STAMPS}` is for verifiers alone")
    schema = None if executor is None else executor.input_schema
    verified = pipeline.verify(
        Surface.ARGUMENTS,
        asked.body.resource,
        judged,
        schema,
        tables.settings,
        work,
        _signed_by_person(asked),
        catalogues.in_force(tables),
    )
    given = outside.judge(tables, asked, parameters.sha256, asked.body.verdicts, kept, work)
    if given.stamps:
        every = pipeline.in_order(verified.answers, given.answers)
        stamps = {**verified.stamps, **given.stamps}
        verified = verified._replace(answers=every, stamps=stamps, asked=verified.asked or bool(given.answers))
    return verified, given, Stamped(judged, stamps_read(verified.stamps))


def asks(tables: Tables, resource: str) -> bool:
    """Return whether verifiers read texts of a call: then its caller pays for these even if it is allowed.

    The tenant's settings ask for it, or the schema of the operation, of which risks are stamped.
    """
    if tables.engine.number < DETECTING:
        return False
    row = None if tables.settings is not DEFAULTS else resource_row(tables, resource)
    return tables.settings is not DEFAULTS or (row is not None and row.input_schema is not None)


def _signed_by_person(asked: VerifiedCall) -> tuple[ParsedPath, ...]:
    """Return the places of prompts that a person signed in this call. Requires prompts that were checked."""
    if asked.session.role != Role.USER or not asked.body.prompts:
        return ()
    places = (parse_path(prompt.path, "") for prompt in asked.body.prompts)
    return tuple(place for place in places if not any(isinstance(step, Every) for step in place.steps))


def check(verdict: Verdict, verified: Verified, given: Outside) -> None:
    """Raise DeniedCall if a verifier denies, or lacks its verdict, and no rule does that comes before it."""
    first = pipeline.denial(pipeline.in_order(ruled.of_policies(verdict), verified.answers))
    if first is None:
        people = any(use.position == BOUND for use in verdict.effects.uses)  # of this very call
        outside.check(given, verdict.outcome, is_approved=people)
    if first is None or first not in verified.answers:
        return
    detail = verified.broke or pipeline.told(first)
    raise DeniedCall(first.reason, detail, verdict.policies, f"verifier {first.verifier}")


def answers(tables: Tables, verdict: Verdict, verified: Verified) -> VerifierAnswers:
    """Return the answers on a call that was judged, as its decision holds them."""
    if tables.engine.number < DETECTING:
        return NONE
    if not verified.answers:
        return VerifierAnswers(_ruled(verdict), _written(verified.stamps) if verified.asked else None)
    every = pipeline.in_order(ruled.of_policies(verdict), verified.answers)
    return VerifierAnswers(pipeline.recorded(every, Surface.ARGUMENTS), _written(verified.stamps))


def waiting(verified: Verified) -> VerifierAnswers:
    """Return the answers on a call that waits for verdicts: no rule has answered for good."""
    answers = pipeline.in_order((ruled.SIGNATURE,), verified.answers)
    return VerifierAnswers(pipeline.recorded(answers, Surface.ARGUMENTS))


def before_rules(tables: Tables, reason: str) -> VerifierAnswers:
    """Return the answers on a call that was denied before its policies were asked."""
    if tables.engine.number < DETECTING:
        return NONE
    denied = ruled.AUTHORIZATION._replace(outcome=VerifierOutcome.DENY, reason=reason)
    return VerifierAnswers(pipeline.recorded((ruled.SIGNATURE, denied), Surface.ARGUMENTS))


def ended(tables: Tables, reason: str, lacking: Sequence[StandingVerifier] = ()) -> tuple[VerifierVerdict, ...]:
    """Return the answers on a call that waited for people or for verdicts, and is denied for good.

    `lacking` are the required verifiers that have not answered.
    """
    if tables.engine.number < DETECTING:
        return ()
    if reason == Reason.VERDICT_MISSING:
        every = pipeline.in_order((ruled.SIGNATURE,), [outside.missing(one) for one in lacking])
        return pipeline.recorded(every, Surface.ARGUMENTS)
    denied = ruled.WORKFLOW._replace(outcome=VerifierOutcome.DENY, reason=reason)
    return pipeline.recorded((ruled.SIGNATURE, ruled.AUTHORIZATION, ruled.RATE, denied), Surface.ARGUMENTS)


_PASSED = pipeline.recorded((ruled.SIGNATURE, ruled.AUTHORIZATION, ruled.RATE, ruled.WORKFLOW), Surface.ARGUMENTS)


def _ruled(verdict: Verdict) -> tuple[VerifierVerdict, ...]:
    if verdict.outcome == Outcome.ALLOWED:
        return _PASSED
    return pipeline.recorded(ruled.of_policies(verdict), Surface.ARGUMENTS)


def _written(stamps: Mapping[str, JSONValue]) -> str:
    return jcs.canonical(dict(stamps)).decode()
