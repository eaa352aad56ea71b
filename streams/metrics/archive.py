"""The readings of the process that archives."""

from __future__ import annotations

from collections.abc import Iterator

from streams.archive.process import ArchiveProcess
from streams.metrics import families as of
from streams.metrics.families import Reading


def readings_of_archives(process: ArchiveProcess) -> Iterator[Reading]:
    """Yield the readings of all archives."""
    for state in process.states():
        labels = (state.tenant,)
        if state.next_index is not None:
            yield Reading(of.ARCHIVED, labels, state.next_index)
        yield Reading(of.ARCHIVE_AGE, labels, state.age_seconds)
        yield Reading(of.ARCHIVE_FAILURES, labels, state.failures)
