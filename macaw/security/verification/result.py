"""The result of a tool as a verifier sees it, and the answer of a verifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ToolResult:
    """A result that a verifier is shown: JSON as `value`, and the attestations of its tool by key.

    `outcome` is `ok`, or `failed` with the words of the failure as its value. Nothing here is sent or signed.
    """

    tool_name: str
    outcome: str
    value: Any
    attestations: dict[str, Any] = field(default_factory=dict)


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
