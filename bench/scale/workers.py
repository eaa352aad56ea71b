"""One worker beside two, over forty tenants, and the time until one more tenant is served."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from confluent_kafka.admin import AdminClient

from bench.drive import Appender, BenchError, Running
from bench.scale.member import Crew
from bench.scale.site import Figures, Site
from bench.tenant import BenchTenant
from schemas.topics import INTAKE
from streams.cluster.founding import create_topics

TENANTS = 40
SHARED_SECONDS = 60.0


class Forty:
    """Forty tenants with a backlog on each, for any number of workers."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tenants = site.found([f"many{n}" for n in range(TENANTS)])
        self._appender = Appender(site.bootstrap)

    def append(self, count: int) -> int:
        """Append `count` calls to every tenant, each under a head of its own; return the number in all."""
        for tenant in self.tenants:
            self._appender.append(INTAKE.of(tenant.name), tenant.calls(count, 1))
        return count * len(self.tenants)

    def set_up(self, first: Running) -> None:
        """Found the tenants and let a first worker fold the foundings."""
        crew = Crew([first])
        for tenant in self.tenants:
            self._appender.append(INTAKE.of(tenant.name), tenant.set_up)
        crew.await_records(sum(len(t.set_up) for t in self.tenants))
        crew.hold()

    def await_shares(self) -> None:
        """Wait until two members have half of the tenants each."""
        until = time.monotonic() + SHARED_SECONDS
        with AdminClient({"bootstrap.servers": self.site.bootstrap, "log_level": 0}) as admin:
            while True:
                [described] = admin.describe_consumer_groups(["bench.many"]).values()
                shares = [len(m.assignment.topic_partitions) for m in described.result(20).members]
                if len(shares) == 2 and sum(shares) == len(self.tenants) and abs(shares[0] - shares[1]) <= 1:
                    return
                if time.monotonic() > until:
                    raise BenchError(f"the group does not share its tenants: {shares}")
                time.sleep(0.1)

    def drain(self, workers: Sequence[Running], count: int) -> Figures:
        """Append a backlog while no worker works, let the workers do it, and return their figures."""
        crew = Crew(workers)
        before = crew.hold()
        records = self.append(count)
        broker, begin = self.site.cpu_seconds(), time.monotonic()
        crew.go_on()
        after = crew.await_records(before.records + records)
        seconds = time.monotonic() - begin
        crew.hold()
        return {
            "per_cpu_s": records / (after.cpu_seconds - before.cpu_seconds),
            "per_s": records / seconds,
            "broker_cpu_us": (self.site.cpu_seconds() - broker) / records * 1e6,
            "cores_used": (after.cpu_seconds - before.cpu_seconds) / seconds,
        }

    def serve_late(self, late: BenchTenant, workers: Sequence[Running]) -> float:
        """Found one more tenant while all workers wait for work, and return the seconds until it is served."""
        crew = Crew(workers)
        before = crew.hold()
        crew.go_on()
        create_topics(self.site.bootstrap, late.name)
        founded = time.monotonic()
        self._appender.append(INTAKE.of(late.name), late.set_up)
        crew.await_records(before.records + len(late.set_up))
        self.tenants.append(late)
        return time.monotonic() - founded


def measure_workers(site: Site) -> Figures:
    """Drain the same backlog with one worker and with two, by turns: the second joins and leaves each time."""
    forty, drains = Forty(site), {"one": list[Figures](), "two": list[Figures]()}
    late, seconds = [BenchTenant(f"late{n}") for n in range(site.plan.rounds)], list[float]()
    everybody = [*forty.tenants, *late]
    with site.member("many", "first", everybody) as first:
        forty.set_up(first)
        forty.drain([first], site.plan.calls)
        for tenant in late:
            drains["one"].append(forty.drain([first], site.plan.calls))
            with site.member("many", "second", everybody) as second:
                both = Crew([first, second])
                forty.await_shares()
                both.hold()
                forty.drain([first, second], site.plan.calls // 2)
                drains["two"].append(forty.drain([first, second], site.plan.calls))
                seconds.append(forty.serve_late(tenant, [first, second]))
    found = {
        f"workers.{name}.{figure}": statistics.median(d[figure] for d in runs)
        for name, runs in drains.items()
        for figure in runs[0]
    }
    for figure in ("per_cpu_s", "per_s"):
        found[f"workers.{figure}_ratio"] = found[f"workers.two.{figure}"] / found[f"workers.one.{figure}"]
    return found | {"workers.late_served_s": max(seconds)}
