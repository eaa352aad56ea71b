"""Regular expressions of tenants: RE2 and nothing else, compiled once, with the cost of a match.

RE2 takes time linear in the text for every expression, and refuses those that would need more (back-references).
"""

from functools import lru_cache
from typing import Protocol

import re2

from processors.policy import limits
from processors.policy.errors import PolicyError


class Regex(Protocol):
    """A compiled expression that must match an entire text. `units` is the cost of a match for each byte of it."""

    pattern: str
    units: int

    def matches(self, text: str) -> bool:
        """Return whether the expression matches the whole text. Requires a text without half surrogate pairs."""


class PublishedRegex:
    """An expression of a published document, kept ready."""

    __slots__ = ("_quick", "_sure", "pattern", "units")

    def __init__(self, pattern: str) -> None:
        options = _options(limits.REGEX_BYTES_MAX)
        self.pattern = pattern
        self._sure = re2.compile(pattern, options)
        self.units: int = self._sure.programsize
        # A set of one answers in a fifth of the time, because no offsets are made. Its yes is always right; its no may
        # mean that it ran out of memory, so a no is asked for again.
        self._quick = re2.Set.FullMatchSet(options)
        self._quick.Add(pattern)
        self._quick.Compile()

    def matches(self, text: str) -> bool:
        return bool(self._quick.Match(text)) or self._sure.fullmatch(text) is not None


class InlineRegex:
    """An expression that came with a call. Only its text is kept: its sender could fill the memory otherwise."""

    __slots__ = ("pattern", "units")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.units: int = _inline(pattern).programsize

    def matches(self, text: str) -> bool:
        return _inline(self.pattern).fullmatch(text) is not None


def _options(bytes_max: int) -> re2.Options:
    options = re2.Options()
    options.max_mem = bytes_max
    options.log_errors = False
    return options


class Regexes:
    """The expressions of one document: how many there are, and how many instructions they have together.

    `inline` is for documents that come with a call: their bounds are lower, because they are compiled for this call.
    """

    __slots__ = ("count", "inline", "programs")

    def __init__(self, *, inline: bool = False) -> None:
        self.inline = inline
        self.count = 0
        self.programs = 0

    def compile(self, pattern: str, pointer: str) -> Regex:
        """Return one more expression, ready.

        Raises:
            PolicyError: E_LIMIT where it is too long, or they are too many or too large together; E_REGEX where RE2
                does not take it or it grows too large.
        """
        self.count += 1
        if len(pattern) > (limits.INLINE_REGEX_CHARS_MAX if self.inline else limits.REGEX_CHARS_MAX):
            raise PolicyError("E_LIMIT", pointer)
        if self.inline and self.count > limits.INLINE_REGEXES_MAX:  # before it costs the time of compiling it
            raise PolicyError("E_LIMIT", pointer)
        try:
            regex: Regex = InlineRegex(pattern) if self.inline else _published(pattern)
        except re2.error:
            raise PolicyError("E_REGEX", pointer) from None
        self.programs += regex.units
        if self.programs > limits.REGEX_PROGRAMS_MAX:
            raise PolicyError("E_LIMIT", pointer)
        return regex


@lru_cache(maxsize=limits.CACHED_POLICIES_MAX)
def _published(pattern: str) -> PublishedRegex:
    return PublishedRegex(pattern)


@lru_cache(maxsize=limits.CACHED_INLINE_MAX)
def _inline(pattern: str) -> re2._Regexp:
    return re2.compile(pattern, _options(limits.INLINE_REGEX_BYTES_MAX))
