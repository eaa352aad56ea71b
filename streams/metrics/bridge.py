"""The readings of the process of the bridges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from streams.bridge.process import BridgeProcess
from streams.metrics import families as of
from streams.metrics.families import Reading


def readings_of_bridges(process: BridgeProcess) -> Iterator[Reading]:
    """Yield the readings of all bridges; several bridges of one tenant are counted together."""
    answered: Counter[tuple[str, ...]] = Counter()
    waiting: Counter[str] = Counter()
    serving: dict[str, bool] = {}
    for tenant, desk in process.desks():
        serving[tenant] = serving.get(tenant, False) or desk is not None
        if desk is not None:
            waiting[tenant] += desk.waiting
            for labels, count in desk.tally.items():
                answered[tenant, *labels] += count
    for labels, count in answered.items():
        yield Reading(of.LOGINS, labels, count)
    for tenant, count in waiting.items():
        yield Reading(of.LOGINS_WAITING, (tenant,), count)
    for tenant, is_serving in serving.items():
        yield Reading(of.BRIDGE_UP, (tenant,), int(is_serving))
