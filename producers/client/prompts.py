"""Authenticated prompts from a client's side: their ids, computed as on the log, and the records in a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from processors.calls.prompts import prompt_id
from processors.policy.errors import PolicyError
from processors.policy.evaluation import new_work
from processors.policy.paths import MISMATCH, parse_path, reached
from processors.proof import jcs
from schemas.errors import InputError
from schemas.records import Prompt

# A prompt that asks for no narrower rights than its call has. A derived one still has all that its ancestors say.
EVERYTHING: Mapping[str, Any] = {"resources": ["**"]}


class PromptMismatchError(InputError):
    """A prompt is not for the value that the call has at its path; nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedPrompt:
    """A text for a model with the policy that goes with it. The log knows `prompt_id` once its call is allowed."""

    prompt_id: bytes
    path: str
    value: Any
    policy: str
    parent: bytes | None = None

    @property
    def record(self) -> Prompt:
        """The record that a call carries."""
        return Prompt(path=self.path, parent=self.parent, policy=self.policy)


def create_prompt(
    session_id: bytes,
    path: str,
    value: Any,
    policy: Mapping[str, Any] | None = None,
    parent: AuthenticatedPrompt | bytes | None = None,
) -> AuthenticatedPrompt:
    """Return the prompt of a session for the value at a path of a call's parameters.

    Without a policy it narrows nothing by itself; under a parent, the policies of all its ancestors hold too.

    Raises:
        ValueError: the value or the policy is not JSON that the log would take.
    """
    given = jcs.canonical(dict(EVERYTHING if policy is None else policy))
    above = parent.prompt_id if isinstance(parent, AuthenticatedPrompt) else parent
    own = prompt_id(session_id, above, value, jcs.parse_strict(given))
    return AuthenticatedPrompt(prompt_id=own, path=path, value=value, policy=given.decode(), parent=above)


def records_for(
    session_id: bytes,
    parameters: Mapping[str, Any],
    prompts: Sequence[AuthenticatedPrompt] | None,
    declared: Sequence[str],
) -> tuple[Prompt, ...]:
    """Return the prompts that a call carries: the given ones, else a root prompt for each declared parameter.

    Raises:
        PromptMismatchError: a prompt was made for another value than the one at its path.
    """
    if prompts is None:
        found = ((path, _values(parameters, path)) for path in declared)
        return tuple(create_prompt(session_id, path, values[0]).record for path, values in found if len(values) == 1)
    for prompt in prompts:
        values = _values(parameters, prompt.path)
        if len(values) != 1 or jcs.canonical(values[0]) != jcs.canonical(prompt.value):
            raise PromptMismatchError(f"the prompt is for another value than the call has at {prompt.path!r}")
    return tuple(prompt.record for prompt in prompts)


def _values(parameters: Mapping[str, Any], path: str) -> list[object]:
    try:
        found = reached(parameters, parse_path(path, ""), new_work())
    except PolicyError as exc:
        raise PromptMismatchError(f"got {path[:80]!r}, want a path to a parameter") from exc
    return [value for value in found if value is not MISMATCH]
