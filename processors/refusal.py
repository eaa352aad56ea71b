"""The one way to say no inside the fold, and what is no answer at all."""

from __future__ import annotations

from schemas import limits
from schemas.reasons import Reason

# Faults of the machine are no decisions, and another machine would not repeat them: whoever runs the fold must end.
MACHINE_FAULTS = (MemoryError, RecursionError, OSError, ImportError)


class Refusal(Exception):  # noqa: N818 - an outcome of the rule, not a fault of the program
    """The record has no effect, for this reason. `detail` is for people and never holds a parameter value."""

    def __init__(self, reason: Reason | str, detail: str = "") -> None:
        super().__init__(str(reason), detail)
        self.reason = str(reason)
        self.detail = detail[: limits.DETAIL_CHARS_MAX]

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
