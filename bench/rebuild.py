"""Folding damaged state again from an archive, without a broker. `python -m bench.rebuild [--records N] [--profile]`.

The log has calls and the tool's reports on them, as `bench` has; each event is signed alone, which is the slowest
case, or 64 under one head with `--burst`. All of intake is in the archive, and the audit log in memory.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.floor import Floor
from bench.tenant import BURST, DEPLOYMENT, BenchTenant, Signed
from processors.evidence.archive.bodies import month_of
from processors.evidence.archive.contents import ArchiveEnd, beginning, end_of
from processors.evidence.archive.segment import SALT_BYTES, Owner, parse_segment
from processors.evidence.archive.writing import LogRecord, SegmentWriter
from processors.intake.identify import Received
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from schemas import limits
from schemas.topics import AUDIT, DECISIONS, INTAKE
from streams.archive.keyring import Keyring
from streams.archive.partitions import ArchivedPartitions
from streams.archive.reading import ArchivedLog
from streams.archive.store import FolderStore
from streams.history.kept_log import KeptLog
from streams.history.records import Gone, entry_in
from streams.worker.fold import TenantFold
from streams.worker.monitor import build_fold, tune_collector
from streams.worker.rebuild import rebuild

OUT = Path(__file__).parent / "out"
NAME = "rebuilt"
RECORDS = 20_000
WANTED_PER_S = 5_000
PASSES = 3


@dataclass(slots=True)
class InMemory:
    """One partition as the brokers have it."""

    low: int
    records: list[Received] = field(default_factory=list)

    @property
    def high(self) -> int:
        return self.low + len(self.records)

    def read(self, start: int) -> Iterator[Received | Gone]:
        return iter(self.records[start - self.low :])

    def behind(self, offset: int) -> int:
        return offset + 1


@dataclass(slots=True)
class FoldedLog:
    """A log as a worker wrote it: intake, audit records, and its last leaf."""

    tenant: BenchTenant
    intake: list[Received]
    audit: list[Received]
    end: bytes


def folded_log(records: int, burst: int) -> FoldedLog:
    """Return a log of some 5 records more: half are calls, half the reports on them."""
    tenant = BenchTenant(NAME)
    made = FoldedLog(tenant, [], [], b"")
    fold = build_fold(tenant.monitored)
    _fold(made, fold, tenant.set_up)
    for at in range(0, records // 2, limits.BATCH_RECORDS_MAX):
        count = min(limits.BATCH_RECORDS_MAX, records // 2 - at)
        decisions = _fold(made, fold, tenant.calls(count, burst))
        _fold(made, fold, tenant.reports(decisions, burst))
    made.end = fold.tables.prev
    return made


def _fold(made: FoldedLog, fold: TenantFold, signed: Sequence[Signed]) -> list[tuple[bytes, bytes]]:
    """Append events and fold them; return the leaves of their decisions and of their calls."""
    now, begin, decided = time.time_ns() // 1_000_000, len(made.intake), []
    made.intake += [Received(0, n, now, one.value, one.headers) for n, one in enumerate(signed, begin)]
    at = begin
    while at < len(made.intake):
        at += fold.fold(made.intake[at:])
        for message in fold.take():
            if message.topic == AUDIT.of(NAME):
                made.audit.append(Received(0, len(made.audit), now, message.value, message.headers))  # type: ignore[arg-type]
            elif message.topic == DECISIONS.of(NAME):
                decided.append(made.tenant.decision_leaf(message.partition, message.value or b""))
        fold.commit()
    return decided


def archived(log: FoldedLog, folder: Path) -> ArchivedPartitions:
    """Archive a log as the process does, without its decisions and results."""
    keys, store = Keyring(folder / "home"), FolderStore(folder / "archive")
    keys.make_lasting()
    owner = keys.owner(NAME, DEPLOYMENT, log.tenant.genesis)
    end, writer = beginning(owner), None
    for record, received in zip(log.audit, log.intake, strict=True):
        entry = entry_in(record.value)
        assert entry is not None
        if writer is not None and not writer.fits(entry):
            end = _stored(store, writer, owner)
            writer = None
        if writer is None:
            month = month_of(entry.now)
            pair = keys.lasting, keys.make_month(month)
            writer = SegmentWriter(owner, end, month=month, keys=pair, salt=os.urandom(SALT_BYTES))
        kid, proof = record.header(KID_HEADER), record.header(PROOF_HEADER)
        writer.add(
            LogRecord(
                entry=entry, offset=record.offset, time=entry.now, value=record.value or b"", kid=kid, proof=proof,
                received=received,
            )
        )  # fmt: skip
    assert writer is not None
    _stored(store, writer, owner)
    return ArchivedPartitions(ArchivedLog(store, owner, keys))


def _stored(store: FolderStore, writer: SegmentWriter, owner: Owner) -> ArchiveEnd:
    segment = parse_segment(writer.encode(), owner)
    assert store.put(segment.header.name, writer.encode())
    return end_of(segment)


def rebuilt(log: FoldedLog, archive: ArchivedPartitions) -> None:
    """Fold the whole log again, intake from the archive."""
    size = len(log.intake)
    live = {INTAKE: InMemory(size), AUDIT: InMemory(0, log.audit)}
    kept = KeptLog(NAME, lambda topic, _: live[topic], lambda: archive)
    fold = build_fold(log.tenant.monitored)
    rebuild(fold.tables, fold.heads, kept, log.end)


def measure(records: int, burst: int) -> dict[str, float]:
    """Return the rates of one log, in records for each CPU-second: the best of PASSES."""
    log = folded_log(records, burst)
    size = len(log.intake)
    with tempfile.TemporaryDirectory() as folder:
        archive = archived(log, Path(folder))
        intake = archive.partition(INTAKE, 0)
        assert intake is not None
        reading = min(_seconds(lambda: sum(1 for _ in intake.read(0))) for _ in range(PASSES))
        whole = min(_seconds(lambda: rebuilt(log, archive)) for _ in range(PASSES))
    return {"records": size, "read_per_s": size / reading, "rebuilt_per_s": size / whole}


def _seconds(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    """Print the rates, and write them to `bench/out/rebuild.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    tune_collector()
    if given.profile:
        log = folded_log(given.records, 1)
        with tempfile.TemporaryDirectory() as folder, cProfile.Profile() as profile:
            rebuilt(log, archived(log, Path(folder)))
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    floor = Floor()
    found = {"floor_per_s": round(floor.sample(1.0))} | {
        f"{name}.{figure}": round(value)
        for name, burst in (("lone", 1), ("burst", BURST))
        for figure, value in measure(given.records, burst).items()
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "rebuild.json").write_text(json.dumps(found, indent=2) + "\n")
    for name, value in found.items():
        print(f"{name:24} {value:>9,}")
    print(f"wanted: {WANTED_PER_S:,} rebuilt records a second")


if __name__ == "__main__":
    main()
