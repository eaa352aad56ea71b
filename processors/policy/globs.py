"""Texts with stars, as tests: what RE2 would answer, by comparing texts where that gives the same.

Four kinds: patterns in grant position (`*` stops at `/`) and in restriction position (folded, every star crosses),
items of denied parameters (folded, `?` is one character), and the globs of `MATCHES` (as items, not folded).
"""

from collections.abc import Callable
from functools import lru_cache

import re2

from processors.policy import limits
from processors.policy.text import fold

Test = Callable[[str], bool]

_STARS = re2.compile(r"\*+")
_WHOLE_DOMAIN = re2.compile(r"(?:@[a-z][a-z0-9-]{1,39}/)?[a-z][a-z0-9._-]{0,31}:\*")


def star_runs(pattern: str) -> list[str]:
    """Return the runs of stars in a text, in order."""
    return list(_STARS.findall(pattern))


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def granting(pattern: str) -> Test:
    """Return the test of a pattern in grant position, to be held against a name or value in NFC."""
    literals, stars = _STARS.split(pattern), star_runs(pattern)
    if all(len(star) > 1 for star in stars) or _WHOLE_DOMAIN.fullmatch(pattern):
        return _any_runs(literals)
    return _narrow_runs(pattern, literals, stars)


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def restricting(pattern: str) -> Test:
    """Return the test of a pattern in restriction position, to be held against a folded text."""
    return _any_runs([fold(literal) for literal in _STARS.split(pattern)])  # stars are recognised before folding


def folded_grant(pattern: str) -> str:
    """Return a pattern in grant position as it is held against folded texts. Its stars stay what they are."""
    # A letter that folds to a star would begin to be one; NUL is in no name.
    literals = [fold(literal).replace("*", "\0") for literal in _STARS.split(pattern)]
    return "".join(part for pair in zip(literals, [*star_runs(pattern), ""], strict=True) for part in pair)


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def denying(item: str) -> Test:
    """Return the test of an item of denied parameters, to be held against a folded text."""
    return _glob(item, fold)


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def matching(glob: str) -> Test:
    """Return the test of a glob after `MATCHES`, to be held against a text in NFC."""
    return _glob(glob, str)


def _glob(glob: str, spelling: Callable[[str], str]) -> Test:
    if "?" not in glob:
        return _any_runs([spelling(literal) for literal in _STARS.split(glob)])
    runs = [".".join(str(re2.escape(spelling(one))) for one in run.split("?")) for run in _STARS.split(glob)]
    return _expression("(?s)" + ".*".join(runs))


def _any_runs(literals: list[str]) -> Test:
    """Return the test for literals with any run of characters between them."""
    first, *others = literals
    if not others:
        return first.__eq__
    *middle, last = others
    room = len(first) + len(last)

    def meets(text: str) -> bool:
        if len(text) < room or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for literal in middle:  # the leftmost place leaves most room for the rest
            found = text.find(literal, at, end)
            if found < 0:
                return False
            at = found + len(literal)
        return True

    return meets


def _narrow_runs(pattern: str, literals: list[str], stars: list[str]) -> Test:
    """Return the test for literals with runs between them, of which those of a single star hold no slash."""
    anywhere = _any_runs(literals)
    if all(len(star) == 1 for star in stars):
        # No run crosses a slash, so the segments of pattern and text stand against each other one by one.
        if "/" not in pattern:
            return lambda text: "/" not in text and anywhere(text)
        segments = [_any_runs(_STARS.split(segment)) for segment in pattern.split("/")]

        def meets(text: str) -> bool:
            parts = text.split("/")
            if len(parts) != len(segments):
                return False
            return all(test(part) for test, part in zip(segments, parts, strict=True))

        return meets
    whole = _expression(as_expression(literals, stars))
    return lambda text: whole(text) if "/" in text else anywhere(text)


def as_expression(literals: list[str], stars: list[str]) -> str:
    """Return the RE2 expression, to be matched in full, that defines what a pattern in grant position meets."""
    runs = [".*" if len(star) > 1 else "[^/]*" for star in stars]
    quoted = [str(re2.escape(literal)) for literal in literals]
    return "(?s)" + "".join(part for pair in zip(quoted, [*runs, ""], strict=True) for part in pair)


def _expression(expression: str) -> Test:
    # Only the text is kept: what is compiled can grow while it matches, and callers bring patterns of their own.
    return lambda text: _compiled(expression).fullmatch(text) is not None


@lru_cache(maxsize=limits.CACHED_EXPRESSIONS_MAX)
def _compiled(expression: str) -> re2._Regexp:
    options = re2.Options()
    options.max_mem = limits.GLOB_BYTES_MAX
    options.log_errors = False
    return re2.compile(expression, options)
