"""`make soak`: hundreds of seeded rounds of faults on Apache Kafka, a table by kind; exit 0 only if all is zero.

Each round is written down as a line of JSON once it is over, so that a crash loses nothing. The round of one line is
played again by its kind and seed: `python -m tests.streams.soak --kinds KIND --seed SEED --rounds 1`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from streams.local.choose import BrokerInfo
from streams.local.kafka import KafkaBroker
from tests.producers import host_faults
from tests.streams.fault_tally import Tally
from tests.streams.faults import ROUNDS, play
from tests.streams.faults_broker import BROKER_ROUNDS, SETTINGS, CannotStageError, play_on_own
from tests.streams.loop_workers import ROOT

WIDTH = 112  # of the table, also where there is no terminal
TOLD_CHARS_MAX = 600
JOBS = 3  # a round waits more than it works
FOUND = ("lost", "doubled", "forked", "stuck", "invalid")
OUT = ROOT / "bench" / "out"
TOOL_HOST = "tool-host"
# One round in so many: those that need a broker of their own, and those that no other may run beside.
SELDOM = {**dict.fromkeys(BROKER_ROUNDS, 100), TOOL_HOST: 20}
KINDS = (*ROUNDS, *SELDOM)

Case = tuple[str, int]


def plan(kinds: Sequence[str], rounds: int, seed: int) -> list[Case]:
    """Return (kind, seed) for each round: the kinds in turn, and after them those that are seldom."""
    often = [kind for kind in kinds if kind not in SELDOM]
    seldom = [
        (kind, seed + n)
        for kind in kinds
        if kind in SELDOM
        for n in range(max(1, rounds // SELDOM[kind]) if often else -(-rounds // len(kinds)))
    ][:rounds]
    turns = ((kind, seed + n) for n in itertools.count() for kind in often)
    return [*itertools.islice(turns, rounds - len(seldom)), *seldom]


class Record:
    """The rounds so far: on disk line by line, and in memory for the table."""

    def __init__(self, path: Path, console: Console) -> None:
        self.path = path
        self.tallies: list[Tally] = []
        self.passed_over: dict[str, str] = {}
        self._console = console
        self._lock = threading.Lock()

    def add(self, tally: Tally, count: int) -> None:
        with self._lock, self.path.open("a") as file:
            self.tallies.append(tally)
            file.write(json.dumps(tally.as_row()) + "\n")
            file.flush()
            os.fsync(file.fileno())
            state = "whole" if tally.is_whole else told(tally)
            line = f"{len(self.tallies)}/{count} {tally.kind} {tally.seed} {tally.seconds:.1f} s {state}"
            self._console.print(line, markup=False, highlight=False)

    def pass_over(self, kind: str, why: str) -> None:
        self.passed_over[kind] = why


def run(cases: Sequence[Case], base: Path, record: Record, jobs: int) -> None:
    """Play every round. Requires the main thread: brokers are started here."""
    on_own = [case for case in cases if case[0] in BROKER_ROUNDS]
    alone = [case for case in cases if case[0] == TOOL_HOST]
    shared = [case for case in cases if case not in {*on_own, *alone}]
    if shared or alone:
        with KafkaBroker(base / "broker", extra=SETTINGS) as broker:
            for tally in play_all(shared, broker.info, base, jobs):
                record.add(tally, len(cases))
            for _, seed in alone:
                record.add(play_tool_host(seed, broker.info, base), len(cases))
    for kind, seed in on_own:
        try:
            record.add(play_on_own(kind, seed, base), len(cases))
        except CannotStageError as exc:
            record.pass_over(kind, str(exc))


def play_all(cases: Iterable[Case], broker: BrokerInfo, base: Path, jobs: int) -> Iterator[Tally]:
    """Yield the tallies of rounds that share one broker, as they end."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(play, kind, seed, broker, base) for kind, seed in cases]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def play_tool_host(seed: int, broker: BrokerInfo, base: Path) -> Tally:
    """Play a round of `tests.producers.host_faults`. It shortens limits of this process: no other may run beside it."""
    tally = Tally(kind=TOOL_HOST, seed=seed)
    began = time.monotonic()
    try:
        death = host_faults.round(seed, broker, base / f"{TOOL_HOST}-{seed}")
    except Exception as exc:  # noqa: BLE001 - a soak goes on with the next round, and fails at its end
        tally.note("invalid", 1, f"{type(exc).__name__}: {exc}")
    else:
        tally.records = death.calls
        tally.plan = asdict(death)
        tally.note("lost", death.lost, "calls without their effect that no dead instance had begun")
        tally.note("doubled", death.executed_twice, "calls executed twice")
        tally.note("stuck", death.silent, "calls without an outcome")
    tally.seconds = round(time.monotonic() - began, 2)
    return tally


def table_of(record: Record, kinds: Iterable[str]) -> Table:
    """Return what was found, by kind."""
    table = Table("kind", *("rounds", "records", *FOUND, "seconds"), title="Faults on Apache Kafka", show_footer=True)
    totals: Counter[str] = Counter()
    for kind in kinds:
        mine = [tally for tally in record.tallies if tally.kind == kind]
        if not mine:
            continue
        numbers = Counter({name: sum(getattr(t, name) for t in mine) for name in ("records", *FOUND, "seconds")})
        numbers["rounds"] = len(mine)
        totals.update(numbers)
        table.add_row(kind, *_cells(numbers))
    for column, text in zip(table.columns, ("all", *_cells(totals)), strict=True):
        column.footer = text
        column.justify = "left" if column is table.columns[0] else "right"
    return table


def told(tally: Tally) -> str:
    """Return the first of what was found; the rest stands in the record."""
    return "; ".join(tally.said)[:TOLD_CHARS_MAX]


def _cells(numbers: Counter[str]) -> list[str]:
    found = [f"[red]{numbers[name]}[/red]" if numbers[name] else "0" for name in FOUND]
    return [str(numbers["rounds"]), str(numbers["records"]), *found, f"{numbers['seconds']:.0f}"]


def report(record: Record, kinds: Sequence[str], console: Console) -> bool:
    """Print the table and what there is to add; whether all of it is zeros."""
    console.print(table_of(record, kinds))
    for kind, why in record.passed_over.items():
        console.print(f"{kind}: not shown here: {why}")
    for tally in record.tallies:
        lines = [f"{name}: {tally.plan[name]}" for name in ("stopped_loudly", "not_claimed") if name in tally.plan]
        if not tally.is_whole:
            lines.append(told(tally))
            lines.append(f"again: python -m tests.streams.soak --kinds {tally.kind} --seed {tally.seed} --rounds 1")
        for line in lines:
            console.print(f"{tally.kind} {tally.seed}: {line}", markup=False, highlight=False)
    console.print(f"every round: {record.path}")
    return bool(record.tallies) and all(tally.is_whole for tally in record.tallies)


def main() -> int:
    """Play the rounds that were asked for; 0 only if nothing was lost, doubled, forked, stuck or invalid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of: {', '.join(KINDS)}")
    parser.add_argument("--jobs", type=int, default=JOBS, help="rounds at a time on the shared broker")
    parser.add_argument("--out", type=Path, default=OUT, help="where the folder of this run is made")
    given = parser.parse_args()
    kinds = given.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no kind of round: {', '.join(sorted(unknown))}")
    given.out.mkdir(parents=True, exist_ok=True)
    base = Path(tempfile.mkdtemp(prefix=time.strftime("soak-%Y%m%d-%H%M%S-"), dir=given.out.absolute()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # brokers and mounts are cleared away
    console = Console(width=max(WIDTH, Console().width))
    record = Record(base / "rounds.jsonl", console)
    try:
        run(plan(kinds, given.rounds, given.seed), base, record, given.jobs)
    finally:
        is_whole = report(record, kinds, console)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
