"""The time that a worker takes to start again with many rows to restore."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.drive import ANSWER_SECONDS, Appender, BenchError, running
from bench.scale.member import Restart, run_restart
from bench.scale.site import Figures, Site
from bench.tenant import BURST, BenchTenant, Signed
from producers.home.keys import KeyPair
from schemas import limits
from schemas.records import Body, PrincipalRegistered
from schemas.topics import INTAKE

SESSIONS = 2_000
APPENDED_AT_ONCE = 4096


class PatientTenant(BenchTenant):
    """A tenant with calls that stay open for an hour, and with an agent of many sessions."""

    def _acts(self, agent: KeyPair, tool: KeyPair) -> list[Body]:
        return [_with_patience(body) for body in super()._acts(agent, tool)]

    def sessions(self, count: int) -> list[Signed]:
        """Return events that open `count` sessions."""
        return self._agent.sign([self._opening(KeyPair.generate()) for _ in range(count)], BURST)


def _with_patience(body: Body) -> Body:
    if not isinstance(body, PrincipalRegistered):
        return body
    return replace(body, tools=tuple(replace(tool, timeout_ms=limits.TOOL_TIMEOUT_MS_MAX) for tool in body.tools))


def measure_restart(site: Site) -> Figures:
    """Give a tenant its sessions and open calls, and start its worker again and again."""
    [tenant] = site.found(["restart"], PatientTenant)
    assert isinstance(tenant, PatientTenant)
    appender, intake = Appender(site.bootstrap), INTAKE.of(tenant.name)
    with site.member("restart", "only", [tenant]) as worker:
        for events in _filling(tenant, site.plan.rows):
            appender.append(intake, events)
            worker.appended += len(events)
            worker.drain()
    starts = []
    for _ in range(site.plan.restarts):
        appender.append(intake, tenant.calls(1, 1))
        starts.append(start_again(site, tenant))
    return as_figures("restart", starts)


def _filling(tenant: PatientTenant, rows: int) -> Iterator[Sequence[Signed]]:
    """Yield events that leave at least `rows` rows: one for each session, and one for each open call."""
    yield tenant.set_up
    yield tenant.sessions(SESSIONS)
    left = rows - SESSIONS
    while left > 0:
        yield tenant.calls(min(left, APPENDED_AT_ONCE), BURST)
        left -= APPENDED_AT_ONCE


def start_again(site: Site, tenant: BenchTenant) -> tuple[float, Restart]:
    """Start a worker in a fresh process; return the time of the start and its report. Requires a record to fold."""
    begin = time.monotonic()
    with running(run_restart, site.group(tenant.name, "only", [tenant])) as worker:
        if not worker.pipe.poll(ANSWER_SECONDS):
            raise BenchError("the worker does not start")
        told: Restart = worker.pipe.recv()
    return begin, told


def as_figures(name: str, starts: Sequence[tuple[float, Restart]]) -> Figures:
    """Return the medians over the starts, and the longest if there is a goal."""
    whole = [told.committed - begin for begin, told in starts]
    restoring = [told.restored - told.restoring for _, told in starts]

    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    return {
        f"{name}.rows": starts[0][1].rows,
        f"{name}.whole_s": median(whole),
        f"{name}.whole_max_s": max(whole),
        f"{name}.imports_s": median([told.running - begin for begin, told in starts]),
        f"{name}.joining_s": median([told.restoring - told.running for _, told in starts]),
        f"{name}.restoring_s": median(restoring),
        f"{name}.first_record_s": median([told.committed - told.restored for _, told in starts]),
        f"{name}.cpu_s": median([told.cpu_seconds for _, told in starts]),
        f"{name}.restoring_cpu_s": median([told.restoring_cpu_seconds for _, told in starts]),
        f"{name}.rows_per_s": median([told.rows / s for s, (_, told) in zip(restoring, starts, strict=True)]),
        f"{name}.rss_mb": max(told.rss_mb for _, told in starts),
    }
