"""Replace found places by a fixed token of their kind: a reader learns the sort of a value and not its length."""

from __future__ import annotations

from collections.abc import Iterable

from processors.content.hits import Hit

_OPEN = "[masked:"


def token(kind: str) -> str:
    """Return the text that stands for a value, such as `[masked:iban]` for the kind `personal.iban`.

    Only the last name of the kind is told, in lower-case letters and underscores.
    """
    name = kind.rpartition(".")[2]
    return _OPEN + "".join(one for one in name if one == "_" or "a" <= one <= "z") + "]"


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
