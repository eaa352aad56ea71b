"""`python -m bench --broker embedded|kafka [--quick]`: rates, latency and memory, beside the limits of the machine.

Figures that are compared are measured in one run and by turns, so that noise affects all of them. A rate is records per
CPU-second of the worker's process (user and system, all its threads). A ratio divides it by the floor: the signatures
that one thread of the same CPU verifies in a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import calls
from bench.drive import Appender, BenchError, Clock, Running, TopicReader, create_like, latencies, running
from bench.floor import Floor
from bench.scale.report import run as run_scale
from bench.tenant import BURST, BenchTenant, Signed
from bench.worker import BareSpec, Made, OursSpec, Usage, run_bare, run_ours
from schemas import codec, limits
from schemas.rows import StateHead
from schemas.topics import AUDIT, DECISIONS, INTAKE, STATE
from streams.cluster.founding import create_topics
from streams.local.choose import EmbeddedBroker, KafkaBroker
from streams.worker.state_head import HEAD_KEY

OUT = Path(__file__).parent / "out"
BARE = "bench.bare."
CALLS_PER_SECOND = 200
LATENCY_TURNS = 4
OUTPUT_TOPICS = (DECISIONS, AUDIT, STATE)
# The targets of a run, in the order of the table: (lower is better, Apache Kafka, embedded broker).
TARGETS: dict[str, tuple[bool, float, float | None]] = {
    "lone.ratio": (False, 0.5, 0.40),
    "burst.ratio": (False, 0.9, 0.60),
    "latency.p50_ratio": (True, 1.5, 1.6),
    "latency.p99_ratio": (True, 2.0, None),
    **{name: (lower, goal, None) for name, (lower, goal) in calls.GOALS.items()},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of events in a run. The embedded broker holds 200,000 records in all; a reported call leaves 8."""

    rounds: int
    calls: int
    latency_seconds: float
    memory_events: tuple[int, ...]


QUICK = Plan(rounds=2, calls=1024, latency_seconds=4.0, memory_events=())
FULL = Plan(rounds=3, calls=8192, latency_seconds=10.0, memory_events=(10_000, 50_000, 100_000))
FULL_EMBEDDED = Plan(rounds=3, calls=2048, latency_seconds=10.0, memory_events=(10_000, 20_000, 40_000))


@dataclass(slots=True)
class Figures:
    """The measurements by name; the drains of one name are kept apart until the end."""

    drains: dict[str, list[Usage]] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[str, float | str] = field(default_factory=dict)

    def note(self, name: str, usage: Usage) -> None:
        self.drains.setdefault(name, []).append(usage)

    def rate(self, name: str) -> float:
        """Return records per CPU-second: the median over the rounds."""
        return statistics.median(u.records / u.cpu_seconds for u in self.drains[name])

    def percentile(self, name: str, percent: int) -> float:
        return statistics.quantiles(self.latencies[name], n=100, method="inclusive")[percent - 1]


class Bench:
    """One run on one broker."""

    def __init__(self, bootstrap: str, *, grouped: bool, plan: Plan) -> None:
        self.bootstrap, self.grouped, self.plan = bootstrap, grouped, plan
        self.figures, self.floor = Figures(), Floor()
        self._appender = Appender(bootstrap)

    def run(self) -> None:
        """Measure all figures except the memory over many events, which may need a broker of its own."""
        tenant = self.founded("bench")
        with running(run_ours, self.spec_of(tenant)) as ours:
            case = Case(self, tenant, ours)
            case.set_up()
            spec = case.calibrate()
            create_like(self.bootstrap, (INTAKE, *OUTPUT_TOPICS), BARE)
            with running(run_bare, spec) as bare:
                case.bare = bare
                case.warm_up()
                for _ in range(self.plan.rounds):
                    case.round()
                for turn in range(LATENCY_TURNS):
                    case.time_calls(bare_first=turn % 2 == 0)
            case.close()
            self.figures.rows["rss_mb"] = ours.usage.rss_mb

    def run_memory(self) -> dict[str, float]:
        """Return the worker's memory after each number of events. Every call is reported, so the state stays small."""
        tenant = self.founded("memory")
        found: dict[int, float] = {}
        with running(run_ours, self.spec_of(tenant)) as ours:
            case = Case(self, tenant, ours)
            case.set_up()
            for mark in self.plan.memory_events:
                while ours.appended < mark:
                    case.call_and_report(2048, BURST, name=None)
                found[mark] = ours.usage.rss_mb
            case.close()
        first, *_, last = found.values()
        return {f"memory.rss_mb_{mark}": mb for mark, mb in found.items()} | {"memory.growth_mb": last - first}

    def append(self, topic: str, events: Sequence[Signed]) -> None:
        self._appender.append(topic, events)

    def time_one(self, name: str, source: str, decisions: str, events: Sequence[Signed]) -> None:
        clock = Clock(self.bootstrap, decisions, DECISIONS.partitions)
        found = latencies(self._appender, source, events, CALLS_PER_SECOND, clock)
        self.figures.latencies.setdefault(name, []).extend(found)

    def founded(self, name: str) -> BenchTenant:
        create_topics(self.bootstrap, name)
        return BenchTenant(name)

    def spec_of(self, tenant: BenchTenant) -> OursSpec:
        return OursSpec(bootstrap=self.bootstrap, tenant=tenant.monitored, grouped=self.grouped)


class Case:
    """A tenant with its worker, and the bare loop beside it."""

    def __init__(self, bench: Bench, tenant: BenchTenant, ours: Running) -> None:
        self.bench, self.tenant, self.ours = bench, tenant, ours
        self.bare: Running | None = None
        self.intake = INTAKE.of(tenant.name)
        places = [(DECISIONS.of(tenant.name), p) for p in range(DECISIONS.partitions)]
        self._decisions = TopicReader(bench.bootstrap, places)

    def close(self) -> None:
        self._decisions.close()

    def set_up(self) -> None:
        """Found the tenant and let the worker fold the founding, so that its start is not measured."""
        self._append(self.tenant.set_up)
        self.ours.drain()

    def calibrate(self) -> BareSpec:
        """Measure the sizes that our worker writes; return the spec of a bare loop that writes the same sizes."""
        count = 2 * limits.BATCH_RECORDS_MAX
        self._append(self.tenant.calls(count, 1))
        transactions = self.ours.drain().transactions
        decisions = self._decisions.take(count)
        sizes = self._sizes_of_calls(count)
        sizes["decisions"] = [_size(m) for m in decisions]
        self._report([self._leaf(m) for m in decisions], 1, None)
        total = [size for all_ in sizes.values() for size in all_]
        rows = self.bench.figures.rows
        rows["outputs_per_record"] = len(total) / count
        rows["bytes_per_record"] = sum(total) / count
        return BareSpec(
            bootstrap=self.bench.bootstrap,
            source=BARE + INTAKE.name,
            grouped=self.bench.grouped,
            per_record=tuple(_made(t.name, t.partitions, sizes[t.name]) for t in OUTPUT_TOPICS),
            per_transaction=(_made(STATE.name, 1, sizes["head"]),) * round(len(sizes["head"]) / transactions),
        )

    def _sizes_of_calls(self, count: int) -> dict[str, list[int]]:
        """Return the sizes of the records in audit and state that the calls after the set-up have left."""
        reader = TopicReader(self.bench.bootstrap, [(AUDIT.of(self.tenant.name), 0)])
        entries = reader.take(len(self.tenant.set_up) + count)[len(self.tenant.set_up) :]
        reader.close()
        reader = TopicReader(self.bench.bootstrap, [(STATE.of(self.tenant.name), 0)])
        reader.until(_is_head(len(self.tenant.set_up) - 1))
        rows = reader.until(_is_head(len(self.tenant.set_up) + count - 1))
        reader.close()
        calls = [_size(m) for m in rows if m.key().startswith(b"calls/")]
        if len(calls) != count:
            raise BenchError(f"{len(calls)} of {count} calls were allowed")
        others = [_size(m) for m in rows if not m.key().startswith(b"calls/")]
        return {"audit": [_size(m) for m in entries], "state": calls, "head": others}

    def _leaf(self, message: Any) -> tuple[bytes, bytes]:
        return self.tenant.decision_leaf(message.partition(), message.value())

    def warm_up(self) -> None:
        """Let both workers load their code and caches before the first measurement."""
        self.call_and_report(512, BURST, name=None)
        self._bare(512, 1, None)
        self.ours.mark()
        time.sleep(1)
        self.bench.figures.rows["idle.cpu_share"] = self.ours.mark().cpu_seconds

    def round(self) -> None:
        """Measure each figure once, by turns."""
        calls, floor = self.bench.plan.calls, self.bench.floor
        floor.sample(0.3)
        self._bare(calls, 1, "bare")
        floor.sample(0.3)
        self.call_and_report(calls, 1, name="lone")
        floor.sample(0.3)
        self.call_and_report(calls, BURST, name="burst")

    def call_and_report(self, count: int, burst: int, name: str | None) -> None:
        """Drain calls, then the reports on them."""
        self._append(self.tenant.calls(count, burst))
        self._note(name, self.ours.drain())
        leaves = [self._leaf(m) for m in self._decisions.take(count)]
        self._report(leaves, burst, None if name is None else {"lone": "results", "burst": "burst_results"}[name])

    def time_calls(self, *, bare_first: bool) -> None:
        """Measure latency at a steady rate, the bare loop's and ours."""
        for measure in (self._time_bare, self._time_ours) if bare_first else (self._time_ours, self._time_bare):
            measure(int(self.bench.plan.latency_seconds / LATENCY_TURNS * CALLS_PER_SECOND))
            self.bench.floor.sample(0.3)

    def _time_bare(self, count: int) -> None:
        assert self.bare is not None
        events = self.tenant.calls(count, 1)
        self.bare.serve()
        self.bare.appended += count
        self.bench.time_one("bare", BARE + INTAKE.name, BARE + DECISIONS.name, events)
        self.bare.hold()

    def _time_ours(self, count: int) -> None:
        events = self.tenant.calls(count, 1)
        self.ours.serve()
        self.ours.appended += count
        self.bench.time_one("ours", self.intake, DECISIONS.of(self.tenant.name), events)
        self.ours.hold()
        self._report([self._leaf(m) for m in self._decisions.take(count)], BURST, None)

    def _bare(self, count: int, burst: int, name: str | None) -> None:
        assert self.bare is not None
        events = self.tenant.calls(count, burst)
        self.bare.mark()
        self.bench.append(BARE + INTAKE.name, events)
        self.bare.appended += count
        self._note(name, self.bare.drain())

    def _report(self, leaves: Sequence[tuple[bytes, bytes]], burst: int, name: str | None) -> None:
        self._append(self.tenant.reports(leaves, burst))
        self._note(name, self.ours.drain())

    def _append(self, events: Sequence[Signed]) -> None:
        self.ours.mark()
        self.bench.append(self.intake, events)
        self.ours.appended += len(events)

    def _note(self, name: str | None, usage: Usage) -> None:
        if name is not None:
            self.bench.figures.note(name, usage)


def _is_head(audit_index: int) -> Callable[[Any], bool]:
    return lambda m: m.key() == HEAD_KEY and codec.decode_as(StateHead, m.value()).audit_index == audit_index


def _size(message: Any) -> int:
    headers = sum(len(n) + len(v or b"") for n, v in message.headers() or ())
    return len(message.key() or b"") + len(message.value() or b"") + headers


def _made(name: str, partitions: int, sizes: Sequence[int]) -> Made:
    """Return an output of the bare loop. With its key it is as long as ours with key and headers."""
    return Made(topic=BARE + name, partitions=partitions, size=max(1, round(statistics.mean(sizes)) - 16))


def summarise(bench: Bench, broker: str) -> dict[str, float | str]:
    """Return the figures under their dotted names."""
    figures = bench.figures
    floor = statistics.median(bench.floor.samples)
    found: dict[str, float | str] = {"broker": broker, "floor_per_s": floor}
    found["floor.spread"] = (max(bench.floor.samples) - min(bench.floor.samples)) / floor
    for name in ("lone", "burst", "results", "burst_results", "bare"):
        rate = figures.rate(name)
        drains = figures.drains[name]
        records = sum(u.records for u in drains)
        found[f"{name}.per_cpu_s"] = rate
        found[f"{name}.ratio"] = rate / floor
        found[f"{name}.threads_us"] = sum(u.cpu_seconds - u.main_seconds for u in drains) / records * 1e6
        found[f"{name}.main_us"] = sum(u.main_seconds for u in drains) / records * 1e6
        found[f"{name}.records_per_transaction"] = records / sum(u.transactions for u in drains)
    for name, who in (("bare", "bare"), ("ours", "latency")):
        for percent in (50, 99):
            found[f"{who}.p{percent}_ms"] = figures.percentile(name, percent)
    for percent in (50, 99):
        found[f"latency.p{percent}_ratio"] = float(found[f"latency.p{percent}_ms"]) / float(
            found[f"bare.p{percent}_ms"]
        )
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in (found | figures.rows).items()}


def show(found: dict[str, float | str], console: Console) -> None:
    """Print the figures, each with its target if it has one."""
    table = Table(title=f"records and ratios on {found['broker']}")
    for column, justify in (("figure", "left"), ("value", "right"), ("target", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    real = not str(found["broker"]).startswith("noida")
    for name, value in found.items():
        if isinstance(value, str):
            continue
        goal = TARGETS.get(name)
        if goal is None:
            table.add_row(name, f"{value:,.3f}" if value < 100 else f"{value:,.0f}", "", "")
            continue
        lower, on_kafka, embedded = goal
        want = on_kafka if real else embedded
        if want is None:
            table.add_row(name, f"{value:.3f}", "", "")
            continue
        met = value <= want if lower else value >= want
        table.add_row(name, f"{value:.3f}", f"{'≤' if lower else '≥'} {want}", "met" if met else "missed")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter latency, no memory run")
    parser.add_argument("--out", type=Path, default=OUT / "latest.json")
    parser.add_argument("--no-scale", action="store_true", help="on Kafka: leave out what `python -m bench.scale` does")
    chosen = parser.parse_args()
    kafka = chosen.broker == "kafka"
    plan = QUICK if chosen.quick else FULL if kafka else FULL_EMBEDDED
    console = Console(width=100)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        kind = KafkaBroker if kafka else EmbeddedBroker
        with kind(Path(folder) / "a") as broker:
            bench = Bench(broker.info.bootstrap, grouped=kafka, plan=plan)
            bench.run()
            name = str(broker.info)
        if plan.memory_events:  # on a broker of its own, because a worker takes every intake topic that it finds
            with kind(Path(folder) / "b") as broker:
                bench.figures.rows |= Bench(broker.info.bootstrap, grouped=kafka, plan=plan).run_memory()
    found = summarise(bench, name)
    if kafka:  # with its processes apart, on a broker as `macaw up` starts it
        found |= calls.run(calls.QUICK if chosen.quick else calls.FULL)["now"]
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    show(found, console)
    console.print(f"written to {chosen.out.name}")
    if kafka and not chosen.no_scale:
        run_scale(quick=chosen.quick)


if __name__ == "__main__":
    main()
