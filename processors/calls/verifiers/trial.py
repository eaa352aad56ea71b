"""A text before all verifiers of texts, as if each of them were on: for people, and for measurements."""

from __future__ import annotations

from processors.calls.verifiers import pipeline
from processors.calls.verifiers.pipeline import Verified
from processors.policy.evaluation import new_work
from processors.state.settings import TenantSettings
from schemas.words import Surface

ALL_ON = TenantSettings(
    verifiers_prompt_injection="deny",
    verifiers_command_injection="deny",
    verifiers_personal_data="deny",
    verifiers_secrets="deny",
    verifiers_stop_on_first_failure="false",
    results_prompt_injection="withhold",
    results_personal_data="withhold",
    results_secrets="withhold",
)


def tried(text: str, surface: Surface) -> Verified:
    """Return the answer of every verifier of texts to a parameter, or a result, that is this one text."""
    return pipeline.verify(surface, "", {"text": text}, None, ALL_ON, new_work())
