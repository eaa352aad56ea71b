"""Texts with stars, as tests: the answers of RE2 by comparing texts, and the cost of each.

Four kinds: patterns in grant position (`*` stops at `/`) and in restriction position (folded, every star crosses),
items of denied parameters (folded, `?` is one character), and the globs of `MATCHES` (as items, not folded).

A matcher is made of the pattern's own pieces, so no cache can overflow and compile it again. The price
is measured (docs/performance.md): `base` for a text of any length, and `units` for each of its characters.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import re2

from processors.policy import limits
from processors.text.forms import fold

Test = Callable[[str], bool]

_STARS = re2.compile(r"\*+")
_WHOLE_DOMAIN = re2.compile(r"(?:@[a-z][a-z0-9-]{1,39}/)?[a-z][a-z0-9._-]{0,31}:\*")


class Glob(NamedTuple):
    """A pattern as a test, with the units that it costs: `base`, and `units` for each character of the text."""

    meets: Test
    base: int = limits.ITEM_UNITS
    units: int = 1


def star_runs(pattern: str) -> list[str]:
    """Return the runs of stars in a text, in order."""
    return list(_STARS.findall(pattern))


def granting(pattern: str) -> Test:
    """Return the test of a pattern in grant position, to be held against a name or value in NFC."""
    return grant_glob(pattern).meets


def restricting(pattern: str) -> Test:
    """Return the test of a pattern in restriction position, to be held against a folded text."""
    return restriction_glob(pattern).meets


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def grant_glob(pattern: str) -> Glob:
    """Return a pattern in grant position, to be held against a name or value in NFC."""
    literals, stars = _STARS.split(pattern), star_runs(pattern)
    if all(len(star) > 1 for star in stars) or _WHOLE_DOMAIN.fullmatch(pattern):
        return _any_runs(literals)
    return _narrow_runs(pattern, literals, stars)


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def restriction_glob(pattern: str) -> Glob:
    """Return a pattern in restriction position, to be held against a folded text."""
    return _any_runs([fold(literal) for literal in _STARS.split(pattern)])  # stars are recognised before folding


def first_literal(pattern: str) -> tuple[str, bool]:
    """Return the folded text before the first star of a pattern in restriction position, and whether it has a star."""
    first, *others = _STARS.split(pattern)
    return fold(first), bool(others)


def folded_grant(pattern: str) -> str:
    """Return a pattern in grant position for folded texts. Its stars keep their meaning."""
    # A letter that folds to a star would begin to be one; NUL is in no name.
    literals = [fold(literal).replace("*", "\0") for literal in _STARS.split(pattern)]
    return "".join(part for pair in zip(literals, [*star_runs(pattern), ""], strict=True) for part in pair)


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def denying(item: str) -> Glob:
    """Return an item of denied parameters, to be held against a folded text."""
    return _glob(item, fold)


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def matching(glob: str) -> Glob:
    """Return a glob after `MATCHES`, to be held against a text in NFC."""
    return _glob(glob, str)


# ---- every star crosses


def _any_runs(literals: list[str]) -> Glob:
    """Return the test for literals with any run of characters between them."""
    first, *others = literals
    if not others:
        return Glob(first.__eq__)
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

    return Glob(meets, _base(len(middle)), _units(middle))


def _base(pieces: int) -> int:
    return limits.ITEM_UNITS + limits.PIECE_UNITS * pieces


def _units(literals: list[str]) -> int:
    """Return the units a character costs in a search for literals: a long literal may be compared again and again."""
    return 1 + max(map(len, literals), default=0) // limits.PIECE_CHARS


# ---- and a question mark is one character


class _Piece(NamedTuple):
    """A piece between two stars: literals with their offsets from its beginning, and its length."""

    chunks: tuple[tuple[int, str], ...]
    width: int
    anchor: int = 0  # the chunk to search for: the longest, which is the rarest


def _glob(glob: str, spelling: Callable[[str], str]) -> Glob:
    if "?" not in glob:
        return _any_runs([spelling(literal) for literal in _STARS.split(glob)])
    first, *others = [_piece([spelling(one) for one in run.split("?")]) for run in _STARS.split(glob)]
    chunks = len(first.chunks) + sum(len(one.chunks) for one in others)
    if not others:
        return Glob(lambda text: len(text) == first.width and _stands(text, first, 0), _base(chunks))
    *middle, last = others
    room = first.width + last.width

    def meets(text: str) -> bool:
        end = len(text) - last.width
        if len(text) < room or not _stands(text, first, 0) or not _stands(text, last, end):
            return False
        at = first.width
        for piece in middle:
            at = _place(text, piece, at, end) + piece.width
            if at < piece.width:
                return False
        return True

    return Glob(meets, _base(len(middle) + chunks), max(map(_searching, middle), default=1))


def _piece(parts: list[str]) -> _Piece:
    """Return the piece of literals with one character between each two."""
    chunks, at = [], 0
    for part in parts:
        if part:
            chunks.append((at, part))
        at += len(part) + 1
    anchor = max(range(len(chunks)), key=lambda one: len(chunks[one][1]), default=0)
    return _Piece(tuple(chunks), at - 1, anchor)


def _stands(text: str, piece: _Piece, at: int) -> bool:
    """Return whether a piece stands at a place of a text. Requires that the text is long enough."""
    return all(text.startswith(chunk, at + offset) for offset, chunk in piece.chunks)


def _place(text: str, piece: _Piece, at: int, end: int) -> int:
    """Return the first place from `at` on where a piece stands and ends by `end`, or -1 less its width for none."""
    none = -1 - piece.width
    if at + piece.width > end:
        return none
    if not piece.chunks:
        return at
    offset, anchor = piece.chunks[piece.anchor]
    last = end - piece.width + offset + len(anchor)
    found = text.find(anchor, at + offset, last)
    while found >= 0 and not _stands(text, piece, found - offset):
        found = text.find(anchor, found + 1, last)
    return none if found < 0 else found - offset


def _searching(piece: _Piece) -> int:
    """Return the units a character costs in a search for a piece: the other literals may be compared at each."""
    units = _units([chunk for _, chunk in piece.chunks])
    return units if len(piece.chunks) < 2 else units + 2 * limits.PIECE_UNITS * (1 + len(piece.chunks))


# ---- a single star stops at `/`


def _narrow_runs(pattern: str, literals: list[str], stars: list[str]) -> Glob:
    """Return the test for literals with runs between them, of which those of a single star hold no slash."""
    anywhere = _any_runs(literals)
    if any(len(star) > 1 for star in stars):
        return _mixed_runs(anywhere, literals, stars)
    # No run crosses a slash, so the segments of pattern and text stand against each other one by one.
    if "/" not in pattern:
        return anywhere._replace(meets=lambda text: "/" not in text and anywhere.meets(text))
    segments = [_any_runs(_STARS.split(segment)).meets for segment in pattern.split("/")]
    slashes = len(segments) - 1

    def meets(text: str) -> bool:
        if text.count("/") != slashes:
            return False
        return all(test(part) for test, part in zip(segments, text.split("/"), strict=True))

    return Glob(meets, _base(len(literals) + len(segments)), _units(literals))


def _mixed_runs(anywhere: Glob, literals: list[str], stars: list[str]) -> Glob:
    """Return the test for runs of both kinds.

    Between two double stars stands a block of literals with single stars. The first is held against the beginning, the
    last against the end, the others each against the leftmost place that is left: within one the leftmost place of
    each literal is best, too, because up to the next slash an earlier one only leaves more room.
    """
    blocks: list[list[str]] = [[literals[0]]]
    for star, literal in zip(stars, literals[1:], strict=True):
        if len(star) > 1:
            blocks.append([literal])
        else:
            blocks[-1].append(literal)
    first, *middle, last = blocks

    def meets(text: str) -> bool:
        if "/" not in text:
            return anywhere.meets(text)
        at = _follow(text, first, 0, len(text)) if text.startswith(first[0]) else -1
        end = _precede(text, last, at) if at >= 0 and text.endswith(last[-1]) else -1
        for block in middle:
            if end < 0:
                return False
            at = _leftmost(text, block, at, end)
            end = end if at >= 0 else -1
        return 0 <= at <= end

    # A slash may stand at every character, and the largest block be tried behind each of them.
    tried = 2 * max(map(len, middle), default=0)
    return Glob(meets, _base(4 * len(literals)), _units(literals) + limits.PIECE_UNITS * tried)


def _follow(text: str, block: list[str], at: int, end: int) -> int:
    """Return the end of a block with its first literal at `at`, or -1 if the rest does not follow before `end`."""
    at += len(block[0])
    for literal in block[1:]:
        slash = text.find("/", at, end)
        last = end if slash < 0 else min(end, slash + len(literal))
        found = text.find(literal, at, last)
        if found < 0:
            return -1
        at = found + len(literal)
    return at if at <= end else -1


def _precede(text: str, block: list[str], begin: int) -> int:
    """Return the begin of a block with its last literal at the text's end, or -1 if the rest does not precede it."""
    at = len(text) - len(block[-1])
    for literal in reversed(block[:-1]):
        slash = text.rfind("/", begin, max(at, begin))
        first = begin if slash < 0 else max(begin, slash + 1 - len(literal))
        found = text.rfind(literal, first, max(at, first))
        if found < 0:
            return -1
        at = found
    return at if at >= begin else -1


def _leftmost(text: str, block: list[str], at: int, end: int) -> int:
    """Return where a block ends that stands as far left as it can from `at` on, -1 where it cannot stand by `end`."""
    begin = text.find(block[0], at, end)
    while begin >= 0:
        found = _follow(text, block, begin, end)
        if found >= 0:
            return found
        # Where it failed, so it would at every place before the next slash: no single star crosses that.
        slash = text.find("/", begin, end) if "/" not in block[0] else begin
        begin = -1 if slash < 0 else text.find(block[0], slash + 1, end)
    return -1


def as_expression(literals: list[str], stars: list[str]) -> str:
    """Return the RE2 expression that defines a pattern in grant position. It must match in full."""
    runs = [".*" if len(star) > 1 else "[^/]*" for star in stars]
    quoted = [str(re2.escape(literal)) for literal in literals]
    return "(?s)" + "".join(part for pair in zip(quoted, [*runs, ""], strict=True) for part in pair)
