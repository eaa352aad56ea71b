"""Whether masked parameters come from those that a caller signed: for tool hosts and approvers, which trust no monitor.

A value may be blanked, never substituted: both forms have the same structure, and a text that differs is the other one
with parts replaced by fixed tokens. Nothing here needs a detector.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from processors.content.mask_tokens import TOKENS
from processors.content.masking import is_masked_form
from processors.policy.masks import Steps, covering
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from schemas.errors import InputError
from schemas.records import Change


class NotMaskedError(InputError):
    """Two forms of parameters differ by more than tokens, or at another place than is listed."""


class MaskedText(NamedTuple):
    """A text that was masked: its place, and both forms."""

    steps: Steps
    before: str
    after: str


def differences(signed: JSONValue, executed: JSONValue) -> list[MaskedText]:
    """Return the texts in which two forms differ. Raises NotMaskedError where anything else does."""
    return list(_differences(signed, executed, ()))


def _differences(signed: JSONValue, executed: JSONValue, steps: Steps) -> Iterator[MaskedText]:
    if isinstance(signed, dict) and isinstance(executed, dict):
        if signed.keys() != executed.keys():
            raise NotMaskedError("an object has other members than the caller signed")
        for name, one in signed.items():
            yield from _differences(one, executed[name], (*steps, name))
    elif isinstance(signed, list) and isinstance(executed, list):
        if len(signed) != len(executed):
            raise NotMaskedError("a list has more or fewer items than the caller signed")
        for at, (one, other) in enumerate(zip(signed, executed, strict=True)):
            yield from _differences(one, other, (*steps, at))
    elif isinstance(signed, str) and isinstance(executed, str):
        if signed != executed:
            yield MaskedText(steps, signed, executed)
    elif jcs.canonical(signed) != jcs.canonical(executed):
        raise NotMaskedError("a value that is not a text differs from the one that the caller signed")


def check_blanked(signed: JSONValue, executed: JSONValue) -> list[Steps]:
    """Return the places of masked texts, having checked that they hold nothing but tokens where they differ.

    Raises:
        NotMaskedError.
    """
    every = frozenset().union(*TOKENS.values())
    found = differences(signed, executed)
    for one in found:
        _check_text(one, every)
    return [one.steps for one in found]


def check_changed(signed: JSONValue, executed: JSONValue, changed: Sequence[Change], maskable: Sequence[str]) -> None:
    """Check that parameters differ from those that the caller signed exactly as a decision lists.

    `maskable` are the paths of the tool's own declaration: each difference stands below one of them, and the first such
    path is listed, with the verifiers whose tokens stand there.

    Raises:
        NotMaskedError.
    """
    listed: dict[str, set[str]] = {}
    for change in changed:
        if change.verifier not in TOKENS or change.path not in maskable:
            raise NotMaskedError(
                "the decision lists a change by an unknown verifier, or at a path that is not declared"
            )
        listed.setdefault(change.path, set()).add(change.verifier)
    seen = set()
    for one in differences(signed, executed):
        path = covering(maskable, one.steps)
        if path is None or path not in listed:
            raise NotMaskedError("a text differs at a place where the decision lists no change")
        _check_text(one, frozenset().union(*(TOKENS[verifier] for verifier in listed[path])))
        seen.add(path)
    if seen != listed.keys():
        raise NotMaskedError("the decision lists a change that was not made")


def _check_text(one: MaskedText, tokens: Collection[str]) -> None:
    if not is_masked_form(one.before, one.after, tokens):
        raise NotMaskedError("a text differs by more than the tokens of masked values")
