"""The checks that a tool's owner asks of a host, beside those that every host makes (docs/verifiers.md)."""

from __future__ import annotations

from dataclasses import dataclass

from producers.tools.admission import AdmittedCall
from producers.tools.declared_schemas import DeclaredSchemas
from producers.tools.execution import Ended
from producers.tools.owner_policy import OwnerPolicy
from producers.tools.result_masking import ResultMasking
from producers.tools.result_text import ERROR_CHARS_LOOKED_AT, ERROR_CHARS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGuard:
    """The owner's own checks of one host; None leaves a check out."""

    policy: OwnerPolicy | None = None
    schemas: DeclaredSchemas | None = None
    masking: ResultMasking | None = None

    @property
    def error_chars(self) -> int:
        """How much of the text of an exception `reported` needs."""
        return ERROR_CHARS_MAX if self.masking is None else ERROR_CHARS_LOOKED_AT

    def refusal(self, call: AdmittedCall, now_ms: int) -> Ended | None:
        """Return the end of a call that must not be executed now, None for others. An exception forbids it too."""
        refused = None if self.policy is None else self.policy.refusal(call, now_ms)
        if refused is None and self.schemas is not None:
            refused = self.schemas.refusal(call)
        return refused

    def reported(self, call: AdmittedCall, ended: Ended) -> Ended:
        """Return the end of a call as it may be reported: compared with its schema, then masked."""
        if self.schemas is not None:
            ended = self.schemas.checked(call, ended)
        return ended if self.masking is None else self.masking.applied(ended)

    def item(self, text: str, room: int) -> str:
        """Return the JSON of an item of a stream as it may leave the tool, in at most `room` bytes."""
        return text if self.masking is None else self.masking.masked_json(text, room)


UNGUARDED = HostGuard()
