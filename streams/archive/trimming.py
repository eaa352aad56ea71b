"""Trimming intake: deleting archived records from the brokers, with an operator's rights.

Only records that were read back from the store and judged in the same run are trimmed, and none if one does not hold.
The last archived record stays on the brokers: at each start a monitor looks whether intake still has it there.
"""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from processors.evidence.archive.codes import ArchiveCode
from processors.evidence.archive.verdict import ArchiveVerdict
from processors.proof.signing import INTAKE_PARTITION
from schemas.errors import StoppedError
from schemas.topics import INTAKE
from streams.archive.places import TenantArchive
from streams.archive.retention import check_no_hold
from streams.cluster.topics import ASK_SECONDS, answered


class TrimError(StoppedError):
    """Intake must not be trimmed there; the message names the reason. Nothing was deleted."""

    code = "TRIM_REFUSED"


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The result of a trim: intake began at `before`, and begins at `after`."""

    before: int
    after: int


def trim(admin: AdminClient, archive: TenantArchive, verdict: ArchiveVerdict, *, low: int, to: int | None) -> Trimmed:
    """Delete the records of intake below an offset, by default all that may go; return the result.

    `verdict` is that of this run on the whole archive, `low` the first offset that intake has.

    Raises:
        TrimError: the archive does not hold, or does not have a record that would go.
        HeldError: a legal hold forbids it.
        TopicsError: the brokers refuse; the right to delete is an operator's.
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
    place = TopicPartition(INTAKE.of(tenant), INTAKE_PARTITION, target)
    [future] = admin.delete_records([place], request_timeout=ASK_SECONDS).values()
    after = answered(future, f"cannot trim {INTAKE.of(tenant)} to offset {target}")
    return Trimmed(low, int(after.low_watermark))
