"""Imported rules as catalogues that the log accepts: without the rules that it would refuse, in parts that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from macaw.verifiers.importing.imported import Remark
from processors.calls.catalogues import fault_of, weight_of
from processors.calls.verifiers.catalogue_rules import (
    CatalogueRuleError,
    compiled,
    digest_of,
    loose_size,
    program_size,
)
from schemas import limits
from schemas.errors import InputError
from schemas.events.catalogues import CatalogueRule


class CatalogueSizeError(InputError):
    """The rules need more catalogues than a tenant may have, or none of them can be loaded."""


class CatalogueDraft(NamedTuple):
    """A catalogue that is to be published."""

    name: str
    verifier: str
    rules: tuple[CatalogueRule, ...]

    @property
    def digest(self) -> bytes:
        """The digest that it has once it is in force."""
        return digest_of(self.name, self.verifier, self.rules)


# What a catalogue holds: rules, bytes, instructions, and instructions of loose rules.
_ROOM: tuple[int, ...] = (
    limits.CATALOGUE_RULES_MAX,
    limits.CATALOGUE_BYTES_MAX,
    limits.CATALOGUE_PROGRAMS_MAX,
    limits.CATALOGUE_LOOSE_MAX,
)


class FittedRules(NamedTuple):
    """The catalogues, and the rules that are left out because the log would refuse them."""

    drafts: tuple[CatalogueDraft, ...]
    refused: tuple[Remark, ...]


def fitted(name: str, verifier: str, rules: Sequence[CatalogueRule]) -> FittedRules:
    """Return rules as catalogues: one called `name`, or several, `name/1` and so on.

    Raises:
        CatalogueSizeError: no rule is left, or they need more than CATALOGUES_MAX.
    """
    refused: list[Remark] = []
    parts: list[list[CatalogueRule]] = [[]]
    left = _ROOM
    for rule in rules:
        try:
            needs = _needs_of(rule)
        except CatalogueRuleError as exc:
            refused.append(Remark(rule.id, exc.why))
            continue
        if any(need > room for need, room in zip(needs, left, strict=True)):
            parts.append([])
            left = _ROOM
        parts[-1].append(rule)
        left = tuple(room - need for need, room in zip(needs, left, strict=True))
    _check_count(parts)
    drafts = tuple(
        CatalogueDraft(name if len(parts) == 1 else f"{name}/{number}", verifier, tuple(part))
        for number, part in enumerate(parts, 1)
    )
    for draft in drafts:
        _check_compiles(draft)
    return FittedRules(drafts, tuple(refused))


def _needs_of(rule: CatalogueRule) -> tuple[int, ...]:
    """Return how much a rule takes of each bound of a catalogue. Raises CatalogueRuleError for one that fits none."""
    if fault := fault_of(rule):
        raise CatalogueRuleError(rule.id, fault, 0)
    size, loose = program_size(rule), loose_size(rule)
    if loose > limits.CATALOGUE_LOOSE_MAX:
        raise CatalogueRuleError(rule.id, "it has no literal of four signs, and is too large without one", size)
    return 1, weight_of((rule,)), size, loose


def _check_count(parts: Sequence[Sequence[CatalogueRule]]) -> None:
    if not parts[0]:
        raise CatalogueSizeError("none of the rules can be loaded: --dry-run lists the cause of each")
    if len(parts) > limits.CATALOGUES_MAX:
        raise CatalogueSizeError(
            f"the rules need {len(parts)} catalogues, want at most {limits.CATALOGUES_MAX}: take rules out of the file"
        )


def _check_compiles(draft: CatalogueDraft) -> None:
    try:
        compiled(draft.rules)
    except CatalogueRuleError as exc:
        raise CatalogueSizeError(f"{draft.name}: {exc}") from exc
