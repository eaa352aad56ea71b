"""The scope of a verifier: the tools that it is for."""

from __future__ import annotations

import re


class VerifierScope:
    """The tools that a verifier is for: `*` stands for a run without `/`, `**` for any run. No pattern means all.

    On the log the same patterns are read more widely: there every star crosses `/` (docs/mapl.md 2).
    """

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
