"""One finding of a detector: its kind and its place, never the text that it found."""

from typing import NamedTuple


class Hit(NamedTuple):
    """A place in a text that a rule speaks of.

    `kind` is dotted lower case, such as `injection.override`. `start` and `end` count code points of the text that was
    given to the detector. A hit in a decoded reading of it spans the whole text, because decoding moves places.
    `rule` is the rule's id, for the log and for people.
    """

    kind: str
    start: int
    end: int
    rule: str = ""


def code_points(data: bytes) -> int:
    """Return how many code points the UTF-8 in some bytes has: places of hits count them."""
    return len(data) if data.isascii() else len(data.decode("utf-8", "ignore"))
