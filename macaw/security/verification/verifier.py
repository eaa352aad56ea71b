"""The shape of a verifier: a class that judges calls of the tools in its scope.

Classes of this shape can be written, imported and tried out. No process of this project runs one: the log judges calls
by policies (docs/mapl.md).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import VerificationResult


class VerifierScope:
    """The tools that a verifier is for: `*` stands for a run without `/`, `**` for any run. No pattern means all."""

    def __init__(self) -> None:
        self.resource_patterns: list[str] = []
        self._compiled: tuple[re.Pattern[str], ...] = ()

    def compile_patterns(self) -> None:
        """Take the patterns over; to be called once they are set."""
        self._compiled = tuple(re.compile(_expression(one), re.DOTALL) for one in self.resource_patterns)

    def covers(self, tool_name: str) -> bool:
        """Return whether a tool is in the scope."""
        if len(self._compiled) != len(self.resource_patterns):
            self.compile_patterns()
        return not self._compiled or any(one.fullmatch(tool_name) for one in self._compiled)


def _expression(pattern: str) -> str:
    pieces = re.split(r"(\*+)", pattern)
    stars = {"*": "[^/]*"}
    return "".join(stars.get(one, ".*") if one.startswith("*") else re.escape(one) for one in pieces)


class Verifier(ABC):
    """Judges calls. A subclass sets `scope.resource_patterns`, and writes `verify`."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__
        self.scope = VerifierScope()

    def should_verify(self, invocation: Invocation, context: Any = None) -> bool:  # noqa: ARG002 - the known signature
        """Return whether this verifier judges a call: whether its tool is in the scope."""
        return self.scope.covers(invocation.tool_name)

    @abstractmethod
    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:
        """Return whether a call may go on."""
