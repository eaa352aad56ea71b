"""Transforms: each takes the texts of a rule and gives others. They run in the order in which they are written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from processors.identity.claims import bounds
from processors.identity.claims.errors import ClaimsMappingError
from processors.identity.claims.regexes import ClaimRegex
from processors.text.characters import has_hidden, quoted, trimmed
from processors.text.forms import lower, upper


class TransformKind(StrEnum):
    """The name of a transform in a file."""

    LOWER = "lower"
    UPPER = "upper"
    TRIM = "trim"  # without blanks at the ends
    FIRST = "first"  # the first text alone
    SPLIT = "split"  # each text into parts
    JOIN = "join"  # all texts into one
    PREFIX = "prefix"  # a text before each
    STRIP_PREFIX = "strip_prefix"  # texts that begin so, without the beginning; others are dropped
    DEFAULT = "default"  # a text in the place of none
    MAP = "map"  # each text by a table; texts that it lacks stay
    REGEX = "regex"  # the group of each text that matches; others are dropped


BARE = frozenset({TransformKind.LOWER, TransformKind.UPPER, TransformKind.TRIM, TransformKind.FIRST})
WITH_TEXT = frozenset(
    {TransformKind.SPLIT, TransformKind.JOIN, TransformKind.PREFIX, TransformKind.STRIP_PREFIX, TransformKind.DEFAULT}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTransform:
    """One transform: its kind, and the option that the kind has. Raises ClaimsMappingError for another option."""

    kind: TransformKind
    text: str | None = None
    table: Mapping[str, str] | None = field(default=None, hash=False)
    regex: ClaimRegex | None = None

    def __post_init__(self) -> None:
        wants = {"text": self.kind in WITH_TEXT, "table": self.kind is TransformKind.MAP}
        wants["regex"] = self.kind is TransformKind.REGEX
        for name, is_wanted in wants.items():
            if (getattr(self, name) is not None) is not is_wanted:
                raise ClaimsMappingError(f"the transform `{self.kind}` {'needs' if is_wanted else 'has no'} {name}")
        check_options("a transform", [self.text] if self.text is not None else [])
        for texts in (self.table or {}).keys(), (self.table or {}).values():
            check_options("a transform", texts)

    def apply(self, texts: Sequence[str]) -> list[str]:
        """Return the texts that this transform makes of others, which are within the bounds of a rule."""
        return [text for text in _MAKERS[self.kind](self, texts) if text]

    def taken(self, text: str) -> str | None:
        """Return the part of a text that `regex` takes."""
        assert self.regex is not None
        return self.regex.taken(text)


_Maker = Callable[[ClaimTransform, Sequence[str]], Iterable[str]]


def _stripped(one: ClaimTransform, texts: Sequence[str]) -> list[str]:
    prefix = one.text or ""
    return [text[len(prefix) :] for text in texts if text.startswith(prefix)]


_MAKERS: Mapping[TransformKind, _Maker] = {
    TransformKind.LOWER: lambda _, texts: map(lower, texts),
    TransformKind.UPPER: lambda _, texts: map(upper, texts),
    TransformKind.TRIM: lambda _, texts: map(trimmed, texts),
    TransformKind.FIRST: lambda _, texts: texts[:1],
    TransformKind.SPLIT: lambda one, texts: [part for text in texts for part in text.split(one.text)],
    TransformKind.JOIN: lambda one, texts: [(one.text or "").join(texts)],
    TransformKind.PREFIX: lambda one, texts: [f"{one.text}{text}" for text in texts],
    TransformKind.STRIP_PREFIX: _stripped,
    TransformKind.DEFAULT: lambda one, texts: texts or [one.text or ""],
    TransformKind.MAP: lambda one, texts: [(one.table or {}).get(text, text) for text in texts],
    TransformKind.REGEX: lambda one, texts: [part for text in texts if (part := one.taken(text)) is not None],
}


def check_options(what: str, texts: Collection[str]) -> None:
    """Raise ClaimsMappingError unless texts of a mapping are few, short, not empty and without hidden characters."""
    if len(texts) > bounds.LISTED_MAX:
        raise ClaimsMappingError(f"a list of {what} has {len(texts)} texts, allowed are {bounds.LISTED_MAX}")
    for text in texts:
        if not 0 < len(text) <= bounds.OPTION_CHARS_MAX:
            raise ClaimsMappingError(
                f"a text of {what} has {len(text)} characters, allowed are 1 to {bounds.OPTION_CHARS_MAX}"
            )
        if has_hidden(text):
            raise ClaimsMappingError(f"a text of {what} holds a control or invisible character: {quoted(text)}")
