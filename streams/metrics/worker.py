"""The readings of a worker of the trust path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Protocol

from processors.state.bounds import ROOMS
from processors.state.tables import Tables
from schemas.topics import tenant_of
from streams.meters import TenantMeters
from streams.metrics import families as of
from streams.metrics.families import Reading
from streams.worker.fold import TenantFold


class Worker(Protocol):
    """The part of a worker that is read (`streams.worker.monitor.Monitor`)."""

    @property
    def meters(self) -> Mapping[str, TenantMeters]:
        """Meters by tenant."""

    @property
    def folds(self) -> Mapping[str, TenantFold]:
        """Folds by intake topic."""

    @property
    def paused(self) -> Mapping[str, str]:
        """Why a partition is paused, by intake topic: a code, a colon and a sentence."""

    def lags(self) -> Mapping[str, int]:
        """Return the records that are not folded yet, by intake topic."""


def readings_of_worker(worker: Worker) -> Iterator[Reading]:
    """Yield the readings of a worker. It may go on working meanwhile: a number may be one transaction old."""
    for tenant, meters in list(worker.meters.items()):
        yield from _of_meters(tenant, meters)
    for topic, lag in worker.lags().items():
        yield Reading(of.LAG, (tenant_of(topic),), lag)
    for topic, why in list(worker.paused.items()):
        yield Reading(of.PAUSED, (tenant_of(topic), _code_of(why)), 1)
    for topic, fold in list(worker.folds.items()):
        tenant = tenant_of(topic)
        yield Reading(of.FAULTS, (tenant,), fold.faults)
        yield from _of_state(tenant, fold.tables)


def _of_meters(tenant: str, meters: TenantMeters) -> Iterator[Reading]:
    for family, tally in (
        (of.RECORDS, meters.records),
        (of.DECISIONS, meters.decisions),
        (of.OBSERVED, meters.observed),
    ):
        for labels, count in tally.items():
            yield Reading(family, (tenant, *labels), count)
    yield Reading(of.ABORTS, (tenant,), meters.aborts)
    for family, times in (
        (of.FOLD_SECONDS, meters.folding),
        (of.COMMIT_SECONDS, meters.committing),
        (of.DELAY_SECONDS, meters.delay),
    ):
        yield Reading(family, (tenant,), (times.cumulative(), times.sum))


def _of_state(tenant: str, tables: Tables) -> Iterator[Reading]:
    yield Reading(of.AUDIT_INDEX, (tenant,), tables.next_index)
    used: dict[str, float] = {}
    for name, table in tables.by_name.items():
        yield Reading(of.ROWS, (tenant, name), len(table.rows))
        limits = ROOMS.get(name, ())
        if len(limits) > 1:
            yield Reading(of.ROW_BYTES, (tenant, name), table.weight)
        for limit, held in zip(limits, (table.counted, table.weight), strict=False):
            used[limit] = max(used.get(limit, 0.0), held / getattr(tables.limits, limit))
    for limit, share in used.items():
        yield Reading(of.LIMIT_USED, (tenant, limit), share)
    kinds = Counter(row.kind for row in list(tables.enforcement.rows.values()))
    for kind, count in kinds.items():
        yield Reading(of.FROZEN, (tenant, kind), count)


def _code_of(why: str) -> str:
    """Return the code before the sentence of a pause; a pause after failures of transactions has none."""
    code, colon, _ = why.partition(":")
    return code if colon and code.isupper() and " " not in code else "TRANSACTIONS_FAILED"
