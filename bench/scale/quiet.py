"""The latency of a quiet tenant beside others that flood."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

from bench.drive import Appender, BenchError, Clock, latencies
from bench.scale.member import Crew
from bench.scale.site import Figures, Site, percentile
from bench.tenant import BURST, BenchTenant, Signed
from schemas.topics import DECISIONS, INTAKE

CALLS_PER_SECOND = 20.0
LONGER_MAX = 5  # times that a flood is made twice as long


def measure_quiet(site: Site) -> Figures:
    """Time the calls of a quiet tenant, alone and beside one or more that flood, by turns."""
    plan, found = site.plan, Figures()
    for floods in plan.floods:
        quiet, *flooding = site.found([f"still{floods}", *(f"flood{floods}x{n}" for n in range(floods))])
        times: dict[str, list[float]] = {"alone": [], "beside": []}
        rates: list[float] = []
        with site.member(f"quiet{floods}", "only", [quiet, *flooding]) as worker:
            scene = _Scene(site, quiet, flooding, Crew([worker]))
            for _ in range(plan.quiet_turns):
                times["alone"] += scene.time_calls()
                beside, rate = scene.time_flooded_calls()
                times["beside"] += beside
                rates.append(rate)
        found |= {f"quiet.{floods}.{name}": value for name, value in _figures(times, statistics.median(rates))}
    return found


def _figures(times: dict[str, list[float]], flood_per_s: float) -> Iterator[tuple[str, float]]:
    yield "flood_per_s", flood_per_s
    for percent in (50, 99):
        alone, beside = (percentile(times[name], percent) for name in ("alone", "beside"))
        yield f"alone_p{percent}_ms", alone
        yield f"beside_p{percent}_ms", beside
        yield f"p{percent}_ratio", beside / alone
        # This ratio is the same on a slow machine and on a fast one.
        yield f"p{percent}_records_ahead", beside / 1000 * flood_per_s


class _Scene:
    """A quiet tenant and its loud neighbours, all served by one worker."""

    def __init__(self, site: Site, quiet: BenchTenant, flooding: Sequence[BenchTenant], crew: Crew) -> None:
        self._site, self._quiet, self._flooding, self._crew = site, quiet, flooding, crew
        self._appender = Appender(site.bootstrap)
        self._appended = 0
        self._backlog = int(site.plan.backlog_per_second * site.plan.quiet_seconds)
        for tenant in (quiet, *flooding):
            self._append(tenant, tenant.set_up)
        self._crew.await_records(self._appended)

    def _append(self, tenant: BenchTenant, events: Sequence[Signed]) -> None:
        self._appender.append(INTAKE.of(tenant.name), events)
        self._appended += len(events)

    def time_calls(self) -> list[float]:
        """Return for each call, sent at a steady rate, the ms until its decision can be read."""
        count = int(self._site.plan.quiet_seconds * CALLS_PER_SECOND)
        self._appended += count
        clock = Clock(self._site.bootstrap, DECISIONS.of(self._quiet.name), DECISIONS.partitions)
        source = INTAKE.of(self._quiet.name)
        return latencies(self._appender, source, self._quiet.calls(count, 1), CALLS_PER_SECOND, clock)

    def time_flooded_calls(self) -> tuple[list[float], float]:
        """Return the same beside floods that outlast the calls, and the records of all tenants per second of the flood.

        If the flood is folded before the last call, it is doubled and the measurement repeated.
        """
        for _ in range(LONGER_MAX):
            self._flood()
            times = self.time_calls()
            lasted = self._crew.look().records < self._appended
            rate = self._drain()
            if lasted:
                return times, rate
            self._backlog *= 2
        raise BenchError(f"a flood of {self._backlog // 2} records was over before the calls beside it")

    def _flood(self) -> None:
        """Append the backlog, the same share of it for each flooding tenant."""
        before = self._crew.hold()
        for tenant in self._flooding:
            self._append(tenant, tenant.calls(self._backlog // len(self._flooding), BURST))
        self._crew.go_on()
        self._since = time.monotonic(), before.records

    def _drain(self) -> float:
        """Let the worker finish, and return the records of all tenants per second since the flood began."""
        begin, before = self._since
        after = self._crew.await_records(self._appended)
        return (after.records - before) / (time.monotonic() - begin)
