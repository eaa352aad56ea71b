"""Bodies of rulings: an admin's word on offsets of intake that a worker cannot, or must not, fold by itself."""

from __future__ import annotations

from schemas.record import record


@record
class RecordsSkipped:
    """Unreadable records from offset `first` to `last` are skipped; readable ones are folded all the same."""

    first: int
    last: int
    reason: str


@record
class TimeAccepted:
    """Records from offset `first` to `last`, appended ahead of the clock, are folded at `now` at the latest (ms)."""

    first: int
    last: int
    now: int
    reason: str
