"""The answer of a verifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class VerificationResult:
    """Whether a verifier lets a call pass, and why. It is true if the call may go on.

    `message` and `details` stay in the process. `stamps` go to the log, for policies; so do `findings`, as (kind, path,
    first character, the one after the last). With `asks_people` a call that succeeds goes on only if people approve it.
    """

    success: bool
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    stamps: dict[str, Any] = field(default_factory=dict)
    findings: list[tuple[str, str, int, int]] = field(default_factory=list)
    asks_people: bool = False

    def __bool__(self) -> bool:
        return self.success
