"""One tenant's fold as the loop drives it: records in, signed and sealed messages out.

The step decides. This module signs the step's outputs with the decision key, seals their payloads, and derives the
views' feed and the changelog from the rows that changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from processors.effects import Output
from processors.feed import KINDS, Source, feed_of
from processors.intake.identify import Received
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Signs, VerifiedHeads
from processors.state.engines import EngineMissingError
from processors.state.tables import Tables
from processors.step import step
from schemas import limits
from schemas.errors import StoppedError
from streams.history.kept_log import OpenArchive
from streams.worker.sealing import Sealer
from streams.worker.state_head import StateMac

log = logging.getLogger(__name__)

Headers = list[tuple[str, str | bytes | None]]  # as the client takes them


class Message(NamedTuple):
    """A record as it is produced."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class DecisionKeyError(StoppedError):
    """The worker's key is not the tenant's decision key any more."""


@dataclass(slots=True)
class Batch:
    """The outputs of the next transaction, with their size in bytes and the seconds that folding them took."""

    outputs: list[Output] = field(default_factory=list)
    records: int = 0
    writes: int = 0  # to rows: each row becomes a record of the changelog, and may become one of the views' feed
    size: int = 0
    seconds: float = 0.0

    def has_room(self) -> bool:
        """True if another record fits: one record may let 64 rows expire, with two or three outputs each."""
        return (
            self.records < limits.BATCH_RECORDS_MAX
            and len(self.outputs) <= limits.BATCH_OUTPUTS_MAX - 208
            and self.writes <= limits.BATCH_WRITES_MAX
            and self.size <= limits.BATCH_BYTES_MAX
            and self.seconds <= limits.BATCH_MS_MAX / 1000
        )


@dataclass(slots=True)
class TenantFold:
    """Tables of one tenant with the keys that sign and seal for it, and the batch that is being folded.

    `archive` opens the archive of its intake, from which tables can be folded again; None where there is none.
    """

    tables: Tables
    signing: Signs
    sealer: Sealer
    state: StateMac
    heads: VerifiedHeads = field(default_factory=VerifiedHeads)
    batch: Batch = field(default_factory=Batch)
    archive: OpenArchive | None = None
    faults: int = 0  # rules that broke since this fold was opened

    def fold(self, records: Sequence[Received]) -> int:
        """Fold records into the batch until it is full; return the number of records folded.

        Raises:
            DecisionKeyError: the batch is empty, and the decision key is revoked or expired.
            EngineMissingError: the batch is empty, and the engine of the first record is not installed here.
        """
        batch, folded = self.batch, 0
        if not batch.has_room():
            return 0
        begin = time.monotonic()
        for received in records:
            if not (batch.has_room() and self._may_sign()):
                break
            mark = self.tables.savepoint()
            try:
                new = step(self.tables, received, self.heads)
            except EngineMissingError:
                if not batch.records:
                    raise
                break  # the records before it are sent first
            batch.outputs += new
            batch.records += 1
            batch.writes += self.tables.savepoint() - mark
            if new[-1].fault:
                self._tell_fault(received, new[-1].fault)
            for output in new:
                batch.size += len(output.value or b"") + len(output.payload or b"")
            batch.seconds += (now := time.monotonic()) - begin
            begin = now
            folded += 1
        if not batch.records:
            raise DecisionKeyError(self._why_not())
        return folded

    def _why_not(self) -> str:
        """Return why the key may not sign: it has ended, or is another than the registry has."""
        kid = self.signing.kid
        if self.tables.keys.get(kid) is not None:
            return "the decision key is revoked or past its registration: nothing may be decided with it"
        return (
            f"the monitor's key here is {kid.hex()[:16]}, which is not registered: nothing may be decided with it; "
            "`macaw key list --from-log` compares, so put the registered key back"
        )

    def _tell_fault(self, received: Received, fault: str) -> None:
        """Log at level error that a rule broke. The tenant goes on; the rule needs a correction."""
        self.faults += 1
        log.error(
            "%s: a rule broke with the record at offset %d: %s; it had no effect and stands in the audit log as"
            " INTERNAL_ERROR. Report it with `macaw log` and the version: replay repeats it",
            self.tables.tenant_id, received.offset, fault,
        )  # fmt: skip

    def _may_sign(self) -> bool:
        """True if the decision key is valid. Before the founding event there is no registry, and every key is valid."""
        row = self.tables.keys.get(self.signing.kid)
        if row is None:
            return not len(self.tables.tenant)
        return row.revoked_at is None and (row.expires_at is None or self.tables.now < row.expires_at)

    def take(self) -> list[Message]:
        """Return the batch as one transaction's messages, and begin another batch on top of it.

        Requires that `commit` or `rollback` was called for the batch that was taken before.
        """
        outputs, self.batch = self.batch.outputs, Batch()
        made = self.messages(outputs)
        self.tables.prepare()
        return made

    def messages(self, outputs: Sequence[Output]) -> list[Message]:
        """Return the outputs signed and sealed, in order; then the views' feed; then the changed rows with their head.

        All three belong to one transaction: the feed tells the rows, or nothing.
        """
        proofs = self._proofs([o.leaf for o in outputs if o.leaf is not None])
        tables = self.tables
        tenant = tables.tenant_id
        made = [Message(o.topic.of(tenant), o.partition, o.key, o.value, self._headers(o, proofs)) for o in outputs]
        feed = feed_of(tables.writes(KINDS), Source(tables.origin, tenant))
        made += [Message(o.topic.of(tenant), o.partition, o.key, o.value, []) for o in feed]
        made += [Message(*row, []) for row in self.state.rows_of(tables)]
        return made

    def _proofs(self, leaves: list[bytes]) -> dict[bytes, bytes]:
        proofs: dict[bytes, bytes] = {}
        for at in range(0, len(leaves), limits.HEAD_LEAVES_MAX):
            burst = leaves[at : at + limits.HEAD_LEAVES_MAX]
            proofs.update(zip(burst, self.signing.sign_leaves(burst), strict=True))
        return proofs

    def _headers(self, output: Output, proofs: dict[bytes, bytes]) -> Headers:
        headers: Headers = [*output.headers]
        if output.leaf is not None:
            headers.append((PROOF_HEADER, proofs[output.leaf]))
            headers.append((KID_HEADER, self.signing.kid))
        if output.payload is not None:
            headers.append(self.sealer.header(output))
        return headers

    def commit(self) -> None:
        """Keep the rows of the transaction that was taken; it is committed."""
        self.tables.commit_prepared()
        self.state.commit()

    def rollback(self) -> None:
        """Drop the aborted transaction's rows and outputs, and every record that was folded after it."""
        self.batch = Batch()
        self.tables.rollback()
        self.state.rollback()
