"""The answer of a verifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class VerificationResult:
    """Whether a verifier lets a call pass, and why. It is true if the call may go on."""

    success: bool
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.success
