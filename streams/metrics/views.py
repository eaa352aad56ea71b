"""The readings of the views."""

from __future__ import annotations

from collections.abc import Iterator

from producers.home.clock import clock_ms
from streams.metrics import families as of
from streams.metrics.families import Reading
from streams.views.progress import Progress


def readings_of_views(progress: Progress) -> Iterator[Reading]:
    """Yield the readings of a views process."""
    now, as_of = clock_ms(), progress.as_of
    if as_of is not None:
        yield Reading(of.VIEWS_AGE, (), max(now - as_of, 0) / 1000)
    yield Reading(of.VIEWS_READY, (), int(progress.is_ready(now)))
    yield Reading(of.VIEWS_POISON, (), progress.poison_records)
