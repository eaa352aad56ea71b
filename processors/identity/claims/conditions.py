"""Conditions on other claims, under which a rule applies.

A comparison that lets a rule apply is exact. `not_equals` forbids: it folds both sides as the policy layer does, so
another spelling of a forbidden value is forbidden too. A condition on a claim that is missing does not hold, except
`present: false`; neither does a condition on a claim that cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from processors.identity.claims import bounds
from processors.identity.claims.errors import ClaimsMappingError
from processors.identity.claims.paths import ClaimPath, FoundClaim, look_up
from processors.identity.claims.regexes import ClaimRegex
from processors.identity.claims.transforms import check_options
from processors.text.characters import has_hidden, single_spaced
from processors.text.forms import fold, is_stream_safe


class ClaimComparison(StrEnum):
    """The name of a comparison in a file."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    MATCHES = "matches"
    PRESENT = "present"


Comparand = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCondition:
    """A condition on one claim. A claim that is a list meets it with any of its elements, `not_equals` with all.

    `values` are the comparands of `equals` and `not_equals`, of which any counts; `regex` is that of `matches`, and
    `is_present` the answer of `present`. Raises ClaimsMappingError if they do not fit the comparison.
    """

    claim: ClaimPath
    comparison: ClaimComparison
    values: tuple[Comparand, ...] = ()
    regex: ClaimRegex | None = None
    is_present: bool = True

    def __post_init__(self) -> None:
        compares = self.comparison in {ClaimComparison.EQUALS, ClaimComparison.NOT_EQUALS}
        if bool(self.values) is not compares or (self.regex is not None) is not (
            self.comparison is ClaimComparison.MATCHES
        ):
            raise ClaimsMappingError(f"the comparison `{self.comparison}` has another operand than it needs")
        check_options("a condition", [one for one in self.values if isinstance(one, str)])

    def holds(self, claims: Mapping[str, object]) -> bool:
        """Return whether the claims of a token meet this condition. Never raises."""
        found = look_up(claims, self.claim)
        if self.comparison is ClaimComparison.PRESENT:
            return not found.fault and bool(found.values) is self.is_present
        size = sum(len(value) for value in found.values if isinstance(value, str))
        if not found.values or size > bounds.RULE_CHARS_MAX:
            return False
        match self.comparison:
            case ClaimComparison.EQUALS:
                return any(_is_exactly(one, value) for value in found.values for one in self.values)
            case ClaimComparison.NOT_EQUALS:
                return self._is_none_of(found)
            case ClaimComparison.MATCHES:
                assert self.regex is not None
                return any(_is_plain(value) and self.regex.matches(str(value)) for value in found.values)

    def _is_none_of(self, found: FoundClaim) -> bool:
        forbidden = {_folded(one) for one in self.values}
        if not all(_can_fold(value) for value in found.values):
            return False
        return all(_folded(value) not in forbidden for value in found.values)


def _is_exactly(one: Comparand, value: object) -> bool:
    return type(one) is type(value) and one == value


def _is_plain(value: object) -> bool:
    """Return whether a value is a text of a usable length without hidden characters."""
    return isinstance(value, str) and len(value) <= bounds.TEXT_CHARS_MAX and not has_hidden(value)


def _can_fold(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= bounds.TEXT_CHARS_MAX and is_stream_safe(value)
    return isinstance(value, bool | int)


def _folded(value: object) -> str:
    """Return one form for all spellings of a value, of any type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # The decimals of a huge number take long, and no comparand has as many.
        return str(value) if -(2**63) <= value < 2**63 else hex(value)
    return single_spaced(fold(str(value)))
