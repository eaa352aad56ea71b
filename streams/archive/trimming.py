"""Trimming intake: deleting archived records from the brokers, with an operator's rights.

Only records that were read back from the store and judged in the same run are trimmed, and none if one does not hold.
Intake itself must still be the one that was archived: its first record and the last one that would go are compared.
The last archived record stays on the brokers: at each start a monitor looks whether intake still has it there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from processors.evidence.archive.bodies import Absent, signed_leaf
from processors.evidence.archive.codes import ArchiveCode
from processors.evidence.archive.segment import BodyKind, Owner
from processors.evidence.archive.verdict import ArchiveVerdict
from processors.intake.identify import Received, raw_digest
from processors.proof.signing import INTAKE_PARTITION
from schemas.errors import StoppedError
from schemas.topics import INTAKE
from streams.archive.places import TenantArchive
from streams.archive.retention import check_no_hold
from streams.cluster.topics import ASK_SECONDS, answered
from streams.history.kept_log import ArchiveDiffersError

OnIntake = Callable[[int], Received | None]  # the first record at or behind an offset, None if there is none


class TrimError(StoppedError):
    """Intake must not be trimmed there; the message names the reason. Nothing was deleted."""

    code = "TRIM_REFUSED"


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The result of a trim: intake began at `before`, and begins at `after`."""

    before: int
    after: int


def trim(
    admin: AdminClient,
    archive: TenantArchive,
    verdict: ArchiveVerdict,
    *,
    on_intake: OnIntake,
    low: int,
    to: int | None,
) -> Trimmed:
    """Delete the records of intake below an offset, by default all that may go; return the result.

    `verdict` is that of this run on the whole archive, `low` the first offset that intake has.

    Raises:
        TrimError: the archive does not hold, or does not have a record that would go.
        ArchiveDiffersError: intake has other records than the archive: it was made again.
        HeldError: a legal hold forbids it.
        TopicsError: the brokers refuse; the right to delete is an operator's.
        SegmentError, StoreError: the archive could not be read a second time. The errors of `on_intake` pass through.
    """
    tenant = archive.owner.tenant
    check_no_hold(archive.keyring.path)
    if verdict.code not in {ArchiveCode.WHOLE, ArchiveCode.LAGS}:
        raise TrimError(f"{TrimError.code}: the archive does not hold ({verdict.code}): {verdict.detail}")
    bound = verdict.next_offset - 1  # the last archived record stays
    if verdict.last_gone >= low:
        raise TrimError(
            f"{TrimError.code}: the archive came without the record at intake offset {verdict.last_gone}, which the "
            "brokers still have; see docs/archive.md"
        )
    if to is not None and to > bound:
        raise TrimError(
            f"{TrimError.code}: the archive has verified records up to offset {verdict.next_offset}, and the last of "
            f"them stays: trim to {bound} at most"
        )
    target = bound if to is None else to
    if target <= low:
        return Trimmed(low, low)
    for offset in dict.fromkeys((low, target - 1)):
        _check_same(archive, on_intake, offset)
    place = TopicPartition(INTAKE.of(tenant), INTAKE_PARTITION, target)
    [future] = admin.delete_records([place], request_timeout=ASK_SECONDS).values()
    after = answered(future, f"cannot trim {INTAKE.of(tenant)} to offset {target}")
    return Trimmed(low, int(after.low_watermark))


def _check_same(archive: TenantArchive, on_intake: OnIntake, offset: int) -> None:
    """Raise ArchiveDiffersError unless the first record that can be read from an offset on is the archived one."""
    start = offset
    for ours in archive.read().intake(offset):
        if isinstance(ours, Absent) and ours.kind is BodyKind.UNREADABLE:
            start = sys.maxsize  # nobody can read it: the next one is asked for by its own offset
            continue
        theirs = on_intake(min(start, ours.offset))
        if theirs is not None and _is_same(ours, theirs, archive.owner):
            return
        break
    raise ArchiveDiffersError(
        f"{ArchiveDiffersError.code}: {INTAKE.of(archive.owner.tenant)} has another record at or behind offset "
        f"{offset} than the archive: the topic was made again, or the archive belongs to another log; nothing was "
        "deleted; see docs/incidents.md"
    )


def _is_same(ours: Received | Absent, theirs: Received, owner: Owner) -> bool:
    if not isinstance(ours, Absent):
        return ours.offset == theirs.offset and _told(ours) == _told(theirs)
    leaves = (
        signed_leaf(theirs.value, owner),
        signed_leaf(theirs.value, owner, is_founding=True),
        raw_digest(theirs.value),
    )
    return ours.offset == theirs.offset and ours.leaf in leaves  # of a shredded record the archive has the leaf


def _told(one: Received) -> object:
    return one.value, one.appended_at, [*one.headers]
