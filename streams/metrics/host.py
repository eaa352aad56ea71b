"""The readings of a tool host."""

from __future__ import annotations

from collections.abc import Iterator

from producers.tools.host import HostTally
from streams.metrics import families as of
from streams.metrics.families import Reading


def readings_of_host(tenant: str, app: str, tally: HostTally) -> Iterator[Reading]:
    """Yield the readings of the host of an app's tools."""
    yield Reading(of.EXECUTED, (tenant, app), tally.executed)
    yield Reading(of.REDELIVERED, (tenant, app), tally.redelivered)
    for why, count in list(tally.refused.items()):
        yield Reading(of.HOST_REFUSED, (tenant, app, why), count)
