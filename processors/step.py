"""The rule of the product: `step(tables, received, heads) -> outputs`, a pure fold over one tenant's intake.

No operation takes effect without a decision on the log, and no decision without a verified signature and an explicit
allow. One record in, in order:

1. Time moves: `now` = max(previous now, the broker's append time). What is due by then expires first.
2. The record is decoded; its key is looked up in the registry; signature, order, age and names are checked.
3. The key's role must be one that may sign such an event.
4. The rule for that event runs: it changes tables and adds outputs, or it refuses, and then it changed nothing.
5. Some of what hangs on what has ended leaves, and one audit entry records what happened, refused and undecodable
   records included.

The step is total: whatever breaks in one of these five, a row's expiry and the entry included, is undone and stands in
the entry as `refused INTERNAL_ERROR` with the kind of failure, so that no record stops its tenant. Only a failure of
the machine (memory, recursion, disk: MACHINE_FAULTS) is no decision and is raised.

What must live here: the order of these five. What must not: Kafka, clocks, randomness, signing, logging: who runs the
step sees at `Output.fault` that something broke, and tells people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, assert_never

from processors.calls import answers, attestations, decision, grants, judge, outcome, requests, work
from processors.calls.attestations import PHISHING_RESISTANT
from processors.context import ended, notes, queries, vault
from processors.effects import Effects, Output
from processors.evidence import audit_log, rulings
from processors.identity import delegations, keys, registry, sessions
from processors.intake.authority import check_may_sign
from processors.intake.identify import Claim, Received, Signer, check_claim, identify, raw_digest, read
from processors.intake.order import check_order
from processors.policy.errors import WorkExceededError
from processors.proof.signing import VerifiedHeads
from processors.refusal import MACHINE_FAULTS, Refusal
from processors.state.tables import Tables
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

T = TypeVar("T")

# Not answered: nobody is known to have asked, or the answer was given already.
_SILENT = frozenset({Reason.DUPLICATE, Reason.REPLAYED})


def step(tables: Tables, received: Received, heads: VerifiedHeads) -> list[Output]:
    """Fold one intake record into `tables` and return what it causes. Requires that none before it was left out.

    Raises:
        Refusal: its ruling does not hold here, and nothing has changed. Never for a record without one.
        MACHINE_FAULTS: and nothing else.
    """
    if received.ruling is not None:
        followed = _attempt(Effects(tables, received), rulings.follow, tables, received, heads)
        if isinstance(followed, Refusal):
            raise followed
        received, skipped = followed
        if skipped is not None:
            return rulings.skip(tables, received, skipped)
    tables.now, tables.appended = max(tables.now, received.appended_at), received.appended_at
    effects = Effects(tables, received)
    claim = _attempt(effects, read, tables, received)
    effects.claim = Claim(raw_digest(received.value), refusal=claim) if isinstance(claim, Refusal) else claim
    expire(tables, effects)
    mark = effects.savepoint()
    known = _attempt(effects, _know, tables, effects, heads)
    # The sequence of a good signature stays, whatever becomes of its event.
    done = known if isinstance(known, Refusal) else _attempt(effects, _take_effect, tables, effects, *known)
    if isinstance(done, Refusal):
        _attempt(effects, refuse, effects, done)
        done = "refused", done.reason
    if effects.spent:
        work.pay(tables, effects)
    if ended.is_sweeping(tables):
        _attempt(effects, ended.sweep, tables, doing=" while rows of what has ended leave")
    if isinstance(_attempt(effects, audit_log.append_entry, tables, effects, *done), Refusal):
        effects.undo_to(mark)
        effects.claim = Claim(raw_digest(received.value))
        audit_log.append_entry(tables, effects, "refused", Reason.INTERNAL_ERROR)
    return effects.outputs


def _attempt(effects: Effects, act: Callable[..., T], *of: object, doing: str = "") -> T | Refusal:
    """Return what a part of the step comes to, or why it was refused; then all that it did is undone.

    `doing` says, where something breaks, what was being done beside the record itself.
    """
    mark = effects.savepoint()
    try:
        return act(*of)
    except MACHINE_FAULTS:
        raise
    except Refusal as exc:
        refusal = exc
    except WorkExceededError:
        refusal = Refusal(Reason.LIMIT_EXCEEDED, "it would cost more work than one record may")
    except Exception as exc:  # noqa: BLE001 - the only one: what a rule did not foresee must not stop a tenant for good
        effects.broke(type(exc).__name__ + doing, exc)
        refusal = Refusal(Reason.INTERNAL_ERROR, type(exc).__name__)
    effects.undo_to(mark)
    return refusal


def _know(tables: Tables, effects: Effects, heads: VerifiedHeads) -> tuple[records.Event, Signer]:
    """Return a record's event and signer, and note that it was the next of its key. Raises Refusal."""
    event, signer = identify(tables, effects.claim, heads)
    check_order(tables, signer.kid, event.header, effects.claim.leaf)
    return event, signer


def _take_effect(tables: Tables, effects: Effects, event: records.Event, signer: Signer) -> tuple[str, str]:
    """Check what a verified event claims, run its rule, and return (outcome, reason). Raises Refusal."""
    check_claim(tables, effects.claim, event, signer)
    check_may_sign(signer.role, event.body)
    return apply(tables, effects, signer, event)


def apply(tables: Tables, effects: Effects, signer: Signer, event: records.Event) -> tuple[str, str]:
    """Run the rule for one verified event and return (outcome, reason). Raises Refusal."""
    match event.body:
        case records.InvocationRequested() as body:
            return decision.request(tables, effects, signer, event, body)
        case records.ResultReported() as body:
            outcome.report(tables, effects, signer, event, body)
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
            session_id = sessions.open_session(tables, signer, body, effects.signed_event())
            sessions.admit(tables, session_id)
            effects.enter_registry("session", session_id)
        case records.SessionClosed():
            sessions.close(tables, signer)
            ended.begin(tables, [signer.kid])
            effects.enter_registry("ended", signer.kid)
        case records.SessionRevoked():
            _end_revoked(tables, sessions.revoke(tables, signer, body))
            effects.enter_registry("ended", body.session)
        case records.PrincipalRegistered():
            kid = registry.register(tables, signer, body)
            keys.admit(tables, body.key.principal_id, kid)
            _enter_registered(effects, kid)
        case records.PrincipalRevoked():
            _revoke_principal(tables, effects, signer, body)
        case records.PolicyPublished():
            judge.publish(tables, body)
        case records.PolicyWithdrawn():
            judge.withdraw(tables, body)
        case workflow.AttestationSet():
            attestations.set_attestation(tables, signer, body)
        case workflow.AttestationRevoked():
            (attestations if body.record in tables.attestations.rows else grants).revoke(tables, signer, body)
        case workflow.AttestationApproved():
            if (leaf := answers.approve(tables, effects, signer, body)) is not None:
                decision.resume(tables, effects, leaf)
        case workflow.AttestationDenied():
            if (leaf := answers.deny(tables, signer, body)) is not None:
                decision.end(tables, effects, leaf, Reason.APPROVAL_DENIED, "cancelled")
        case workflow.DelegationGranted():
            login_at = attestations.held_since(tables, signer.kid, PHISHING_RESISTANT, until=body.expires_at)
            delegations.grant(tables, effects, signer, body, login_at)
        case workflow.DelegationRevoked():
            delegations.revoke(tables, signer, body)
        case workflow.ApplicationEventLogged():
            notes.check_application_event(body)
        case records.AdminAdded():
            effects.enter_registry("key", registry.add_admin(tables, body))
        case records.TenantFounded():
            assert effects.received.value is not None
            registry.found(tables, body, effects.received.value[5:], effects.received.offset)
            effects.enter_registry("tenant", tables.genesis)
        case _ as unreachable:
            assert_never(unreachable)


def _enter_registered(effects: Effects, kid: bytes | None) -> None:
    """Put a new key into the registry under its kid, a declaration without one under its leaf.

    Each declaration stays: later ones were accepted because of it.
    """
    if kid is None:
        effects.enter_registry("tools", effects.claim.leaf)
    else:
        effects.enter_registry("key", kid)


def _revoke_principal(tables: Tables, effects: Effects, signer: Signer, body: records.PrincipalRevoked) -> None:
    """Revoke keys, and let what was done with them count no more. Raises Refusal."""
    kids = registry.revoke(tables, signer, body)
    effects.enter_registry("revoked", kids[0])  # once: it says which others
    _end_revoked(tables, sessions.end_sessions(tables, kids), kids)
    if not tables.principals.rows[body.principal_id.encode()].kids:
        delegations.revoke_all_of(tables, body.principal_id)
        grants.end_all_of(tables, body.principal_id)


def _end_revoked(tables: Tables, revoked: list[bytes], kids: tuple[bytes, ...] = ()) -> None:
    """Tell which sessions were revoked, and end for good what they granted and approved.

    With keys, also what any session did that one of them had opened: its row may have left long ago. What they attested
    counts no more either, and what they said of persons (`ended`).
    """
    if not kids:
        sessions.forget_what_was_said(tables, frozenset(revoked))
    delegations.revoke_granted_by(tables, frozenset(revoked), kids)
    grants.withdraw_given_by(tables, frozenset(revoked), frozenset(kids))
    ended.begin(tables, revoked, kids)


def refuse(effects: Effects, refusal: Refusal) -> None:
    """Answer a refused record where its signer is known, and keep it where it could not be read."""
    if refusal.reason == Reason.INTERNAL_ERROR:
        effects.broke(refusal.detail)
    if effects.claim.event is None:
        effects.dead_letter(refusal.reason)
    elif effects.claim.signer is not None and refusal.reason not in _SILENT:
        effects.reply("refused", refusal.reason, refusal.detail)


def expire(tables: Tables, effects: Effects) -> None:
    """Let rows whose deadline has passed leave, at most 64 for each record, in an order that every replay repeats."""
    for table, key in tables.due():
        doing = f" at the end of a row of {table}"
        left = _attempt(effects, _leave, tables, effects, table, key, doing=doing)
        if isinstance(left, Refusal):
            effects.broke(left.reason + doing)
            tables.by_name[table].delete(key)  # or it would break every later record too


def _leave(tables: Tables, effects: Effects, table: str, key: bytes) -> None:
    """Let one row leave that is due, with what follows from it."""
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
            tables.by_name[table].delete(key)  # nothing reads it any more
