"""The views' feed: one flat record for each row that a view shows and a transaction has changed.

The feed is derived from the journal of the tables, once for each transaction; rules only write rows. For each row it
takes the newest write that a view can show. The record carries the audit index and the log time of that write's own
entry, not of the last entry of the transaction: a view replaces a row by one of the same or a higher audit index, and
people look up the entry by it. So a view ends with the same rows however the log is cut into transactions.

A row that leaves its table leaves its view by a record without a value. A session is shown as ended instead, until the
view drops it. Records of the feed are unsigned, do not belong to the outputs of an audit entry, and prove nothing.

This module must not decide anything: a status is read from a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from processors.calls.attestations import uses_max
from processors.calls.grants import is_over
from processors.calls.requests import approved_by, criteria_asked, quorum_of
from processors.effects import Output
from processors.state.journal import RowWrite
from schemas import codec, limits, topics
from schemas.changes import AttestationChanged, ContextChanged, DelegationChanged, SessionChanged
from schemas.events.attributes import read_by_policies
from schemas.rows import AttestationRow, DelegationRow, GrantRow, RequestRow, SessionRow, VaultRow
from schemas.topics import Topic
from schemas.words import AttestationKind, Status


class Source(NamedTuple):
    """The log that the rows come from: its origin and its tenant."""

    origin: str
    tenant: str


RowChange = SessionChanged | AttestationChanged | ContextChanged | DelegationChanged


def _session(source: Source, write: RowWrite, row: SessionRow) -> SessionChanged:
    ended = write.after is None or row.revoked or write.at >= row.expires_at
    return SessionChanged(
        origin=source.origin,
        audit_index=write.audit_index,
        tenant=source.tenant,
        session_id=write.key,
        principal_id=row.principal_id,
        role=row.role,
        status=Status.ENDED if ended else Status.OPEN,
        opened_at=row.opened_at,
        expires_at=row.expires_at,
        at=write.at,
        issuer=row.issuer,
        attributes=read_by_policies(row.attributes),
        opened_by=row.opened_by,
        actors=row.actors,
    )


def _shows_session(before: SessionRow, after: SessionRow) -> bool:
    """Return False if only the note has changed that rows of an ended session are still leaving."""
    return before.sweeping == after.sweeping


def _attestation(source: Source, write: RowWrite, row: AttestationRow) -> AttestationChanged:
    return AttestationChanged(
        origin=source.origin,
        audit_index=write.audit_index,
        tenant=source.tenant,
        id=write.key,
        kind=AttestationKind.RECORD,
        key=row.key,
        session_id=row.session_id,
        principal_id=row.by,
        resource=row.setter,
        status=Status.REVOKED if row.revoked else Status.CONSUMED if _is_used_up(row) else Status.ACTIVE,
        criteria=(),
        quorum=0,
        approved_by=(),
        uses=row.uses,
        uses_max=uses_max(row),
        ends_at=row.expires_at,
        at=write.at,
    )


def _is_used_up(row: AttestationRow) -> bool:
    most = uses_max(row)
    return most is not None and row.uses >= most


def _shows_attestation(before: AttestationRow, after: AttestationRow) -> bool:
    """Return False for a use after which others are left: otherwise each call would write a record to the feed."""
    is_use = after.position == before.position and after.uses > before.uses
    return not is_use or _is_used_up(after)


def _request(source: Source, write: RowWrite, row: RequestRow) -> AttestationChanged:
    # The row of a closed request has no approvals any more; the view still shows the approvers.
    given = (write.before if row.closed and write.before is not None else row).approvals
    quorum = quorum_of(row)
    return AttestationChanged(
        origin=source.origin,
        audit_index=write.audit_index,
        tenant=source.tenant,
        id=write.key,
        kind=AttestationKind.REQUEST,
        key=row.key,
        session_id=row.session_id,
        principal_id=row.root,
        resource=row.resource,
        status=row.closed or (Status.APPROVED if len(given) >= quorum else Status.PENDING),
        criteria=criteria_asked(row),
        quorum=quorum,
        approved_by=approved_by(given),
        uses=0,
        uses_max=None,
        ends_at=row.open_until,
        at=write.at,
    )


def _shows_request(before: RequestRow, after: RequestRow) -> bool:
    """Return False if a closed request only notes how its call ended."""
    return not (before.closed and after.closed)


def _grant(source: Source, write: RowWrite, row: GrantRow) -> AttestationChanged:
    return AttestationChanged(
        origin=source.origin,
        audit_index=write.audit_index,
        tenant=source.tenant,
        id=write.key,
        kind=AttestationKind.GRANT,
        key=row.key,
        session_id=b"",
        principal_id=row.root,
        resource="",
        status=Status.REVOKED if row.revoked else Status.CONSUMED if is_over(row) else Status.ACTIVE,
        criteria=(),
        quorum=0,
        approved_by=approved_by(row.approvals),
        uses=row.uses,
        uses_max=row.max_uses,
        ends_at=row.expires_at,
        at=write.at,
    )


def _delegation(source: Source, write: RowWrite, row: DelegationRow) -> DelegationChanged:
    return DelegationChanged(
        origin=source.origin,
        audit_index=write.audit_index,
        tenant=source.tenant,
        delegation=write.key,
        parent=row.parent,
        delegator=row.delegator,
        delegate=row.delegate,
        scope=row.scope,
        purpose=row.purpose,
        status=Status.REVOKED if row.revoked else Status.ACTIVE,
        expires_at=row.expires_at,
        at=write.at,
    )


def _vault_key(source: Source, write: RowWrite, row: VaultRow) -> ContextChanged:
    """Return the record of a key of the vault, without the value, which views must not have."""
    return ContextChanged(
        origin=source.origin,
        audit_index=write.audit_index,
        tenant=source.tenant,
        scope=row.scope,
        key=row.key,
        status=Status.SET,
        version=row.version,
        principal_id=row.author,
        ends_at=None if row.until >= limits.FOR_EVER_MS else row.until,
        at=write.at,
    )


def _always(_before: object, _after: object) -> bool:
    return True


class _Kind(NamedTuple):
    """The way from the rows of one table to records of the feed.

    `record` returns the record for a write, of the row after it. A row that has left its table has left its view too,
    unless it `outlives` it: then the record is of the row before. `shows` returns True if a view shows the difference
    between two states of a row. `id_of` returns the row's id in the view.
    """

    topic: Topic
    record: Callable[[Source, RowWrite, Any], RowChange]
    shows: Callable[[Any, Any], bool] = _always
    id_of: Callable[[bytes], bytes] = bytes
    outlives: bool = False


KINDS: dict[str, _Kind] = {
    "sessions": _Kind(topics.OPS_SESSIONS, _session, _shows_session, outlives=True),
    "attestations": _Kind(topics.OPS_ATTESTATIONS, _attestation, _shows_attestation),
    "requests": _Kind(topics.OPS_ATTESTATIONS, _request, _shows_request),
    "grants": _Kind(topics.OPS_ATTESTATIONS, _grant),
    "delegations": _Kind(topics.OPS_DELEGATIONS, _delegation),
    "vault": _Kind(topics.OPS_CONTEXT, _vault_key, id_of=lambda key: sha256(key).digest()),
}


def feed_of(writes: Iterable[RowWrite], source: Source) -> list[Output]:
    """Return the feed's records for some writes, in the order of the log, at most one for each row.

    `writes` come newest first, as `Tables.writes(KINDS)` yields them.
    """
    told: set[tuple[str, bytes]] = set()
    found: list[Output] = []
    for write in writes:
        row, kind = (write.table, write.key), KINDS[write.table]
        if row in told:
            continue
        if write.before is not None and write.after is not None and not kind.shows(write.before, write.after):
            continue
        told.add(row)
        found.append(_output(source, kind, write))
    found.reverse()
    return found


def _output(source: Source, kind: _Kind, write: RowWrite) -> Output:
    row = write.before if write.after is None and kind.outlives else write.after
    row_id = kind.id_of(write.key)
    key = f"{source.tenant}/{row_id.hex()}".encode()
    value = None if row is None else codec.frame(kind.record(source, write, row))
    return Output(kind.topic, topics.keyed_partition(row_id), key, value)
