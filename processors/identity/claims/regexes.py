"""Regular expressions of a mapping: RE2 alone, which takes time linear in a text for every expression."""

from __future__ import annotations

from dataclasses import dataclass, field

import re2

from processors.identity.claims import bounds
from processors.identity.claims.errors import ClaimsMappingError
from processors.text.characters import has_hidden, quoted


@dataclass(frozen=True, slots=True)
class ClaimRegex:
    """An expression that must match a whole text, and the group of it that is taken.

    Without `group` it is the first group, or the whole text if there is none. Raises ClaimsMappingError for a text that
    RE2 does not take, for one that is too large, and for a group that it does not have.
    """

    pattern: str
    group: int | str | None = None
    _compiled: re2._Regexp = field(init=False, repr=False, compare=False)
    _taken: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        compiled = _compile(self.pattern)
        object.__setattr__(self, "_compiled", compiled)
        object.__setattr__(self, "_taken", _group_of(compiled, self.group))

    @property
    def units(self) -> int:
        """Return how many instructions the expression has."""
        size: int = self._compiled.programsize
        return size

    def matches(self, text: str) -> bool:
        """Return whether the whole text matches. Requires a text without half surrogate pairs."""
        return self._compiled.fullmatch(text) is not None

    def taken(self, text: str) -> str | None:
        """Return the group of a text that matches, None for another text or a group without a part in the match."""
        found = self._compiled.fullmatch(text)
        return None if found is None else found[self._taken]


def _compile(pattern: str) -> re2._Regexp:
    if not 0 < len(pattern) <= bounds.REGEX_CHARS_MAX:
        raise ClaimsMappingError(
            f"a regular expression has {len(pattern)} characters, allowed are 1 to {bounds.REGEX_CHARS_MAX}"
        )
    if has_hidden(pattern):
        raise ClaimsMappingError("a regular expression holds a control or invisible character: write it as an escape")
    options = re2.Options()
    options.max_mem = bounds.REGEX_BYTES_MAX
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error:
        raise ClaimsMappingError(
            f"{quoted(pattern)} is not a regular expression of RE2, or is too large: RE2 has neither look-around nor "
            "back-references"
        ) from None
    if compiled.programsize > bounds.REGEX_PROGRAM_MAX:
        raise ClaimsMappingError(
            f"the regular expression {quoted(pattern)} has {compiled.programsize} instructions, allowed are "
            f"{bounds.REGEX_PROGRAM_MAX}: write smaller counts"
        )
    return compiled


def _group_of(compiled: re2._Regexp, group: int | str | None) -> int:
    count: int = compiled.groups
    if group is None:
        return min(count, 1)
    named: dict[str, int] = compiled.groupindex
    number = named.get(group) if isinstance(group, str) else group
    if number is None or not 0 <= number <= count:
        names = f", called {', '.join(sorted(named))}" if named else ""
        raise ClaimsMappingError(f"the regular expression has {count} groups{names}, and not the group {group}")
    return number
