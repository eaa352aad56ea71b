"""The part of a client that programs call `client.agent`: a switch, and the place of verifiers."""

from __future__ import annotations

from typing import NoReturn

from macaw_client.errors import ToolsUnavailableError


class VerificationPipeline:
    """The place at which the original takes verifiers of a program. Here verifiers are the operator's."""

    def add_verifier(self, verifier: object, priority: int = 20) -> NoReturn:  # noqa: ARG002 - the known signature
        """Raise ToolsUnavailableError: a verifier that did not run would be believed to protect."""
        raise ToolsUnavailableError(
            f"the verifier {type(verifier).__name__} is not run: a caller or a tool cannot judge its own calls; "
            "put the rule into a policy (docs/mapl.md)"
        )


class AgentView:
    """`authenticate_prompts` says whether declared parameters go as authenticated prompts; True unless it is set."""

    def __init__(self) -> None:
        self.authenticate_prompts = True
        self.verification_pipeline = VerificationPipeline()
