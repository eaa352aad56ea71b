"""Injected instructions in a text: a tier of rules that may deny, and a wider one that only marks.

A text is judged in every reading of it (`views`). Rules see words, not intents: an attack in new words passes, so a
text without hits is not thereby trusted.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from processors.content import injection_atr, injection_rules
from processors.content.hits import Hit
from processors.content.rules import RuleSet
from processors.content.views import is_word, views
from processors.proof.jcs import JSONValue

WORD_CHARS_MAX = 24  # of one word of ASCII letters and digits: too short to instruct, even decoded


class _Tiers(NamedTuple):
    """The compiled rules. `refused` are the ids of ATR's rules that lost a pattern, because RE2 does not take it."""

    deny: RuleSet
    mark: RuleSet
    refused: tuple[str, ...]


def find(text: str) -> tuple[Hit, ...]:
    """Return the hits of rules that deny, one for each rule: our own first, then ATR's, in the order of the rules.

    A hit in the text itself has its place; one in another reading spans the whole text. Never raises for a text. One
    word of at most WORD_CHARS_MAX has none.

    Raises:
        AtrError: the pinned rules of others are not installed.
    """
    if len(text) <= WORD_CHARS_MAX and is_word(text):
        return ()
    return _hits(text, _tiers().deny)


def marks(text: str) -> tuple[Hit, ...]:
    """Return the hits of rules that mark a text and never deny it; those of `find` are not among them.

    Orders that people also give are among them, so these hits are for texts that tools return. Never raises for a text.

    Raises:
        AtrError: as `find`.
    """
    if len(text) <= WORD_CHARS_MAX and is_word(text):
        return ()
    return _hits(text, _tiers().mark)


def refused() -> tuple[str, ...]:
    """Return the ids of ATR's rules of which RE2 refuses a pattern, once for each such pattern, in order."""
    return _tiers().refused


def statement() -> JSONValue:
    """Return the rules of both tiers, the digest of ATR's file, and the ids that are left out, for a digest.

    ATR's patterns are not repeated: the digest of their file and the bounds of the engine name them.
    """
    tiers = _tiers()
    return {
        "atr": {
            "package": injection_atr.PACKAGE,
            "version": injection_atr.VERSION,
            "sha256": injection_atr.load().sha256,
            "left_out": [*sorted(injection_atr.LEFT_OUT)],
            "refused": [*tiers.refused],
        },
        "deny": [[*rule] for rule in injection_rules.deny_rules()],
        "mark": tiers.mark.statement(),
    }


@cache
def _tiers() -> _Tiers:
    own = injection_rules.deny_rules()
    deny, errors = RuleSet.accepted((*own, *injection_atr.load().rules))
    for error in errors:
        if error.rule in own:
            raise error
    mark = RuleSet.compile(injection_rules.mark_rules())
    return _Tiers(deny, mark, tuple(error.rule.name for error in errors))


def _hits(text: str, rules: RuleSet) -> tuple[Hit, ...]:
    """Return the first hit of each rule over all readings: those in the text itself first, each in order of rules."""
    found: dict[tuple[str, str], Hit] = {}
    for hit in rules.spans(text):
        found.setdefault((hit.kind, hit.rule), hit)
    for other in views(text)[1:]:
        for rule in rules.further(other, found.keys()):
            found.setdefault((rule.kind, rule.name), Hit(rule.kind, 0, len(text), rule.name))
    return tuple(found.values())
