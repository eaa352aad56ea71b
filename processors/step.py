"""The rule of the product: `step(tables, received, heads) -> outputs`, a pure fold over one tenant's intake.

No operation takes effect without a decision on the log, and no decision without a verified signature and an explicit
allow. One record in, in order:

1. Time moves: `now` = max(previous now, the broker's append time). The record is decoded, and rows that are due leave.
2. The key is looked up in the registry; signature, order, age and names are checked.
3. The key's role must be one that may sign such an event.
4. The handler for that event runs: it changes tables and adds outputs, or it refuses and has changed nothing.
5. Some rows of ended sessions leave, and one audit entry records the outcome, for refused and undecodable records too.

The step is total: a failure in one of these five, a row's expiry and the entry included, is undone and stands in the
entry as `refused INTERNAL_ERROR` with its kind. Only a failure of the machine (MACHINE_FAULTS) is raised.

This module holds the order of these five and one handler for each event, and no Kafka, clock, randomness, signing or
logging: `Output.fault` names a rule that broke. `processors/feed.py` derives the views' records from the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from processors.calls import answers, attestations, decision, grants, judge, outcome, requests, work
from processors.calls.attestations import PHISHING_RESISTANT
from processors.context import ended, notes, queries, vault
from processors.effects import Effects, Output
from processors.evidence import audit_log, rulings
from processors.identity import delegations, engines, keys, registry, roots, rotation, sessions
from processors.intake.authority import check_may_sign
from processors.intake.identify import Claim, Received, Signer, check_claim, identify, raw_digest, read
from processors.intake.order import check_order
from processors.intake.unsupported import BODIES, check_supported
from processors.policy.errors import WorkExceededError
from processors.proof.signing import VerifiedHeads
from processors.refusal import MACHINE_FAULTS, Refusal
from processors.state.tables import Tables
from schemas import codec, records
from schemas.events import workflow
from schemas.events.engines import EngineActivated
from schemas.events.keys import AdminAdded, AdminRemoved, KeyRotated, RootRotated
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.reasons import Reason
from schemas.words import Outcome, RegistryKind, SessionKind, Status

T = TypeVar("T")
B = TypeVar("B")  # the class that a handler is listed under in HANDLERS

# These get no answer: the signer has one already, or another party sent the record again.
_SILENT = frozenset({Reason.DUPLICATE, Reason.REPLAYED})


def step(tables: Tables, received: Received, heads: VerifiedHeads) -> list[Output]:
    """Fold one intake record into `tables` and return its outputs. Requires that every record before it was folded.

    Raises:
        Refusal: the record comes with a ruling that does not hold for it; nothing has changed.
        EngineMissingError: the engine that must decide it is not installed here; nothing has changed.
        MACHINE_FAULTS: the machine failed; no other exception leaves the step.
    """
    engines.engine_for(tables, received)
    ruled_out: Refusal | None = None
    if received.ruling is not None:
        followed = _attempt(Effects(tables, received), rulings.follow, tables, received, heads)
        if isinstance(followed, Refusal):
            raise followed
        received, ruled_out = followed.received, followed.refusal
        if followed.skip is not None:
            return rulings.skip(tables, received, followed.skip)
    tables.now, tables.appended = max(tables.now, received.appended_at), received.appended_at
    effects = Effects(tables, received)
    claim = _attempt(effects, read, tables, received)
    effects.claim = Claim(raw_digest(received.value), refusal=claim) if isinstance(claim, Refusal) else claim
    expire(tables, effects)
    mark = effects.savepoint()
    known = _attempt(effects, _know, tables, effects, heads)
    # A good signature uses up its sequence number, even if its event is refused.
    done = known if isinstance(known, Refusal) else _attempt(effects, _take_effect, tables, effects, ruled_out, *known)
    if isinstance(done, Refusal):
        _attempt(effects, refuse, effects, done)
        done = Outcome.REFUSED, done.reason
    if effects.spent:
        work.pay(tables, effects)
    if ended.is_sweeping(tables):
        _attempt(effects, ended.sweep, tables, doing=" while rows of ended sessions leave")
    if isinstance(_attempt(effects, audit_log.append_entry, tables, effects, *done), Refusal):
        effects.undo_to(mark)
        effects.claim = Claim(raw_digest(received.value))
        audit_log.append_entry(tables, effects, Outcome.REFUSED, Reason.INTERNAL_ERROR)
    return effects.outputs


def _attempt(effects: Effects, act: Callable[..., T], *of: object, doing: str = "") -> T | Refusal:
    """Return the result of a part of the step, or the refusal that ended it after all its effects were undone.

    `doing` names the work for the entry's `fault`, where that work is not the record itself.
    """
    mark = effects.savepoint()
    try:
        return act(*of)
    except MACHINE_FAULTS:
        raise
    except Refusal as exc:
        refusal = exc
    except WorkExceededError:
        refusal = Refusal(Reason.LIMIT_EXCEEDED, "the record costs more work units than one record may")
    except Exception as exc:  # noqa: BLE001 - an unforeseen failure of a rule must not stop a tenant for good
        effects.broke(type(exc).__name__ + doing, exc)
        refusal = Refusal(Reason.INTERNAL_ERROR, type(exc).__name__)
    effects.undo_to(mark)
    return refusal


def _know(tables: Tables, effects: Effects, heads: VerifiedHeads) -> tuple[records.Event, Signer]:
    """Return a record's event and signer, and note its place in the order of its key. Raises Refusal."""
    event, signer = identify(tables, effects.claim, heads)
    check_order(tables, signer.kid, event.header, effects.claim.leaf)
    return event, signer


def _take_effect(
    tables: Tables, effects: Effects, ruled_out: Refusal | None, event: records.Event, signer: Signer
) -> tuple[str, str]:
    """Check the claims of a verified event, run its rule, and return (outcome, reason). Raises Refusal."""
    if ruled_out is not None:
        raise ruled_out
    check_claim(tables, effects.claim, event, signer)
    check_may_sign(signer.role, event.body)
    check_supported(event.body)
    keys.check_decidable(tables, event.body)
    return apply(tables, effects, signer, event)


def apply(tables: Tables, effects: Effects, signer: Signer, event: records.Event) -> tuple[str, str]:
    """Run the rule for one verified event and return (outcome, reason). Raises Refusal."""
    handle = tables.engine.handlers.get(type(event.body)) or HANDLERS[type(event.body)]
    return handle(tables, effects, Act(signer, event, event.body))


# ---- one handler for each body of an event


class Act(NamedTuple, Generic[B]):
    """A verified event: its signer, the event whole, and its body."""

    signer: Signer
    event: records.Event
    body: B


Handler = Callable[[Tables, Effects, Act[Any]], tuple[str, str]]
_ACCEPTED = (Outcome.ACCEPTED, "")


def _decide(tables: Tables, effects: Effects, act: Act[records.InvocationRequested]) -> tuple[str, str]:
    return decision.request(tables, effects, act.signer, act.event, act.body)


def _report(tables: Tables, effects: Effects, act: Act[records.ResultReported]) -> tuple[str, str]:
    outcome.report(tables, effects, act.signer, act.event, act.body)
    return _ACCEPTED


def _operate_vault(tables: Tables, effects: Effects, act: Act[vault.Operation]) -> tuple[str, str]:
    vault.operate(tables, effects, act.signer, act.event, act.body)
    return _ACCEPTED


def _answer_question(tables: Tables, effects: Effects, act: Act[workflow.StateQueried]) -> tuple[str, str]:
    queries.answer(tables, effects, act.signer, act.event, act.body)
    return _ACCEPTED


def _accepted_after(change: Callable[[Tables, Effects, Act[Any]], None]) -> Handler:
    """Return the handler for a change whose answer is only `accepted`."""

    def handle(tables: Tables, effects: Effects, act: Act[Any]) -> tuple[str, str]:
        change(tables, effects, act)
        effects.reply(Outcome.ACCEPTED)
        return _ACCEPTED

    return handle


def _tick(_tables: Tables, _effects: Effects, _act: Act[records.ClockTicked]) -> tuple[str, str]:
    """Do nothing more: the tick's append time has already moved log time, and due rows have left."""
    return _ACCEPTED


def _open_session(tables: Tables, effects: Effects, act: Act[records.SessionOpened]) -> None:
    session_id = sessions.open_session(tables, act.signer, act.body, effects.signed_event())
    sessions.admit(tables, session_id)
    effects.enter_sessions(SessionKind.SESSION, session_id)


def _close_session(tables: Tables, effects: Effects, act: Act[records.SessionClosed]) -> None:
    sessions.close(tables, act.signer)
    ended.begin(tables, [act.signer.kid])
    effects.enter_sessions(SessionKind.ENDED, act.signer.kid)


def _revoke_session(tables: Tables, effects: Effects, act: Act[records.SessionRevoked]) -> None:
    _end_revoked(tables, sessions.revoke(tables, act.signer, act.body))
    effects.enter_sessions(SessionKind.ENDED, act.body.session)


def _register_principal(tables: Tables, effects: Effects, act: Act[records.PrincipalRegistered]) -> None:
    """Register a key, and put the event into the registry: under the kid of a new key, else under the event's leaf.

    Each declaration of a known key stays there, because later ones were accepted because of it. Raises Refusal.
    """
    kid = registry.register(tables, act.signer, act.body)
    keys.admit(tables, act.body.key.principal_id, kid)
    if kid is None:
        effects.enter_registry(RegistryKind.TOOLS, effects.claim.leaf)
    else:
        effects.enter_registry(RegistryKind.KEY, kid)


def _revoke_principal(tables: Tables, effects: Effects, act: Act[records.PrincipalRevoked]) -> None:
    """Revoke keys. Statements that were made with them no longer count. Raises Refusal."""
    kids = registry.revoke(tables, act.signer, act.body)
    effects.enter_registry(RegistryKind.REVOKED, kids[0])  # once: the event covers all of them
    _end_revoked(tables, sessions.end_sessions(tables, kids), kids)
    if not tables.principals.rows[act.body.principal_id.encode()].kids:
        delegations.revoke_all_of(tables, act.body.principal_id)
        grants.end_all_of(tables, act.body.principal_id)


def _end_revoked(tables: Tables, revoked: list[bytes], kids: tuple[bytes, ...] = ()) -> None:
    """End for good the delegations and approvals that revoked sessions gave.

    With revoked keys `kids`, also those of every session that one of them opened, even if its row has left long ago.
    Attestations and statements about persons that were made with the keys no longer count either (`context/ended.py`).
    """
    if not kids:
        sessions.forget_what_was_said(tables, frozenset(revoked))
    delegations.revoke_granted_by(tables, frozenset(revoked), kids)
    grants.withdraw_given_by(tables, frozenset(revoked), frozenset(kids))
    ended.begin(tables, revoked, kids)


def _publish_policy(tables: Tables, _effects: Effects, act: Act[records.PolicyPublished]) -> None:
    judge.publish(tables, act.body)


def _withdraw_policy(tables: Tables, _effects: Effects, act: Act[records.PolicyWithdrawn]) -> None:
    judge.withdraw(tables, act.body)


def _set_attestation(tables: Tables, _effects: Effects, act: Act[workflow.AttestationSet]) -> None:
    attestations.set_attestation(tables, act.signer, act.body)


def _revoke_attestation(tables: Tables, _effects: Effects, act: Act[workflow.AttestationRevoked]) -> None:
    """Revoke the attestation with this id, or else the grant with this id. Raises Refusal."""
    room = attestations if act.body.record in tables.attestations.rows else grants
    room.revoke(tables, act.signer, act.body)


def _approve(tables: Tables, effects: Effects, act: Act[workflow.AttestationApproved]) -> None:
    if (leaf := answers.approve(tables, effects, act.signer, act.body)) is not None:
        decision.resume(tables, effects, leaf)


def _deny(tables: Tables, effects: Effects, act: Act[workflow.AttestationDenied]) -> None:
    if (leaf := answers.deny(tables, act.signer, act.body)) is not None:
        decision.end(tables, effects, leaf, Reason.APPROVAL_DENIED, Status.CANCELLED)


def _delegate(tables: Tables, effects: Effects, act: Act[workflow.DelegationGranted]) -> None:
    login_at = attestations.held_since(tables, act.signer.kid, PHISHING_RESISTANT, until=act.body.expires_at)
    delegations.grant(tables, effects, act.signer, act.body, login_at)


def _revoke_delegation(tables: Tables, _effects: Effects, act: Act[workflow.DelegationRevoked]) -> None:
    delegations.revoke(tables, act.signer, act.body)


def _log_application_event(_tables: Tables, _effects: Effects, act: Act[workflow.ApplicationEventLogged]) -> None:
    notes.check_application_event(act.body)


def _add_admin(tables: Tables, effects: Effects, act: Act[AdminAdded]) -> None:
    effects.enter_registry(RegistryKind.KEY, roots.add_admin(tables, act.body))


def _remove_admin(tables: Tables, effects: Effects, act: Act[AdminRemoved]) -> None:
    kids = roots.remove_admin(tables, act.body)
    effects.enter_registry(RegistryKind.REVOKED, kids[0])
    _end_revoked(tables, [], kids)


def _rotate_roots(tables: Tables, effects: Effects, act: Act[RootRotated]) -> None:
    effects.enter_registry(RegistryKind.ROOTS, roots.rotate_roots(tables, act.body).to_bytes(8, "big"))


def _rotate_key(tables: Tables, effects: Effects, act: Act[KeyRotated]) -> None:
    kid = rotation.rotate(tables, act.signer, act.body)
    if kid is None:
        effects.enter_registry(RegistryKind.SEALING, act.signer.kid)
    else:
        effects.enter_registry(RegistryKind.KEY, kid)


def _found_tenant(tables: Tables, effects: Effects, act: Act[records.TenantFounded]) -> None:
    assert effects.received.value is not None
    roots.found(tables, act.body, effects.received.value[codec.FRAME_BYTES :], effects.received.offset)
    effects.enter_registry(RegistryKind.TENANT, tables.genesis)


def _activate_engine(tables: Tables, effects: Effects, act: Act[EngineActivated]) -> None:
    engines.activate(tables, act.body)
    effects.enter_registry(RegistryKind.ENGINE, effects.claim.leaf)


def _accept_ruling(tables: Tables, effects: Effects, act: Act[RecordsSkipped | TimeAccepted]) -> None:
    rulings.accept(tables, act.body, effects.claim.leaf, effects.received.offset)


def _refuse_early(_tables: Tables, _effects: Effects, act: Act[object]) -> None:
    """Refuse a body without a rule. Raises Refusal NOT_SUPPORTED."""
    check_supported(act.body)


# INVARIANT: every class of `records.Body` has its row; `tests/processors/test_step_handlers.py` compares them.
HANDLERS: dict[type, Handler] = {
    records.InvocationRequested: _decide,
    records.ResultReported: _report,
    records.ClockTicked: _tick,
    records.SessionOpened: _accepted_after(_open_session),
    records.SessionClosed: _accepted_after(_close_session),
    records.SessionRevoked: _accepted_after(_revoke_session),
    records.PrincipalRegistered: _accepted_after(_register_principal),
    records.PrincipalRevoked: _accepted_after(_revoke_principal),
    records.PolicyPublished: _accepted_after(_publish_policy),
    records.PolicyWithdrawn: _accepted_after(_withdraw_policy),
    AdminAdded: _accepted_after(_add_admin),
    AdminRemoved: _accepted_after(_remove_admin),
    RootRotated: _accepted_after(_rotate_roots),
    KeyRotated: _accepted_after(_rotate_key),
    records.TenantFounded: _accepted_after(_found_tenant),
    EngineActivated: _accepted_after(_activate_engine),
    workflow.AttestationSet: _accepted_after(_set_attestation),
    workflow.AttestationRevoked: _accepted_after(_revoke_attestation),
    workflow.AttestationApproved: _accepted_after(_approve),
    workflow.AttestationDenied: _accepted_after(_deny),
    workflow.DelegationGranted: _accepted_after(_delegate),
    workflow.DelegationRevoked: _accepted_after(_revoke_delegation),
    workflow.ApplicationEventLogged: _accepted_after(_log_application_event),
    workflow.ContextWritten: _operate_vault,
    workflow.ContextRead: _operate_vault,
    workflow.ContextDeleted: _operate_vault,
    workflow.ContextListed: _operate_vault,
    workflow.StateQueried: _answer_question,
    RecordsSkipped: _accepted_after(_accept_ruling),
    TimeAccepted: _accepted_after(_accept_ruling),
    **dict.fromkeys(BODIES, _accepted_after(_refuse_early)),
}


# ---- refusals and expiry


def refuse(effects: Effects, refusal: Refusal) -> None:
    """Answer a refused record if its signer is known; put it into the dead letters if it cannot be read."""
    if refusal.reason == Reason.INTERNAL_ERROR:
        effects.broke(refusal.detail)
    if effects.claim.event is None:
        effects.dead_letter(refusal.reason)
    elif effects.claim.signer is not None and refusal.reason not in _SILENT:
        effects.reply(Outcome.REFUSED, refusal.reason, refusal.detail)


def expire(tables: Tables, effects: Effects) -> None:
    """Let due rows leave, at most 64 for each record, in an order that every replay repeats."""
    for table, key in tables.due():
        doing = f" at the end of a row of {table}"
        left = _attempt(effects, _leave, tables, effects, table, key, doing=doing)
        if isinstance(left, Refusal):
            effects.broke(left.reason + doing)
            tables.by_name[table].delete(key)  # a row that stayed would break every later record too


def _leave(tables: Tables, effects: Effects, table: str, key: bytes) -> None:
    """Let one due row leave, with the consequences for other rows and outputs."""
    match table:
        case "calls":
            outcome.outcome_unknown(tables, effects, key, tables.calls.rows[key])
            tables.calls.delete(key)
        case "pending":
            decision.pending_due(tables, effects, key)
        case "requests":
            requests.request_due(tables, key)
        case "keys":
            keys.spend(tables, key)
        case "sessions":
            sessions.remove(tables, effects, key)
        case _:
            tables.by_name[table].delete(key)  # no rule reads it after its end
