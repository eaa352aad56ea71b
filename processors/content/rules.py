"""Rules that are patterns: compiled once, matched together, with places in code points.

RE2 takes time linear in the text for every pattern and gives the same answer on every machine. A filter over the
literal parts of all patterns (`re2.Filter`) leaves few patterns to be tried for a text.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

import re2

from processors.content.hits import Hit, code_points
from processors.proof.jcs import JSONValue
from schemas.errors import InputError

PATTERN_BYTES_MAX = 4 * 1024 * 1024  # of memory for a pattern: its program, and the states that RE2 makes as it reads


class TextRule(NamedTuple):
    """A pattern in RE2's syntax, with the rule's name and the kind of its hits.

    One name may stand at several patterns.
    """

    name: str
    kind: str
    pattern: str


class RuleError(InputError):
    """RE2 refuses a rule's pattern. `rule` is the rule and `why` is RE2's reason."""

    def __init__(self, rule: TextRule, why: str) -> None:
        super().__init__(
            f"rule {rule.name}: RE2 refuses the pattern {rule.pattern!r}: {why}; rewrite it or leave it out"
        )
        self.rule = rule
        self.why = why


class RuleSet:
    """Rules that are matched together, in the order in which they were given.

    Texts may hold any code point; half a surrogate pair is read as `?`. Answers do not depend on earlier texts.
    """

    __slots__ = ("_filter", "_rules")

    def __init__(self, rules: tuple[TextRule, ...], compiled: re2.Filter | None) -> None:
        self._rules = rules
        self._filter = compiled

    @classmethod
    def compile(cls, rules: Iterable[TextRule], *, max_mem: int = PATTERN_BYTES_MAX) -> RuleSet:
        """Return the rules, compiled. `max_mem` bounds the bytes of memory for each pattern.

        Raises:
            RuleError: RE2 does not take a pattern, or it needs more than `max_mem`.
        """
        compiled, refused = cls.accepted(rules, max_mem=max_mem)
        if refused:
            raise refused[0]
        return compiled

    @classmethod
    def accepted(
        cls, rules: Iterable[TextRule], *, max_mem: int = PATTERN_BYTES_MAX
    ) -> tuple[RuleSet, tuple[RuleError, ...]]:
        """Return the rules that RE2 takes, compiled, and an error for each other, both in the order given."""
        options = _options(max_mem)
        compiled = re2.Filter()
        kept: list[TextRule] = []
        refused: list[RuleError] = []
        for rule in rules:
            try:
                compiled.Add(rule.pattern, options)
            except (re2.error, UnicodeEncodeError):
                refused.append(RuleError(rule, _refusal(rule.pattern, options)))
            else:
                kept.append(rule)
        if not kept:
            return cls((), None), tuple(refused)
        compiled.Compile()
        return cls(tuple(kept), compiled), tuple(refused)

    def places(self, data: bytes) -> list[int]:
        """Return the places, in the order given, of the rules that match somewhere in UTF-8. Never raises."""
        return self._indexes(data)

    def matching(self, text: str) -> tuple[TextRule, ...]:
        """Return the rules that match somewhere in the text, in the order given. Never raises."""
        return tuple(self._rules[at] for at in self._indexes(_utf8(text)))

    def spans(self, text: str) -> tuple[Hit, ...]:
        """Return a hit for each rule that matches, at the rule's first match, in the order of rules. Never raises."""
        data = _utf8(text)  # most texts meet no rule, and RE2's own loop finds that out sooner than one of Python
        return tuple(hit for at in self._indexes(data) if (hit := self._first(at, data)) is not None)

    def further(self, text: str, known: Container[tuple[str, str]]) -> tuple[TextRule, ...]:
        """Return the rules that match as `matching`, without those with a known (kind, name): they are not tried."""
        data = _utf8(text)
        rules = ((at, self._rules[at]) for at in self._possible(data))
        return tuple(one for at, one in rules if (one.kind, one.name) not in known and self._first(at, data))

    def statement(self) -> JSONValue:
        """Return name, kind and pattern of every rule in order, for a digest of the rules."""
        return [[rule.name, rule.kind, rule.pattern] for rule in self._rules]

    def _indexes(self, data: bytes) -> list[int]:
        return [] if self._filter is None else self._filter.Match(data) or []

    def _possible(self, data: bytes) -> list[int]:
        """Return the rules that the literals in a text leave, not yet tried."""
        return [] if self._filter is None else self._filter.Match(data, potential=True) or []

    def _first(self, at: int, data: bytes) -> Hit | None:
        """Return the first match of a rule, None if there is none."""
        assert self._filter is not None
        rule = self._rules[at]
        found = self._filter.re(at).search(data)
        if found is None:
            return None
        start = code_points(data[: found.start()])
        return Hit(rule.kind, start, start + code_points(data[found.start() : found.end()]), rule.name)


def _refusal(pattern: str, options: re2.Options) -> str:
    """Return RE2's reason for refusing a pattern."""
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0] if error.args else "no reason given"
        return why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return "no reason given"


def _options(max_mem: int) -> re2.Options:
    options = re2.Options()
    options.max_mem = max_mem
    options.never_capture = True  # only the place of a whole match counts
    options.log_errors = False
    return options


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
