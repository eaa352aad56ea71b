"""Rulings: a signed word on offsets of intake that a worker must not pass by itself (docs/incidents.md).

Three faults stop a worker. The fold is pure and sees none of them:

    a batch that cannot be read                              an admin's RecordsSkipped: it has no record
    an append time ahead of the worker's clock               an admin's TimeAccepted: the time to take
    an admin's record that leaves the worker without the     the roots' AdminRemoved of that admin, or a recovery of
    key or the engine for what follows                       the roots: it has no effect (`refused RULED_OUT`)

The ruling stands at a later offset. The worker looks ahead for it, and gives it to the fold together with the record.
The record's audit entry names the leaf of the ruling, so the log can be folded again without that clock, disk or key,
with the same result. A ruling is judged where it is followed: its keys must count there. When the fold comes to the own
event of RecordsSkipped or TimeAccepted, it accepts it if it was followed, and refuses it if not. An act of the roots
counts at its own place, followed or not.

A thief of an admin key can put a key of his own in the place of the decision key, or activate an engine that exists
nowhere. Without the third ruling no later record could be folded, the removal of that admin included.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from processors.effects import Effects, Output
from processors.evidence import audit_log
from processors.identity import roots
from processors.intake.authority import MAY_SIGN, check_may_sign
from processors.intake.identify import Claim, Received, Ruling, check_names, identify, read
from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import limits
from schemas.events.engines import EngineActivated
from schemas.events.keys import AdminRemoved, KeyRotated, RootRotated
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.reasons import Reason
from schemas.records import AuditEntry, PrincipalRegistered, PrincipalRevoked
from schemas.rows import RulingRow
from schemas.words import Outcome, Role

ByRoots = AdminRemoved | RootRotated
Body = RecordsSkipped | TimeAccepted | ByRoots


class Followed(NamedTuple):
    """A record as its ruling lets it be folded: skipped, refused, or at another time."""

    received: Received
    body: Body
    skip: Claim | None = None  # of the ruling, if the record cannot be read
    refusal: Refusal | None = None  # of a record that has no effect


def _judge(tables: Tables, received: Received, heads: VerifiedHeads) -> tuple[Claim, Body]:
    """Return the claim and the body of the record's ruling.

    Raises:
        Refusal: the event is not a ruling on this record, or its signers may not rule at that place.
    """
    assert received.ruling is not None
    ruling = received.ruling.event
    claim = read(tables, ruling)
    event, signer = identify(tables, claim, heads)
    check_names(event, signer)
    check_may_sign(signer.role, event.body)
    body = event.body
    if isinstance(body, ByRoots):
        _check_disowned(tables, body, received, ruling.offset)
    elif isinstance(body, RecordsSkipped | TimeAccepted) and body.first <= received.offset <= body.last:
        _check_form(body, ruling.offset)
    else:
        raise Refusal(Reason.RULING_FORM, f"the event is not a ruling on offset {received.offset}")
    return claim, body


def _check_disowned(tables: Tables, body: ByRoots, received: Received, offset: int) -> None:
    """Raise Refusal unless the roots disown an admin's record at a later `offset`.

    A removal disowns the records of that admin. A recovery of the roots disowns those of every admin: a thief of the
    present root keys can have added some.
    """
    claim = read(tables, received)
    if claim.event is None or received.offset >= offset or not _can_capture(tables, claim.event.body):
        raise Refusal(Reason.RULING_FORM, f"the record at offset {received.offset} is not one that roots rule on")
    if isinstance(body, RootRotated):
        roots.check_recovery(tables, body)
        row = tables.keys.get(claim.kid or b"")
        is_disowned = row is not None and row.role == Role.ADMIN
    else:
        is_disowned = claim.kid in roots.removed_by(tables, body)
    if not is_disowned:
        raise Refusal(Reason.RULING_FORM, f"the roots do not remove the signer of the record at {received.offset}")


def _can_capture(tables: Tables, body: object) -> bool:
    """Return True if an event can take the decision key or the engine from a worker."""
    match body:
        case KeyRotated(kid=kid):
            row = tables.keys.get(kid)
            return row is not None and row.role == Role.MONITOR
        case PrincipalRegistered(role=role):
            return role == Role.MONITOR
        case PrincipalRevoked(principal_id=name):
            principal = tables.principals.get(name.encode("utf-8", "surrogatepass"))
            return principal is not None and principal.role == Role.MONITOR
        case _:
            return isinstance(body, EngineActivated)


def accept(tables: Tables, body: RecordsSkipped | TimeAccepted, leaf: bytes, offset: int) -> None:
    """Close a ruling that was followed, when its own event is folded.

    Raises:
        Refusal: RULING_FORM, or RULING_UNUSED if the ruling was not followed.
    """
    _check_form(body, offset)
    if tables.rulings.get(leaf) is None:
        raise Refusal(Reason.RULING_UNUSED)
    tables.rulings.delete(leaf)


def follow(tables: Tables, received: Received, heads: VerifiedHeads) -> Followed:
    """Return how a record must be folded by its ruling.

    Raises:
        Refusal: the ruling does not hold here, and nothing has changed.
    """
    assert received.ruling is not None
    claim, body = _judge(tables, received, heads)
    ruled = replace(received, ruling=Ruling(claim.leaf, received.ruling.event))
    if isinstance(body, ByRoots):
        return Followed(ruled, body, refusal=Refusal(Reason.RULED_OUT))
    if tables.rulings.get(claim.leaf) is None:
        assert claim.signer is not None
        row = RulingRow(by=claim.signer.principal_id, until=tables.now + limits.RULING_KEPT_MS)
        tables.rulings.put(claim.leaf, row)
    if isinstance(body, RecordsSkipped):
        return Followed(ruled, body, skip=claim)
    return Followed(replace(ruled, appended_at=min(body.now, received.appended_at)), body)


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


def _check_form(body: RecordsSkipped | TimeAccepted, offset: int) -> None:
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
