"""How many results the model of `stackone-defender` passes: `python -m bench.quality.defender CORPORA`.

The texts are those that tools return. Each is judged whole, as the verifier judges a result with this one text. A
result that is not passed stays marked, because of its score or because it was not read to its end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from bench.quality.injection import CITED, DOCUMENT, TOOL
from bench.quality.rows import Row, count, read
from macaw.verifiers.stackone import PASS_MAX, Model, Score

_BOUNDS = (PASS_MAX, -20, 0)  # tenths of a logit


def score(corpora: Path) -> list[Row]:
    """Return the rows of tools and documents, of attacks and innocent texts, for some bounds of the score."""
    rows = [row for name in CITED for row in read(corpora, name)]
    found: list[Row] = []
    for surface, names in (("tool", TOOL), ("document", DOCUMENT)):
        for label, what in (("attack", "attacks"), ("benign", "innocent texts")):
            texts = [row["text"] for row in rows if row["label"] == label and row["surface"] in names]
            found += _rows(surface, what, texts)
    airline = [row["text"] for row in read(corpora, "benign_taubench") if row["surface"] in TOOL]
    return [*found, *_rows("tool", "tau-bench: tool texts", airline)]


def _rows(surface: str, what: str, texts: list[str]) -> Iterable[Row]:
    for bound in _BOUNDS:
        told = f"{what} not passed, bound {bound / 10:g}" + (" (the default)" if bound == PASS_MAX else "")
        yield count(surface, told, texts, partial(_is_marked, bound))
    yield count(surface, f"{what} unread", texts, lambda text: _score(text).unread)


def _is_marked(bound: int, text: str) -> bool:
    found = _score(text)
    return found.unread or found.score > bound


@cache
def _model() -> Model:
    return Model()


@cache
def _score(text: str) -> Score:
    return _model().score_of(text)


if __name__ == "__main__":
    for one in score(Path(sys.argv[1])):
        print(one)
