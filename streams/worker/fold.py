"""One tenant's fold as the loop drives it: records in, signed and sealed messages out.

The step decides. This module signs the step's outputs with the decision key that is live for their record, seals their
payloads, and derives the views' feed and the changelog from the rows that changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from processors.effects import Output
from processors.feed import KINDS, Source, feed_of
from processors.intake.identify import Received
from processors.proof.signing import KID_HEADER, PROOF_HEADER, VerifiedHeads
from processors.refusal import Refusal
from processors.state.engines import EngineMissingError
from processors.state.marks import RecordMark
from processors.state.tables import Tables
from processors.step import step
from producers.home.clock import clock_ms
from schemas import limits
from streams.history.kept_log import OpenArchive
from streams.history.set_aside import SetAside
from streams.meters import BatchMeter, TenantMeters
from streams.worker.signing.decision_keys import DecisionKey, DecisionKeyError, NoLiveKeyError, Signatory
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


class Burst(NamedTuple):
    """Outputs in a row that the same key signs."""

    key: DecisionKey
    outputs: list[Output]


@dataclass(slots=True)
class Batch:
    """The outputs of the next transaction, with their size in bytes and the seconds that folding them took."""

    bursts: list[Burst] = field(default_factory=list)
    count: int = 0  # of outputs
    is_closed: bool = False  # the next record cannot be signed for: this batch is sent first
    records: int = 0
    writes: int = 0  # to rows: each row becomes a record of the changelog, and may become one of the views' feed
    size: int = 0
    seconds: float = 0.0
    meter: BatchMeter = field(default_factory=BatchMeter)

    def has_room(self) -> bool:
        """True if another record fits: one record may let 64 rows expire, with two or three outputs each."""
        return (
            not self.is_closed
            and self.records < limits.BATCH_RECORDS_MAX
            and self.count <= limits.BATCH_OUTPUTS_MAX - 208
            and self.writes <= limits.BATCH_WRITES_MAX
            and self.size <= limits.BATCH_BYTES_MAX
            and self.seconds <= limits.BATCH_MS_MAX / 1000
        )

    def put(self, key: DecisionKey, outputs: list[Output]) -> None:
        """Add the outputs of one record."""
        if not self.bursts or self.bursts[-1].key is not key:
            self.bursts.append(Burst(key, []))
        self.bursts[-1].outputs.extend(outputs)
        self.count += len(outputs)
        self.size += sum(len(output.value or b"") + len(output.payload or b"") for output in outputs)


@dataclass(slots=True)
class TenantFold:
    """Tables of one tenant with the keys that sign and seal for it, and the batch that is being folded.

    `archive` opens the archive of its intake, from which tables can be folded again; None where there is none. Records
    that the operator has `set_aside` are read past.
    """

    tables: Tables
    signatory: Signatory
    state: StateMac
    heads: VerifiedHeads = field(default_factory=VerifiedHeads)
    batch: Batch = field(default_factory=Batch)
    archive: OpenArchive | None = None
    set_aside: SetAside = field(default_factory=dict)
    faults: int = 0  # rules that broke since this fold was opened
    meters: TenantMeters = field(default_factory=TenantMeters)
    taken: Batch | None = None  # the batch whose transaction is under way

    def fold(self, records: Sequence[Received]) -> int:
        """Fold records into the batch until it is full; return the number of records folded.

        Raises:
            DecisionKeyError: the batch is empty, and the first record cannot be signed for here: MissingKeyError or
                NoLiveKeyError. Nothing has changed.
            EngineMissingError: the batch is empty, and the engine of the first record, or the one that it activates,
                is not installed here. Nothing has changed.
        """
        batch, tables, folded = self.batch, self.tables, 0
        if not batch.has_room():
            return 0
        begin = time.monotonic()
        for received in records:
            if not batch.has_room():
                break
            mark = tables.savepoint()
            try:
                key, new = self._folded(received)
            except (DecisionKeyError, EngineMissingError):
                if not batch.records:
                    raise
                batch.is_closed = True  # the records before this one are sent; then it is told
                break
            batch.put(key, new)
            batch.meter.put(new, received.appended_at)
            batch.records += 1
            batch.writes += tables.savepoint() - mark
            if new[-1].fault:
                self._tell_fault(received, new[-1].fault)
            batch.seconds += (now := time.monotonic()) - begin
            begin = now
            folded += 1
        return folded

    def _folded(self, received: Received) -> tuple[DecisionKey, list[Output]]:
        """Fold one record, and return its outputs with the key that signs them.

        A record that takes the key or the engine from this worker is folded by the roots' removal of its signer, if the
        signatory has one. Raises DecisionKeyError, EngineMissingError: nothing has changed.
        """
        try:
            return self._attempt(received)
        except (DecisionKeyError, EngineMissingError):
            for removal in self.signatory.removals if received.ruling is None else ():
                try:
                    return self._attempt(replace(received, ruling=removal))
                except NoLiveKeyError:  # it holds, and a stretch without a key begins here
                    raise
                except (Refusal, DecisionKeyError, EngineMissingError):
                    continue
            raise

    def _attempt(self, received: Received) -> tuple[DecisionKey, list[Output]]:
        tables, signatory = self.tables, self.signatory
        signatory.begin(tables)
        mark = RecordMark.of(tables)
        try:
            new = step(tables, received, self.heads)
            tables.check_decides()
            key = signatory.sign_for(tables, received.offset, new[-1].value)
            signatory.check_outlived(tables)
        except (DecisionKeyError, EngineMissingError):
            mark.go_back(tables)
            signatory.forget()
            raise
        return key, new

    def _tell_fault(self, received: Received, fault: str) -> None:
        """Log at level error that a rule broke. The tenant goes on; the rule needs a correction."""
        self.faults += 1
        log.error(
            "%s: a rule broke with the record at offset %d: %s; it had no effect and stands in the audit log as"
            " INTERNAL_ERROR. Report it with `macaw log` and the version: replay repeats it",
            self.tables.tenant_id, received.offset, fault,
        )  # fmt: skip

    def take(self) -> list[Message]:
        """Return the batch as one transaction's messages, and begin another batch on top of it.

        Requires that `commit` or `rollback` was called for the batch that was taken before.
        """
        self.taken, self.batch = self.batch, Batch()
        self.taken.meter.taken_at = time.monotonic()
        made = self.messages(self.taken.bursts)
        self.tables.prepare()
        return made

    def messages(self, bursts: Sequence[Burst]) -> list[Message]:
        """Return the outputs signed and sealed, in order; then the views' feed; then the changed rows with their head.

        All three belong to one transaction: the feed tells the rows, or nothing.
        """
        tables = self.tables
        tenant = tables.tenant_id
        made: list[Message] = []
        for key, outputs in bursts:
            proofs = _proofs(key, [o.leaf for o in outputs if o.leaf is not None])
            made += [
                Message(o.topic.of(tenant), o.partition, o.key, o.value, _headers(key, o, proofs)) for o in outputs
            ]
        feed = feed_of(tables.writes(KINDS), Source(tables.origin, tenant))
        made += [Message(o.topic.of(tenant), o.partition, o.key, o.value, []) for o in feed]
        made += [Message(*row, []) for row in self.state.rows_of(tables)]
        return made

    def commit(self) -> None:
        """Keep the rows of the transaction that was taken; it is committed."""
        self.tables.commit_prepared()
        self.state.commit()
        if self.taken is not None:
            self.meters.committed(self.taken.meter, self.taken.seconds, clock_ms())
            self.taken = None

    def rollback(self) -> None:
        """Drop the aborted transaction's rows and outputs, and every record that was folded after it."""
        self.batch, self.taken = Batch(), None
        self.meters.aborts += 1
        self.tables.rollback()
        self.state.rollback()
        self.signatory.forget()


def _proofs(key: DecisionKey, leaves: list[bytes]) -> dict[bytes, bytes]:
    proofs: dict[bytes, bytes] = {}
    for at in range(0, len(leaves), limits.HEAD_LEAVES_MAX):
        burst = leaves[at : at + limits.HEAD_LEAVES_MAX]
        proofs.update(zip(burst, key.signing.sign_leaves(burst), strict=True))
    return proofs


def _headers(key: DecisionKey, output: Output, proofs: dict[bytes, bytes]) -> Headers:
    headers: Headers = [*output.headers]
    if output.leaf is not None:
        headers.append((PROOF_HEADER, proofs[output.leaf]))
        headers.append((KID_HEADER, key.kid))
    if output.payload is not None:
        headers.append(key.sealer.header(output))
    return headers
