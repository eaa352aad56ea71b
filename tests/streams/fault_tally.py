"""What one round of faults came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Tally:
    """One round, or what is found out about it: `records` were put on intake, and of them that many were ...

    - lost: without an audit entry, or a call without its decision;
    - doubled: with more than one;
    - forked: a log, a state or a counter that an undisturbed worker would not have left;
    - stuck: not folded in time, or behind a transaction that nobody ended;
    - invalid: the round did not show what it is for: no fault happened, or a process ended as none may.
    """

    kind: str
    seed: int
    records: int = 0
    lost: int = 0
    doubled: int = 0
    forked: int = 0
    stuck: int = 0
    invalid: int = 0
    seconds: float = 0.0
    plan: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.doubled or self.forked or self.stuck or self.invalid)

    def note(self, column: str, count: int, why: str) -> None:
        """Count something that was found."""
        if count:
            setattr(self, column, getattr(self, column) + count)
            self.said.append(f"{column} {count}: {why}")

    def as_row(self) -> dict[str, Any]:
        return asdict(self)
