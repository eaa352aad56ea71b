"""What an admin rules of places on intake that a worker cannot, or must not, fold by itself."""

from __future__ import annotations

from schemas.record import record


@record
class RecordsSkipped:
    """Records that cannot be read are not folded; one that can be read is folded all the same."""

    first: int
    last: int
    reason: str


@record
class TimeAccepted:
    """Records that were appended ahead of the clock are folded at a time that an admin names."""

    first: int
    last: int
    now: int
    reason: str
