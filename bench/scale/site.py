"""The broker of a measurement, and the amount of work."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.drive import Running, running
from bench.scale.member import GroupSpec, run_member
from bench.tenant import BenchTenant
from streams.cluster.founding import create_topics
from streams.local.choose import KafkaBroker

FOUNDED_AT_ONCE = 4
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """The amount of work in a measurement."""

    rounds: int
    calls: int  # of each of the forty tenants, in a round
    quiet_turns: int
    quiet_seconds: float
    floods: tuple[int, ...]
    backlog_per_second: int  # more than a worker can do
    rows: int
    restarts: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """A broker, and the amount of work to measure on it."""

    broker: KafkaBroker
    plan: Plan

    @property
    def bootstrap(self) -> str:
        return self.broker.info.bootstrap

    def found(self, names: Sequence[str], cls: type[BenchTenant] = BenchTenant) -> list[BenchTenant]:
        """Create the topics and keys of tenants; their intakes are empty."""

        def one(name: str) -> BenchTenant:
            create_topics(self.bootstrap, name)
            return cls(name)

        with ThreadPoolExecutor(FOUNDED_AT_ONCE) as pool:
            return list(pool.map(one, names))

    def member(self, group: str, worker: str, tenants: Sequence[BenchTenant]) -> AbstractContextManager[Running]:
        """Start a worker of a group, as a context."""
        return running(run_member, self.group(group, worker, tenants))

    def group(self, group: str, worker: str, tenants: Sequence[BenchTenant]) -> GroupSpec:
        """Return the settings of a worker of a group."""
        served = tuple(t.monitored for t in tenants)
        return GroupSpec(bootstrap=self.bootstrap, group=group, worker=worker, tenants=served)

    def cpu_seconds(self) -> float:
        """Return the CPU time of the broker's process up to now."""
        fields = Path(f"/proc/{self.broker.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
