"""The rule of the product: `step(tables, received, heads) -> outputs`, a pure fold over one tenant's intake.

No operation takes effect without a decision on the log, and no decision without a verified signature and an explicit
allow. One record in, in order:

1. Time moves: `now` = max(previous now, the broker's append time). What is due by then expires first.
2. The record is decoded; its key is looked up in the registry; signature, order, age and names are checked.
3. The key's role must be one that may sign such an event.
4. The rule for that event runs: it changes tables and adds outputs, or it refuses, and then it changed nothing.
5. One audit entry records what happened, refused and undecodable records included.

What must live here: the order of these five. What must not: Kafka, clocks, randomness, signing. A refusal is an
outcome, never an exception that disappears; a failure of the machine (memory, recursion, disk) is not a decision and
is raised.
"""

from __future__ import annotations

from typing import assert_never

from processors import (
    application_events,
    approvals,
    attestations,
    audit,
    delegations,
    grants,
    invocations,
    policies,
    queries,
    registry,
    reports,
    requests,
    rulings,
    sessions,
    vault,
)
from processors.authority import check_may_sign
from processors.intake import Received, Signer, check_claim, identify, read
from processors.outputs import Effects, Output
from processors.refusal import Refusal
from processors.replay import check_order
from processors.signing import VerifiedHeads
from processors.tables import Tables
from schemas import records, workflow
from schemas.reasons import Reason
from schemas.rulings import RecordsSkipped, TimeAccepted

Change = (
    records.SessionOpened
    | records.SessionClosed
    | records.SessionRevoked
    | records.PrincipalRegistered
    | records.PrincipalRevoked
    | records.PolicyPublished
    | records.PolicyWithdrawn
    | workflow.AttestationSet
    | workflow.AttestationRevoked
    | workflow.AttestationApproved
    | workflow.AttestationDenied
    | workflow.DelegationGranted
    | workflow.DelegationRevoked
    | workflow.ApplicationEventLogged
    | records.AdminAdded
    | records.TenantFounded
)

# Not answered: nobody is known to have asked, or the answer was given already.
_SILENT = frozenset({Reason.DUPLICATE, Reason.REPLAYED})


def step(tables: Tables, received: Received, heads: VerifiedHeads) -> list[Output]:
    """Fold one intake record into `tables` and return what it causes. Requires that none before it was left out.

    Raises:
        Refusal: its ruling does not hold here, and nothing has changed. Never for a record without one.
    """
    if received.ruling is not None:
        received, skipped = rulings.follow(tables, received, heads)
        if skipped is not None:
            return rulings.skip(tables, received, skipped)
    tables.now = max(tables.now, received.appended_at)
    effects = Effects(tables, received, read(tables, received))
    expire(tables, effects)
    mark, written, signed = tables.savepoint(), len(effects.outputs), len(effects.leaves)
    try:
        event, signer = identify(tables, effects.claim, heads)
        check_order(tables, signer.kid, event.header, effects.claim.leaf)
        mark = tables.savepoint()  # the sequence of a good signature stays, whatever becomes of its event
        check_claim(tables, effects.claim, event, signer)
        check_may_sign(signer.role, event.body)
        outcome, reason = apply(tables, effects, signer, event)
    except Refusal as refusal:
        tables.undo_to(mark)
        del effects.outputs[written:], effects.leaves[signed:]
        outcome, reason = refuse(effects, refusal)
    audit.append_entry(tables, effects, outcome, reason)
    return effects.outputs


def apply(tables: Tables, effects: Effects, signer: Signer, event: records.Event) -> tuple[str, str]:
    """Run the rule for one verified event and return (outcome, reason). Raises Refusal."""
    match event.body:
        case records.InvocationRequested() as body:
            return invocations.request(tables, effects, signer, event, body)
        case records.ResultReported() as body:
            reports.report(tables, effects, signer, event, body)
        case workflow.ContextWritten() | workflow.ContextRead() | workflow.ContextDeleted() | workflow.ContextListed():
            vault.operate(tables, effects, signer, event, event.body)
        case workflow.StateQueried() as body:
            queries.answer(tables, effects, signer, event, body)
        case records.ClockTicked():
            pass  # its append time has moved the clock; what was due expired above
        case RecordsSkipped() | TimeAccepted() as body:
            rulings.accept(tables, body, effects.claim.leaf, effects.received.offset)
            effects.reply("accepted")
        case _ as body:
            _change(tables, effects, signer, body)
            effects.reply("accepted")
    return "accepted", ""


def _change(tables: Tables, effects: Effects, signer: Signer, body: Change) -> None:  # noqa: C901, PLR0912
    """Run the rule for an event that is answered with a word. Raises Refusal."""
    match body:
        case records.SessionOpened():
            session_id = sessions.open_session(tables, signer, body)
            sessions.note_person(tables, session_id)
            effects.enter_registry("session", session_id)
            effects.session_changed(session_id, tables.sessions.rows[session_id], "open")
        case records.SessionClosed():
            sessions.tell_ended(tables, effects, sessions.close(tables, signer))
            effects.enter_registry("ended", signer.kid)
        case records.SessionRevoked():
            _end_revoked(tables, effects, sessions.revoke(tables, signer, body))
            effects.enter_registry("ended", body.session)
        case records.PrincipalRegistered():
            effects.enter_registry("key", registry.register(tables, signer, body))
        case records.PrincipalRevoked():
            kids = registry.revoke(tables, signer, body)
            for kid in kids:
                effects.enter_registry("revoked", kid)
            _end_revoked(tables, effects, sessions.end_sessions(tables, kids), kids)
            if not tables.principals.rows[body.principal_id.encode()].kids:
                delegations.revoke_all_of(tables, effects, body.principal_id)
                grants.end_all_of(tables, effects, body.principal_id)
        case records.PolicyPublished():
            policies.publish(tables, body)
        case records.PolicyWithdrawn():
            policies.withdraw(tables, body)
        case workflow.AttestationSet():
            attestations.set_attestation(tables, effects, signer, body)
        case workflow.AttestationRevoked():
            (attestations if body.record in tables.attestations.rows else grants).revoke(tables, effects, signer, body)
        case workflow.AttestationApproved():
            if (leaf := approvals.approve(tables, effects, signer, body)) is not None:
                invocations.resume(tables, effects, leaf)
        case workflow.AttestationDenied():
            if (leaf := approvals.deny(tables, effects, signer, body)) is not None:
                invocations.end(tables, effects, leaf, Reason.APPROVAL_DENIED, "cancelled")
        case workflow.DelegationGranted():
            delegations.grant(tables, effects, signer, body)
        case workflow.DelegationRevoked():
            delegations.revoke(tables, effects, signer, body)
        case workflow.ApplicationEventLogged():
            application_events.check_application_event(body)
        case records.AdminAdded():
            effects.enter_registry("key", registry.add_admin(tables, body))
        case records.TenantFounded():
            assert effects.received.value is not None
            registry.found(tables, body, effects.received.value[5:], effects.received.offset)
            effects.enter_registry("tenant", tables.genesis)
        case _ as unreachable:
            assert_never(unreachable)


def _end_revoked(tables: Tables, effects: Effects, ended: list[bytes], kids: tuple[bytes, ...] = ()) -> None:
    """Tell which sessions were revoked, and end for good what they granted and approved.

    With keys, also what any session did that one of them had opened: its row may have left long ago.
    """
    sessions.tell_ended(tables, effects, ended)
    sessions.forget_what_was_said(tables, frozenset(ended), kids)
    delegations.revoke_granted_by(tables, effects, frozenset(ended), kids)
    grants.withdraw_given_by(tables, effects, frozenset(ended), kids)


def refuse(effects: Effects, refusal: Refusal) -> tuple[str, str]:
    """Answer a refused record where its signer is known, and keep it where it could not be read."""
    if effects.claim.event is None:
        effects.dead_letter(refusal.reason)
    elif effects.claim.signer is not None and refusal.reason not in _SILENT:
        effects.reply("refused", refusal.reason, refusal.detail)
    return "refused", refusal.reason


def expire(tables: Tables, effects: Effects) -> None:
    """Let rows whose deadline has passed leave, at most 64 for each record, in an order that every replay repeats."""
    for table, key in tables.due():
        match table:
            case "calls":
                reports.outcome_unknown(tables, effects, key, tables.calls.rows[key])
                tables.calls.delete(key)
            case "pending":
                invocations.pending_due(tables, effects, key)
            case "requests":
                requests.request_due(tables, effects, key)
            case "sessions":
                sessions.remove(tables, effects, key)
            case "attestations":
                attestations.leave(tables, effects, key)
            case "grants":
                grants.leave(tables, effects, key)
            case "delegations":
                delegations.leave(tables, effects, key)
            case "vault":
                vault.leave(tables, effects, key)
            case _:
                tables.by_name[table].delete(key)  # nothing reads it any more
