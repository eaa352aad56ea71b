"""The end of a decision that says no: its reason, for the log and for the caller."""

from __future__ import annotations

from processors.refusal import Refusal
from schemas.reasons import Reason


class DeniedCall(Refusal):
    """A refusal by a rule of the decision: the consulted documents, the log's `detail`, and the caller's (`told`)."""

    def __init__(
        self, reason: Reason | str, detail: str = "", policies: tuple[bytes, ...] = (), told: str | None = None
    ) -> None:
        super().__init__(reason, detail)
        self.policies = policies
        self.told = detail if told is None else told
