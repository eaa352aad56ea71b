"""Calls that wait for verdicts: asked of the verifiers in scope, taken from their reports, and decided again.

A call in the scope of a required verifier waits until all of these have answered, at most VERDICT_WAIT_MS. The pending
decision carries the call, sealed to the verifiers that have not answered, and to no other reader. A report names the
leaf of its call as its cause. A verdict counts only as long as it is fresh: where people take longer to approve, the
verifier is asked again. A call pays its rates once, when it begins to wait, as one that waits for people does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processors.calls import idempotency, verifying
from processors.calls.call import Call, asked_before, body_of
from processors.calls.deadlines import ends_at
from processors.calls.deciding import decision_of, result_of
from processors.calls.denial import DeniedCall
from processors.calls.executor import Executor
from processors.calls.judge import charge, rates_of
from processors.calls.parameters import Parameters, parse_parameters
from processors.calls.verifiers import outside
from processors.calls.verifiers.outside import BoundCall, Outside
from processors.calls.verifiers.pipeline import Verified, denial
from processors.effects import Effects, PayloadTooLargeError
from processors.identity import delegations, verifiers
from processors.identity.delegations import Chain
from processors.identity.verifiers import StandingVerifier
from processors.intake.identify import Signer
from processors.policy.evaluation import Work
from processors.policy.lifted import NOTHING_LIFTED, Lifted
from processors.policy.patterns import resource_name
from processors.policy.verdict import Verdict
from processors.refusal import Refusal
from processors.state.groups import waiting_call
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.events.verdicts import VerdictReported
from schemas.reasons import Reason
from schemas.records import Event, SignedEvent
from schemas.rows import PendingRow
from schemas.words import Outcome, Stage

MORE = "+"  # in place of names that do not fit into a detail


def is_wanted(tables: Tables, verdict: Verdict, verified: Verified, given: Outside) -> bool:
    """Return whether a call waits for verdicts: a required one is missing and can come, and nothing else denies.

    Policies were asked with the worst stamps. A denial by a stage before parameters, or by a rate, does not depend on
    them.
    """
    if not given.lacks_required or denial(verified.answers) is not None:
        return False
    if verdict.outcome == Outcome.DENIED and (verdict.stage < Stage.PARAMETERS or verdict.stage == Stage.RATE):
        return False
    required = [one for one in given.unanswered if one.declared.required]
    return all(outside.recipients_of(tables, [one]) for one in required)


def rates(
    tables: Tables,
    asked: Call,
    chain: Chain,
    executor: Executor | None,
    came: tuple[str, ...],
    work: Work,
    lifted: Lifted = NOTHING_LIFTED,
) -> Verdict:
    """Return the charges of a call that begins to wait, as an allowed verdict; or the denial of its rates.

    `came` are the documents that came with the call; those that are `lifted` neither deny nor charge.

    Raises:
        WorkExceededError.
    """
    resource = asked.body.resource
    owner = "" if executor is None else executor.owner_beside(resource)
    return rates_of(
        tables, asked.session, resource, session_id=asked.session_id, intents=came, chain=chain, owner=owner, work=work,
        lifted=lifted,
    )  # fmt: skip


def wait(
    tables: Tables,
    effects: Effects,
    asked: Call,
    parameters: Parameters,
    chain: Chain,
    verdict: Verdict,
    verified: Verified,
    given: Outside,
    waited: PendingRow | None,
) -> tuple[str, str]:
    """Let a call wait for verdicts, and ask its verifiers. The charges of `verdict` are paid when it begins to wait.

    Raises:
        DeniedCall: VERDICT_DUPLICATE while a call of the session with the same event id waits; LIMIT_EXCEEDED, the
            tables have no room for it.
    """
    if waited is None and tables.pending.of(waiting_call(asked.session_id, asked.event.header.event_id)):
        raise DeniedCall(Reason.VERDICT_DUPLICATE, "a call of this session with the same event id waits")
    recipients = outside.recipients_of(tables, given.unanswered)
    try:
        payload = effects.call_payload(
            asked.salt, asked.signed, parameters.canonical, (), asked.session.opened, asked.session.renewed
        )
        row = _row(tables, asked, chain, given, waited)
        if waited is None:
            charge(tables, verdict, asked.session_id, row.payer)
            idempotency.use_up(tables, asked, parameters.sha256, Outcome.PENDING, row.payer)
        tables.pending.put(asked.leaf, row)
        check_room(tables.pending, row)
    except PayloadTooLargeError as exc:
        raise DeniedCall(Reason.OUTPUT_TOO_LARGE) from exc
    except Refusal as refusal:
        raise DeniedCall(refusal.reason, refusal.detail) from refusal
    decision = decision_of(
        tables, effects, asked, outcome=Outcome.PENDING, reason=Reason.VERDICT_PENDING, policies=(),
        parameters=parameters, payload=payload, chain=chain, said=verifying.waiting(verified),
    )  # fmt: skip
    leaf = effects.decide(decision, payload, recipients)
    effects.answer(result_of(tables, effects, decision, leaf, asked.session_id, _told(row.deadline, given)))
    return Outcome.PENDING, Reason.VERDICT_PENDING


def _told(until: int, given: Outside) -> str:
    """Return the answer's detail: the end of the wait, and the required verifiers that it waits for, by prefix."""
    told = f"until={until} verifiers="
    names = [one.declared.prefix for one in given.unanswered if one.declared.required]
    while len(told) + len(",".join(names)) > limits.DETAIL_CHARS_MAX:
        names = [*names[:-2], MORE]
    return told + ",".join(names)


def _row(tables: Tables, asked: Call, chain: Chain, given: Outside, waited: PendingRow | None) -> PendingRow:
    names = tuple(one.principal_id for one in given.unanswered)
    if waited is not None:  # for people as well, or again: its deadline never moves
        return replace(waited, awaits=names, verdicts=_reported(asked, given))
    ends = min(tables.now + limits.VERDICT_WAIT_MS, ends_at(asked.body, waited=False), asked.session.expires_at)
    return PendingRow(
        call=asked.signed,
        event_id=asked.event.header.event_id,
        session_id=asked.session_id,
        principal_id=asked.principal_id,
        resource=asked.body.resource,
        subjects=chain.told,
        keys=(),
        deadline=ends,
        payer=delegations.payer_of(asked.session, chain),
        awaits=names,
    )


def _reported(asked: Call, given: Outside) -> tuple[SignedEvent, ...]:
    """Return the verdicts that count and that the call itself does not carry."""
    return tuple(one for one in given.counted if one not in asked.body.verdicts)


def report(tables: Tables, effects: Effects, signer: Signer, event: Event, body: VerdictReported) -> bytes | None:
    """Take a verdict for the call that waits for it; return the leaf of a call to decide again, None while it waits.

    Raises:
        Refusal: VERDICT_UNKNOWN, VERDICT_DUPLICATE, VERDICT_MISMATCH, VERDICT_FORM, VERDICT_STALE, LIMIT_EXCEEDED; the
            call waits on.
    """
    one = outside.verifier_called(tables, signer.principal_id)
    leaf = event.header.causation_id
    row = None if leaf is None else tables.pending.get(leaf)
    if leaf is None or row is None:
        raise Refusal(Reason.VERDICT_UNKNOWN, "no call waits whose leaf is the `causation_id` of the verdict")
    _check_asked(tables, row, one)
    digest = parse_parameters(body_of(row.call).parameters).sha256
    call = BoundCall(row.event_id, row.session_id, row.resource, digest)
    outside.check_bound(one, body, call, resource_name(row.resource))
    if effects.claim.size > limits.VERDICT_EVENT_BYTES_MAX:
        raise Refusal(Reason.VERDICT_FORM, f"a verdict has at most {limits.VERDICT_EVENT_BYTES_MAX} bytes")
    outside.stamps_of(one, body)
    if why := outside.stale_because(tables, one, event.header, body):
        raise Refusal(Reason.VERDICT_STALE, why)
    left = tuple(name for name in row.awaits if name != one.principal_id)
    row = replace(row, awaits=left, verdicts=(*row.verdicts, effects.signed_event()))
    tables.pending.put(leaf, row)
    check_room(tables.pending, row)
    return leaf if one.declared.required and not required_of(tables, left) else None


def _check_asked(tables: Tables, row: PendingRow, one: StandingVerifier) -> None:
    if tables.now >= row.deadline:
        raise Refusal(Reason.VERDICT_UNKNOWN, "the call's time is over")
    if one.principal_id in row.awaits:
        return
    given = (*row.verdicts, *body_of(row.call).verdicts)
    if any(outside.read_signed(tables, signed).verifier.principal_id == one.principal_id for signed in given):
        raise Refusal(Reason.VERDICT_DUPLICATE)
    raise Refusal(Reason.VERDICT_UNKNOWN, "the call does not wait for this verifier")


def required_of(tables: Tables, awaits: Sequence[str]) -> list[StandingVerifier]:
    """Return the verifiers among some names that are required now."""
    return [one for one in verifiers.standing(tables) if one.declared.required and one.principal_id in awaits]


def is_over(tables: Tables, leaf: bytes, row: PendingRow) -> bool:
    """Return whether a call that waits for verdicts alone has lost its session."""
    return bool(row.awaits) and not row.keys and asked_before(tables, leaf, row) is None
