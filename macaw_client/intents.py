"""The intent that a client declares for itself: the bounds of its own calls. It only narrows, so no policy is widened.

Two things of programs that were written for the original are put right here. Members that only describe are left out:
a list of a few hundred tools would not fit into a call. And a tool that is named bare is meant by its full name too:
`tool:calculator` of the app `desk` is invoked as `tool:desk/calculator`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from macaw_client.values import json_of
from processors.policy.documents import parse_inline
from processors.policy.errors import PolicyError
from processors.proof import jcs
from schemas.errors import InputError

DESCRIPTIVE = frozenset(
    {"purpose", "description", "name", "version", "provided_capabilities", "required_resources", "data_access"}
    | {"roots", "tool_prompts"}
)
_PREFIX = "tool:"
_BY_RESOURCE = ("parameters", "denied_parameters")  # of `constraints`: objects whose keys are patterns of resources


class IntentError(InputError):
    """An intent is malformed; nothing was sent. The message has the place of the fault."""


def declared_intent(given: Mapping[str, Any] | None, app: str) -> dict[str, Any] | None:
    """Return the intent of an app as it goes with each of its calls; None for one that narrows nothing.

    Raises:
        IntentError: it is not a policy document, or a member is unknown: an intent that is not understood would narrow
            less than its author believes.
        TypeError: an object that JSON cannot say.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise IntentError(f"an intent must be a dict, got {type(given).__name__}")
    intent = {name: one for name, one in json_of(given, "intent_policy").items() if name not in DESCRIPTIVE}
    if not intent:
        return None
    for name in ("resources", "denied_resources"):
        if isinstance(intent.get(name), list):
            intent[name] = list(_both(intent[name], app))
    constraints = intent.get("constraints", {})
    for name in _BY_RESOURCE:
        if not isinstance(constraints, dict):
            break
        if isinstance(by_resource := constraints.get(name), dict):
            constraints[name] = _with_full_names(by_resource, app)
    try:
        parse_inline(jcs.canonical(intent))
    except (PolicyError, jcs.MalformedJSONError) as exc:
        raise IntentError(f"the intent cannot be used: {exc}; see docs/mapl.md") from exc
    return intent


def _both(patterns: Iterable[Any], app: str) -> Iterable[Any]:
    """Yield each pattern, and after a bare one the full one, each once."""
    seen: list[Any] = []
    for one in patterns:
        for name in (one, _full(one, app)):
            if name is not None and name not in seen:
                seen.append(name)
                yield name


def _with_full_names(by_resource: Mapping[str, Any], app: str) -> dict[str, Any]:
    found = dict(by_resource)
    for pattern, one in by_resource.items():
        full = _full(pattern, app)
        if full is not None:
            found.setdefault(full, one)
    return found


def _full(pattern: object, app: str) -> str | None:
    """Return a bare pattern of tools with the app's name, None for any other."""
    if not isinstance(pattern, str) or not pattern.startswith(_PREFIX):
        return None
    bare = pattern.removeprefix(_PREFIX)
    return None if not bare or "/" in bare or bare == "**" else f"{_PREFIX}{app}/{bare}"
