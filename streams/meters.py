"""Meters of a process, as plain values; `streams/metrics/` tells them in the form of Prometheus.

One thread writes a meter, any thread may read it. Labels come from closed lists; their number is bounded all the same,
so that a fault elsewhere cannot fill the memory of a scraper.

The meters of the trust path count committed records only. An aborted batch counts as one abort, and its records are
counted once they are folded again and committed. They outlive the fold of a partition.
"""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from processors.effects import DECISION, OutcomeTold, Output

LABELS_MAX = 1024  # different label values of one counter; more are counted under OTHER
OTHER = "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Tally:
    """Counts by labels."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, count: int, *labels: str) -> None:
        """Add to the count of these labels."""
        if labels not in self._counts and len(self._counts) >= LABELS_MAX:
            labels = (OTHER,) * len(labels)
        self._counts[labels] = self._counts.get(labels, 0) + count

    def items(self) -> list[tuple[tuple[str, ...], int]]:
        """Return the labels with their counts."""
        return list(self._counts.items())


class Durations:
    """A histogram of seconds: how many were at most each bound, and their sum."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, int]]:
        """Return (upper bound, number of durations up to it) for each bound and `+Inf`, as Prometheus counts."""
        total, rows = 0, []
        for bound, count in zip((*self.bounds, float("inf")), list(self._counts), strict=True):
            total += count
            rows.append(("+Inf" if bound == float("inf") else repr(bound), total))
        return rows


@dataclass(slots=True)
class BatchMeter:
    """The counts of one batch, for the case that it is committed."""

    told: Counter[OutcomeTold] = field(default_factory=Counter)
    oldest: int = 0  # append time of its oldest record, ms; 0 for a batch without records
    taken_at: float = 0.0

    def put(self, outputs: list[Output], appended_at: int) -> None:
        """Count the outputs of one record."""
        self.oldest = min(self.oldest or appended_at, appended_at)
        self.told.update(output.told for output in outputs if output.told is not None)


@dataclass(slots=True)
class TenantMeters:
    """The committed records and decisions of one tenant since the worker started."""

    records: Tally = field(default_factory=Tally)  # kind, outcome, reason
    decisions: Tally = field(default_factory=Tally)  # outcome, reason
    observed: Tally = field(default_factory=Tally)  # reason that enforcement would have given
    aborts: int = 0
    folding: Durations = field(default_factory=Durations)
    committing: Durations = field(default_factory=Durations)
    delay: Durations = field(default_factory=Durations)

    def committed(self, batch: BatchMeter, fold_seconds: float, now_ms: int) -> None:
        """Count a committed batch. `now_ms` is this machine's clock, which may differ from the broker's."""
        for told, count in batch.told.items():
            if told.kind == DECISION:
                self.decisions.add(count, told.outcome, told.reason)
                if told.observed:
                    self.observed.add(count, told.observed)
            else:
                self.records.add(count, told.kind, told.outcome, told.reason)
        self.folding.note(fold_seconds)
        self.committing.note(time.monotonic() - batch.taken_at)
        self.delay.note(max(now_ms - batch.oldest, 0) / 1000)
