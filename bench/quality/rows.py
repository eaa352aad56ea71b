"""One figure of a detector: so many hits of so many texts, with the interval that such a sample leaves open."""

import json
from collections.abc import Callable, Iterable, Iterator
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

Z95 = 1.959964  # the normal distribution's quantile for an interval of 95 %


class Row(NamedTuple):
    """`hits` of `of` texts of a surface; `what` says which texts, and with which rules."""

    surface: str
    what: str
    hits: int
    of: int

    @property
    def share(self) -> float:
        """The share of hits, 0 to 1; 0 of no texts at all."""
        return self.hits / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 % for the share."""
        return wilson(self.hits, self.of)

    def __str__(self) -> str:
        low, high = self.interval
        figures = f"{100 * self.share:5.1f} % [{100 * low:.1f} to {100 * high:.1f}]"
        return f"{self.surface:<9} {self.what:<58} {self.hits:>5} of {self.of:<5} {figures}"


def wilson(hits: int, of: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval for a share, 0 to 1: (0, 1) if there are no texts."""
    if of == 0:
        return 0.0, 1.0
    share = hits / of
    middle = share + z * z / (2 * of)
    spread = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def read(corpora: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of a corpus: `name.jsonl` in the folder, one JSON object a line."""
    with (corpora / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def count(surface: str, what: str, texts: Iterable[str], is_hit: Callable[[str], bool]) -> Row:
    """Return the row of some texts."""
    given = list(texts)
    return Row(surface, what, sum(map(is_hit, given)), len(given))


def leaves(value: object) -> Iterator[str]:
    """Yield every text in a JSON value, in order: what a detector is given of a call's arguments."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += reversed(one.values())
        elif isinstance(one, list):
            waiting += reversed(one)
