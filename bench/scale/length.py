"""The cost of an event on a short log and on a long one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from confluent_kafka import Consumer

from bench.drive import Appender, Running, TopicReader, reader_settings
from bench.scale.restart import as_figures, start_again
from bench.scale.site import Figures, Site
from bench.tenant import BURST, BenchTenant, Signed
from producers.kafka.consuming import watermarks
from schemas.topics import DECISIONS, INTAKE, STATE

CALLS_AT_ONCE = 1024
MEASURED_CALLS = 256  # few, so that the short log stays short
ROUNDS = 7


class Grown:
    """A tenant with a log of some length. Every call is reported, so the state stays small."""

    def __init__(self, site: Site, tenant: BenchTenant) -> None:
        self.tenant = tenant
        self.events = 0
        self.costs: list[float] = []
        self._bootstrap = site.bootstrap
        self._appender = Appender(site.bootstrap)
        places = [(DECISIONS.of(tenant.name), p) for p in range(DECISIONS.partitions)]
        self._decisions = TopicReader(site.bootstrap, places)

    def append(self, events: Sequence[Signed]) -> None:
        self._appender.append(INTAKE.of(self.tenant.name), events)
        self.events += len(events)

    def fold(self, worker: Running, events: Sequence[Signed]) -> float:
        """Append events while the worker does not work, let it fold them, and return the CPU-seconds."""
        worker.mark()
        self.append(events)
        worker.appended += len(events)
        return worker.drain().cpu_seconds

    def call_and_report(self, worker: Running, count: int) -> float:
        """Fold calls and the reports on them; return CPU-seconds per event."""
        spent = self.fold(worker, self.tenant.calls(count, BURST))
        leaves = [self.tenant.decision_leaf(m.partition(), m.value()) for m in self._decisions.take(count)]
        spent += self.fold(worker, self.tenant.reports(leaves, BURST))
        return spent / (2 * count)

    def changelog_offsets(self) -> int:
        """Return the number of offsets that a restart reads: rows, heads, and markers of transactions."""
        with Consumer(reader_settings(self._bootstrap)) as consumer:
            low, high = watermarks(consumer, STATE.of(self.tenant.name))
        return high - low

    def close(self) -> None:
        self._decisions.close()


def measure_length(site: Site) -> Figures:
    """Let logs grow to several lengths, then fold the same number of events on each, by turns."""
    lengths = site.plan.lengths
    grown = [Grown(site, tenant) for tenant in site.found([f"long{length}" for length in lengths])]
    with site.member("long", "only", [g.tenant for g in grown]) as worker:
        for one, length in zip(grown, lengths, strict=True):
            one.fold(worker, one.tenant.set_up)
            while one.events < length:
                one.call_and_report(worker, min(CALLS_AT_ONCE, max(1, (length - one.events) // 2)))
        for number in range(ROUNDS):
            for one in grown if number % 2 == 0 else reversed(grown):
                one.costs.append(one.call_and_report(worker, MEASURED_CALLS) * 1e6)
        rss = worker.usage.rss_mb
    found = {f"length.{length}.us": statistics.median(g.costs) for g, length in zip(grown, lengths, strict=True)}
    shortest, *_, longest = found.values()
    found |= {"length.ratio": longest / shortest, "length.rss_mb": rss}
    last = grown[-1]
    # Until the broker compacts it, the changelog has every version of every row, and a restart reads them all.
    found["restart_long.changelog_offsets"] = last.changelog_offsets()
    last.append(last.tenant.calls(1, 1))
    found |= as_figures("restart_long", [start_again(site, last.tenant)])
    for one in grown:
        one.close()
    return found
