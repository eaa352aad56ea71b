"""The shape of a verifier: a class that judges calls or results of the tools in its scope (docs/verifiers.md).

`macaw verifier serve` runs one. A class that sets names and patterns alone has no stamps: it passes, or it denies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import ToolResult, VerificationResult
from macaw.security.verification.scope import VerifierScope

__all__ = ["Invocation", "ResultVerifier", "ToolResult", "VerificationResult", "Verifier", "VerifierScope"]


class Verifier(ABC):
    """Judges calls. A subclass sets `scope.resource_patterns`, and writes `verify`.

    `prefix` is that of its stamps on the log; without it the name in lower case. `stamps` has the worst value of each
    stamp: true or false, an integer, a text, or a list of texts. `version` names its rules and models: a verdict under
    another version than was registered does not count. `surfaces` are `arguments`, `result`, or both in this order: one
    with `result` writes `verify_result` too.
    """

    prefix: ClassVar[str] = ""
    priority: int = 100
    stamps: ClassVar[dict[str, Any]] = {}
    version: ClassVar[str] = "1"
    required: ClassVar[bool] = True
    surfaces: ClassVar[tuple[str, ...]] = ("arguments",)
    max_age_seconds: ClassVar[float] = 30.0

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__
        self.scope = VerifierScope()

    def should_verify(self, invocation: Invocation, context: Any = None) -> bool:  # noqa: ARG002 - the known signature
        """Return whether this verifier judges a call: whether its tool is in the scope."""
        return self.scope.covers(invocation.tool_name)

    @abstractmethod
    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:
        """Return whether a call may go on."""

    def verify_result(self, result: ToolResult, context: Any = None) -> VerificationResult:
        """Return whether a result carries nothing that a reader must be kept from. It is called for `result` alone.

        Raises:
            NotImplementedError: the class has the surface `result` and does not write this; so the result stays marked.
        """
        raise NotImplementedError


class ResultVerifier(Verifier):
    """Judges results, and no calls. A subclass sets `scope.resource_patterns`, and writes `verify_result`.

    A verdict lasts a day unless `max_age_seconds` says less. No result waits for one.
    """

    required = False
    surfaces = ("result",)
    max_age_seconds = 86_400.0

    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:
        """Raise NotImplementedError: no call is shown to a verifier of results."""
        raise NotImplementedError

    @abstractmethod
    def verify_result(self, result: ToolResult, context: Any = None) -> VerificationResult:
        """Return whether a result carries nothing that a reader must be kept from."""
