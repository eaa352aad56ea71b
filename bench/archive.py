"""`python -m bench.archive [--quick]`: what archiving costs beside deciding, on Apache Kafka.

A worker decides calls and reports; then an archiver takes the log that came of it, into a folder, in this process.
Both are counted in records of intake for each CPU-second, user and system, of all threads of the process. The share of
a core is that of archiving a log that grows by 200 calls a second, in the worker's small transactions.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from bench.__main__ import CALLS_PER_SECOND, FULL, OUT, QUICK, Bench, Case
from bench.drive import running
from bench.tenant import BURST
from bench.worker import run_ours
from processors.evidence.archive.verdict import verify_archive
from schemas.topics import DECISIONS
from streams.archive.archiver import Archiver
from streams.archive.keyring import Keyring
from streams.archive.log_source import Consumers
from streams.archive.reading import ArchivedLog
from streams.archive.store import FolderStore
from streams.local.choose import KafkaBroker

POLLS_PER_SECOND = 0.2  # looks at the end of a log while nothing is due


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Archive:
    """The archive of the bench's tenant, measured round by round."""

    def __init__(self, case: Case, folder: Path) -> None:
        monitored = case.tenant.monitored
        self.keyring = Keyring(folder)
        self.keyring.make_lasting()
        self.owner = self.keyring.owner(case.tenant.name, monitored.deployment, monitored.genesis)
        self.store = FolderStore(folder / "archive")
        self.consumers = Consumers(case.bench.bootstrap, case.tenant.name)
        self.archiver = Archiver(self.store, self.owner, self.keyring)

    def round(self) -> tuple[int, float]:
        """Archive what there is; return the number of entries and the CPU-seconds."""
        time.sleep(0.5)
        begin = cpu_seconds()
        count = self.archiver.run_once(self.consumers)
        return count, cpu_seconds() - begin

    def looks(self, count: int) -> float:
        """Return the CPU-seconds of so many looks at the end of the log."""
        begin = cpu_seconds()
        for _ in range(count):
            self.consumers.lag(self.owner.tenant, self.archiver.end)
        return cpu_seconds() - begin


def measure(bench: Bench, folder: Path, rounds: int, calls: int, seconds: float) -> dict[str, float]:
    tenant = bench.founded("archived")
    live: dict[str, list[float]] = {"lone": [], "burst": []}
    ours: dict[str, list[float]] = {"lone": [], "burst": []}
    with running(run_ours, bench.spec_of(tenant)) as worker:
        case = Case(bench, tenant, worker)
        case.set_up()
        archive = Archive(case, folder)
        case.call_and_report(512, BURST, name=None)
        archive.round()
        for _ in range(rounds):
            for name, burst in (("lone", 1), ("burst", BURST)):
                case.call_and_report(calls, burst, name=name)
                drains = bench.figures.drains
                reports = {"lone": "results", "burst": "burst_results"}[name]
                used = (drains[name][-1], drains[reports][-1])
                live[name].append(sum(u.records for u in used) / sum(u.cpu_seconds for u in used))
                count, seconds_used = archive.round()
                ours[name].append(count / seconds_used)
        steady = _steady(case, archive, seconds)
        case.close()
    median = {k: sorted(v)[len(v) // 2] for k, v in {**{f"live_{n}": r for n, r in live.items()}, **ours}.items()}
    found = {
        "archive.live_lone_per_cpu_s": median["live_lone"],
        "archive.live_burst_per_cpu_s": median["live_burst"],
        "archive.lone_per_cpu_s": median["lone"],
        "archive.burst_per_cpu_s": median["burst"],
        "archive.lone_ratio": median["lone"] / median["live_lone"],
        "archive.burst_ratio": median["burst"] / median["live_burst"],
        "archive.core_share_at_200_calls": steady,
    }
    return found | _reading(archive)


def _steady(case: Case, archive: Archive, seconds: float) -> float:
    """Return the share of a core for archiving a log that grew at a steady rate, with the looks at its end."""
    events = case.tenant.calls(int(seconds * CALLS_PER_SECOND), 1)
    case.ours.serve()
    case.ours.appended += len(events)
    case.bench.time_one("archive", case.intake, DECISIONS.of(case.tenant.name), events)
    case.ours.hold()
    count, used = archive.round()
    assert count >= len(events)
    return (used + archive.looks(max(int(seconds * POLLS_PER_SECOND), 1))) / seconds


def _reading(archive: Archive) -> dict[str, float]:
    store = archive.store
    begin = cpu_seconds()
    count = sum(1 for _ in ArchivedLog(store, archive.owner, archive.keyring).intake())
    reading = cpu_seconds() - begin
    begin = cpu_seconds()
    verdict = verify_archive(lambda: ((n, store.get(n)) for n in store.names()), archive.owner, archive.keyring)
    judging = cpu_seconds() - begin
    assert (verdict.code, verdict.entries) == ("WHOLE", count), verdict
    return {
        "archive.read_per_cpu_s": count / reading,
        "archive.verify_per_cpu_s": count / judging,
        "archive.bytes_per_record": store.sizes() / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.archive", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records")
    chosen = parser.parse_args()
    plan = QUICK if chosen.quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, KafkaBroker(Path(folder) / "a") as broker:
        bench = Bench(broker.info.bootstrap, grouped=True, plan=plan)
        found = measure(bench, Path(folder), plan.rounds, plan.calls, 6 * plan.latency_seconds)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "archive.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    for name, value in found.items():
        print(f"{name:36} {value:12,.3f}")


if __name__ == "__main__":
    main()
