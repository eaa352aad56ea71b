"""An admin's ruling on places of intake that nobody passes by himself. What to do about them: docs/incidents.md.

Two things hold an intake up: a batch that cannot be read, and a record whose append time is ahead of the clock of who
folds it. The fold is pure and sees neither; a worker stops before them. What lets it go on is an event that an admin
signs and appends further on, about the offsets from `first` to `last`: `RecordsSkipped` or `TimeAccepted`. The worker
looks ahead for it, and gives it to the fold together with the record.

The record's audit entry names the leaf of the ruling, so whoever folds the log again does the same without that clock
and that disk. A ruling is judged where it is followed: its key must be an admin's there. Its own event, in its turn, is
accepted if it was followed, and refused if nobody needed it.
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
from schemas.reasons import Reason
from schemas.records import AuditEntry
from schemas.rows import RulingRow
from schemas.rulings import RecordsSkipped, TimeAccepted
from schemas.words import Outcome

Body = RecordsSkipped | TimeAccepted


def judge(tables: Tables, candidate: Received, heads: VerifiedHeads, offset: int) -> tuple[Claim, Body]:
    """Return what an event of intake rules about `offset`.

    Raises:
        Refusal: it is no ruling on that offset, or no admin of that place has signed it.
    """
    claim = read(tables, candidate)
    event, signer = identify(tables, claim, heads)
    check_names(event, signer)
    check_may_sign(signer.role, event.body)
    body = event.body
    if not isinstance(body, RecordsSkipped | TimeAccepted) or not body.first <= offset <= body.last:
        raise Refusal(Reason.RULING_FORM, f"no ruling on offset {offset}")
    _check_form(body, candidate.offset)
    return claim, body


def accept(tables: Tables, body: Body, leaf: bytes, offset: int) -> None:
    """Close a ruling that was followed, when its own event is folded.

    Raises:
        Refusal: RULING_FORM, or RULING_UNUSED where nobody followed it.
    """
    _check_form(body, offset)
    if tables.rulings.get(leaf) is None:
        raise Refusal(Reason.RULING_UNUSED)
    tables.rulings.delete(leaf)


def follow(tables: Tables, received: Received, heads: VerifiedHeads) -> tuple[Received, Claim | None]:
    """Return a record as its ruling wants it folded, and where it is to be skipped the ruling's claim.

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
    """Whether the event of an entry is an admin's ruling that skips its record. Requires that its signer is known."""
    assert claim.event is not None
    assert claim.signer is not None
    body, offset = claim.event.body, entry.offset
    if not isinstance(body, RecordsSkipped) or claim.signer.role not in MAY_SIGN[RecordsSkipped]:
        return False
    return body.first <= offset <= body.last and entry.ruling == entry.event


def skip(tables: Tables, received: Received, claim: Claim) -> list[Output]:
    """Close the place of a record that cannot be read: an entry with the ruling for its event. Time stands still."""
    tables.appended = tables.now
    effects = Effects(tables, received, claim)
    audit_log.append_entry(tables, effects, Outcome.SKIPPED, Reason.UNREADABLE_BATCH)
    return effects.outputs


def _check_form(body: Body, offset: int) -> None:
    """Nobody rules on what is to come: it lies behind what it is about, or is the last of what came ahead of time."""
    last = offset - 1 if isinstance(body, RecordsSkipped) else offset
    if not 0 <= body.first <= body.last <= last:
        raise Refusal(Reason.RULING_FORM, f"got offsets {body.first} to {body.last}, want them in order, up to {last}")
    if body.last - body.first >= limits.RULED_OFFSETS_MAX:
        raise Refusal(Reason.RULING_FORM, f"want at most {limits.RULED_OFFSETS_MAX} offsets")
    if not 0 < len(body.reason) <= limits.REASON_CHARS_MAX:
        raise Refusal(Reason.RULING_FORM, f"want a reason of 1 to {limits.REASON_CHARS_MAX} characters")
