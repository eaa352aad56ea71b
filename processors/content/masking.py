"""Replace found places by a fixed token of their kind: a reader learns the sort of a value and not its length."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from processors.content.hits import Hit
from processors.content.mask_tokens import CATALOGUE, OPEN, written

LOOKS_MAX = 4  # at one text: a value may show only where another is gone

_TOKEN = re.compile(re.escape(OPEN) + "[a-z_]*]")


def token(kind: str) -> str:
    """Return the text that stands for a value, such as `[masked:iban]` for the kind `personal.iban`.

    Only the last name of the kind is told, in lower-case letters and underscores; of a catalogue's rule, none.
    """
    if kind.startswith(f"{CATALOGUE}."):
        return written(CATALOGUE)
    name = kind.rpartition(".")[2]
    return written("".join(one for one in name if one == "_" or "a" <= one <= "z"))


def blanked(text: str, find: Callable[[str], Sequence[Hit]]) -> str:
    """Return the text with every finding masked, so that nothing is found in it any more.

    A masked text is looked at again, because a disguised value may show only then. One in which something is found at
    every look is replaced whole. Raises as `find`.
    """
    kind = ""
    for _ in range(LOOKS_MAX):
        hits = find(text)
        if not hits:
            return text
        kind = hits[0].kind
        text = masked(text, hits)
    return token(kind)


def is_masked_form(before: str, after: str, tokens: Collection[str]) -> bool:
    """Return whether a text is another with some parts, each of a character or more, replaced by one of the tokens.

    A part that was not replaced stands in both, in the same order; no place holds a text that was not there.
    """
    kept, at = [""], 0  # the parts between tokens, as they stand in `after`
    for match in _TOKEN.finditer(after):
        if match.group() in tokens:
            kept[-1] += after[at : match.start()]
            kept.append("")
            at = match.end()
    kept[-1] += after[at:]
    if len(kept) == 1:
        return before == after
    first, *between, last = kept
    if not before.startswith(first):
        return False
    place = len(first)
    for part in between:  # the earliest place leaves the most room for the rest
        found = before.find(part, place + 1)
        if found < 0:
            return False
        place = found + len(part)
    return len(before) - len(last) > place and before.endswith(last)


def masked(text: str, hits: Iterable[Hit]) -> str:
    """Return the text with each place replaced by its token; a place that overlaps a longer one is joined to it.

    Places that overlap become one place with the token of the longest, of equally long ones the first given. Places
    count code points; a part beyond the text is not a place. A place that begins or ends within a token of an earlier
    masking is widened to the whole token, so that masking twice changes nothing.
    """
    places = _joined(_within(hit, len(text)) for hit in hits)
    pieces: list[str] = []
    last = 0
    for hit in places:
        pieces += (text[last : hit.start], token(hit.kind))
        last = hit.end
    return "".join((*pieces, text[last:]))


def _within(hit: Hit, size: int) -> Hit:
    start = min(max(0, hit.start), size)
    return hit._replace(start=start, end=min(max(start, hit.end), size))


def _joined(hits: Iterable[Hit]) -> list[Hit]:
    """Return places that do not overlap, in order; each with the kind of the longest of those it is made of."""
    joined: list[tuple[Hit, int]] = []  # a place, and the size of the longest hit in it
    for hit in sorted((one for one in hits if one.start < one.end), key=lambda one: (one.start, one.start - one.end)):
        size = hit.end - hit.start
        if joined and hit.start < joined[-1][0].end:
            place, longest = joined[-1]
            end = max(place.end, hit.end)
            kind = hit.kind if size > longest else place.kind
            joined[-1] = (place._replace(kind=kind, end=end), max(size, longest))
        else:
            joined.append((hit, size))
    return [place for place, _ in joined]
