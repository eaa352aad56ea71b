"""Rulings: an admin's signed word on offsets of intake that a worker must not pass by itself (docs/incidents.md).

Two faults stop a worker: a batch that cannot be read, and a record with an append time ahead of the worker's clock. The
fold is pure and sees neither. To go on, an admin signs an event about the offsets from `first` to `last` and appends it
at a later offset: `RecordsSkipped` or `TimeAccepted`. The worker looks ahead for it, and gives it to the fold together
with the record.

The record's audit entry names the leaf of the ruling, so the log can be folded again without that clock and that disk,
with the same result. A ruling is judged where it is followed: its key must be an admin's there. When the fold comes to
the ruling's own event, it accepts it if it was followed, and refuses it if not.
"""

from __future__ import annotations

from dataclasses import replace

from processors.effects import Effects, Output
from processors.evidence import audit_log
from processors.intake.authority import MAY_SIGN, check_may_sign
from processors.intake.identify import Claim, Received, Ruling, check_names, identify, read
from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import limits
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.reasons import Reason
from schemas.records import AuditEntry
from schemas.rows import RulingRow
from schemas.words import Outcome

Body = RecordsSkipped | TimeAccepted


def judge(tables: Tables, candidate: Received, heads: VerifiedHeads, offset: int) -> tuple[Claim, Body]:
    """Return the claim and the body of the ruling on `offset` that an event of intake is.

    Raises:
        Refusal: the event is not a ruling on that offset, or its signer is not an admin at that place.
    """
    claim = read(tables, candidate)
    event, signer = identify(tables, claim, heads)
    check_names(event, signer)
    check_may_sign(signer.role, event.body)
    body = event.body
    if not isinstance(body, RecordsSkipped | TimeAccepted) or not body.first <= offset <= body.last:
        raise Refusal(Reason.RULING_FORM, f"the event is not a ruling on offset {offset}")
    _check_form(body, candidate.offset)
    return claim, body


def accept(tables: Tables, body: Body, leaf: bytes, offset: int) -> None:
    """Close a ruling that was followed, when its own event is folded.

    Raises:
        Refusal: RULING_FORM, or RULING_UNUSED if the ruling was not followed.
    """
    _check_form(body, offset)
    if tables.rulings.get(leaf) is None:
        raise Refusal(Reason.RULING_UNUSED)
    tables.rulings.delete(leaf)


def follow(tables: Tables, received: Received, heads: VerifiedHeads) -> tuple[Received, Claim | None]:
    """Return the record as it must be folded, and the ruling's claim if the record must be skipped, else None.

    Raises:
        Refusal: the ruling does not hold here, and nothing has changed.
    """
    assert received.ruling is not None
    claim, body = judge(tables, received.ruling.event, heads, received.offset)
    if tables.rulings.get(claim.leaf) is None:
        assert claim.signer is not None
        row = RulingRow(by=claim.signer.principal_id, until=tables.now + limits.RULING_KEPT_MS)
        tables.rulings.put(claim.leaf, row)
    ruled = replace(received, ruling=Ruling(claim.leaf, received.ruling.event))
    if isinstance(body, RecordsSkipped):
        return ruled, claim
    return replace(ruled, appended_at=min(body.now, received.appended_at)), None


def skips(claim: Claim, entry: AuditEntry) -> bool:
    """Return True if the event of an entry is an admin's ruling that skips its record. Requires a known signer."""
    assert claim.event is not None
    assert claim.signer is not None
    body, offset = claim.event.body, entry.offset
    if not isinstance(body, RecordsSkipped) or claim.signer.role not in MAY_SIGN[RecordsSkipped]:
        return False
    return body.first <= offset <= body.last and entry.ruling == entry.event


def skip(tables: Tables, received: Received, claim: Claim) -> list[Output]:
    """Return the outputs for a record that cannot be read: an entry that names the ruling. Log time does not move."""
    tables.appended = tables.now
    effects = Effects(tables, received, claim)
    audit_log.append_entry(tables, effects, Outcome.SKIPPED, Reason.UNREADABLE_BATCH)
    return effects.outputs


def _check_form(body: Body, offset: int) -> None:
    """Raise Refusal RULING_FORM unless the ruling has a reason, and names offsets before its own, in order.

    `TimeAccepted` may name its own offset as the last: it may have come ahead of time itself.
    """
    last = offset - 1 if isinstance(body, RecordsSkipped) else offset
    if not 0 <= body.first <= body.last <= last:
        raise Refusal(Reason.RULING_FORM, f"got offsets {body.first} to {body.last}, want 0 <= first <= last <= {last}")
    if body.last - body.first >= limits.RULED_OFFSETS_MAX:
        raise Refusal(Reason.RULING_FORM, f"got more than {limits.RULED_OFFSETS_MAX} offsets in one ruling")
    if not 0 < len(body.reason) <= limits.REASON_CHARS_MAX:
        raise Refusal(Reason.RULING_FORM, f"the reason must have 1 to {limits.REASON_CHARS_MAX} characters")
