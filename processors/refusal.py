"""The exception by which a rule refuses a record, and the faults that must not be taken for a refusal."""

from __future__ import annotations

from schemas import limits
from schemas.reasons import Reason

# Faults of the machine are not decisions. Another machine would not repeat them, so the process that folds must end.
MACHINE_FAULTS = (MemoryError, RecursionError, OSError, ImportError)


class Refusal(Exception):  # noqa: N818 - an outcome of the rule, not a fault of the program
    """The record has no effect. `reason` is a stable code; `detail` is for people and never holds a parameter value."""

    def __init__(self, reason: Reason | str, detail: str = "") -> None:
        super().__init__(str(reason), detail)
        self.reason = str(reason)
        self.detail = detail[: limits.DETAIL_CHARS_MAX]

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
