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

This module holds the order of these five, and `processors/handlers.py` one handler for each event. Neither holds Kafka,
a clock, randomness, signing or logging: `Output.fault` names a rule that broke, and the worker logs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from processors.calls import decision, enforcement, outcome, requests, work
from processors.context import ended
from processors.effects import Effects, Output
from processors.evidence import audit_log, rulings
from processors.handlers import HANDLERS, Act
from processors.identity import engines, keys, offers, sessions
from processors.intake.authority import check_may_sign
from processors.intake.identify import Claim, Received, Signer, check_claim, identify, raw_digest, read
from processors.intake.order import check_order
from processors.intake.unsupported import check_supported
from processors.policy.errors import WorkExceededError
from processors.proof.signing import VerifiedHeads
from processors.refusal import MACHINE_FAULTS, Refusal
from processors.state.tables import Tables
from schemas import records
from schemas.reasons import Reason
from schemas.words import Outcome

T = TypeVar("T")

# These get no answer: the signer has one already, or another party sent the record again.
_SILENT = frozenset({Reason.DUPLICATE, Reason.REPLAYED})


def step(tables: Tables, received: Received, heads: VerifiedHeads) -> list[Output]:
    """Fold one intake record into `tables` and return its outputs. Requires that every record before it was folded.

    Raises:
        Refusal: the record comes with a ruling that does not hold for it; nothing has changed.
        EngineMissingError: the engine that must decide it is not installed here, or packages that it needs; nothing
            has changed.
        MACHINE_FAULTS: the machine failed; no other exception leaves the step.
    """
    engines.engine_for(tables, received)
    tables.check_decides()
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
    check_supported(event.body, tables.engine.number)
    keys.check_decidable(tables, event.body)
    enforcement.check_signer(tables, signer, event.body)
    return apply(tables, effects, signer, event)


def apply(tables: Tables, effects: Effects, signer: Signer, event: records.Event) -> tuple[str, str]:
    """Run the rule for one verified event and return (outcome, reason). Raises Refusal."""
    handle = tables.engine.handlers.get(type(event.body)) or HANDLERS[type(event.body)]
    return handle(tables, effects, Act(signer, event, event.body))


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
        case "presence":
            _leave_instance(tables, effects, key)
        case "sessions":
            if not ended.is_held(tables, key):
                sessions.remove(tables, effects, key)
        case _:
            tables.by_name[table].delete(key)  # no rule reads it after its end


def _leave_instance(tables: Tables, effects: Effects, session_id: bytes) -> None:
    """End one open call to an instance that is gone; without one left, its sign of life leaves."""
    row, call = tables.presence.rows[session_id], offers.next_call_of(tables, session_id)
    tables.presence.delete(session_id)
    if call is not None:
        outcome.outcome_unknown(tables, effects, call, tables.calls.rows[call])
        tables.calls.delete(call)
        tables.presence.put(session_id, row)  # due again at once
