"""Rules of a tenant's catalogue: compiled once, matched on a text and its other readings, each match paid for.

A filter over the literal parts of all patterns leaves few of them for a text; these are tried one by one, and paid for
by the size of their programs. The size bounds the time that RE2 needs for a byte of the text, whatever the text is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import re2

from processors.content.hits import Hit
from processors.content.identity import OWN_SHA256
from processors.content.views import views
from processors.policy.evaluation import Work, spend
from processors.proof import jcs
from processors.text.characters import utf8_size
from schemas import limits
from schemas.errors import InputError
from schemas.events.catalogues import CatalogueRule
from schemas.rows import CatalogueRow

# Units are 50 ns; `python -m bench.catalogues` measures them.
COMPILE_UNITS = 40  # an instruction of a program, at the event; and a rule is worth RULE_INSTRUCTIONS more
RULE_INSTRUCTIONS = 16
REFUSED_INSTRUCTIONS = 10_000  # as which a pattern counts that RE2 refuses after it has grown to its bound
VIEWS_BYTE_UNITS = 8  # a byte of a text whose other readings are made
FILTER_UNITS = 64  # a text before a catalogue's filter, and for each byte of it
FILTER_BYTE_UNITS = 2
TRY_UNITS = 64  # a rule that the filter left, and for each byte of the text
INSTRUCTIONS_A_UNIT = 16  # of its program, rounded up: a byte costs RE2 3 ns for each at the very worst, 0.01 mostly

# A rule is loose if a text of every pair of ASCII's signs passes the filter to it: it has no literal of four signs.
_SIGNS = "".join(chr(code) for code in (0x09, 0x0A, 0x0D, *range(0x20, 0x7F)) if not 0x41 <= code <= 0x5A)
_PAIRS = "".join(one + other for one in _SIGNS for other in _SIGNS).encode()
LOOSE_RULE_INSTRUCTIONS = 128  # beside its program: a text that is sent to cost makes states of every one of them

# Memory of one pattern: its program, and the states that RE2 keeps for good, up to a third. A program that needs more
# has more. A small one whose states do not fit is no slower than its price, and is read without them.
_BYTES = (64 * 1024, 256 * 1024, 1024 * 1024)
_CACHED_MAX = 16  # catalogues; the tables hold the rules of more


class CatalogueRuleError(InputError):
    """A rule that cannot be matched. `rule_id` names it; `programs` are the instructions compiled until then."""

    def __init__(self, rule_id: str, why: str, programs: int) -> None:
        super().__init__(f"rule {rule_id}: {why}")
        self.rule_id, self.why, self.programs = rule_id, why, programs


class _Compiled(NamedTuple):
    matching: re2.Filter
    sizes: tuple[int, ...]  # of the programs, in the order of the rules

    @property
    def programs(self) -> int:
        return sum(self.sizes) + RULE_INSTRUCTIONS * len(self.sizes)


def compile_units(programs: int) -> int:
    """Return the units that an event pays for so many instructions."""
    return COMPILE_UNITS * programs


@functools.lru_cache(maxsize=_CACHED_MAX)
def compiled(rules: tuple[CatalogueRule, ...]) -> _Compiled:
    """Return rules ready to match, at most CATALOGUE_PROGRAMS_MAX instructions, and CATALOGUE_LOOSE_MAX of loose ones.

    Raises:
        CatalogueRuleError: RE2 does not take a pattern, it matches the empty text, or a bound is exceeded.
    """
    matching, sizes, programs = re2.Filter(), [], 0
    for number, rule in enumerate(rules):
        try:
            sizes.append(_added(matching, number, rule))
        except CatalogueRuleError as exc:
            raise CatalogueRuleError(rule.id, exc.why, programs + exc.programs) from exc
        programs += sizes[-1] + RULE_INSTRUCTIONS
        if programs > limits.CATALOGUE_PROGRAMS_MAX:
            bound = f"with it the patterns have more than {limits.CATALOGUE_PROGRAMS_MAX} instructions together"
            raise CatalogueRuleError(rule.id, bound, programs)
    _finish(matching, rules[-1], programs)
    loose = 0
    for at in _loose(matching):
        loose += sizes[at] + LOOSE_RULE_INSTRUCTIONS
        if loose > limits.CATALOGUE_LOOSE_MAX:
            raise CatalogueRuleError(rules[at].id, _TOO_LOOSE, programs)
    return _Compiled(matching, tuple(sizes))


def _finish(matching: re2.Filter, last: CatalogueRule, programs: int) -> None:
    """Make the filter over the literals of rules. Raises CatalogueRuleError, naming the last of them."""
    try:
        matching.Compile()
    except re2.error:
        raise CatalogueRuleError(last.id, "the rules have too many literals together: split them", programs) from None


_TOO_LOOSE = (
    f"with it the rules without a literal of four signs weigh more than {limits.CATALOGUE_LOOSE_MAX} instructions "
    f"together, {LOOSE_RULE_INSTRUCTIONS} and its program for each: give them literals, or take some out"
)


def _loose(matching: re2.Filter) -> list[int]:
    """Return the numbers of the loose rules, in order."""
    return sorted(matching.Match(_PAIRS, potential=True) or ())


def loose_size(rule: CatalogueRule) -> int:
    """Return the instructions that a rule counts for among loose ones, 0 if it is none. Raises as `compiled`."""
    matching = re2.Filter()
    size = _added(matching, 0, rule)
    _finish(matching, rule, size)
    return size + LOOSE_RULE_INSTRUCTIONS if _loose(matching) else 0


def program_size(rule: CatalogueRule) -> int:
    """Return the instructions that a rule counts for. Raises CatalogueRuleError as `compiled`."""
    return _added(re2.Filter(), 0, rule) + RULE_INSTRUCTIONS


def _added(matching: re2.Filter, number: int, rule: CatalogueRule) -> int:
    """Add a rule to a filter that has so many, and return the size of its program."""
    if not any(_is_taken(matching, rule.pattern, size) for size in _BYTES):
        raise CatalogueRuleError(rule.id, "RE2 does not take the pattern, or it grows too large", REFUSED_INSTRUCTIONS)
    pattern = matching.re(number)
    if pattern.search(b"") is not None:
        raise CatalogueRuleError(rule.id, "the pattern matches the empty text, and so every text", pattern.programsize)
    size: int = pattern.programsize
    return size


def _is_taken(matching: re2.Filter, pattern: str, size: int) -> bool:
    try:
        matching.Add(pattern, _options(size))
    except (re2.error, UnicodeEncodeError):
        return False
    return True


def _options(size: int) -> re2.Options:
    options = re2.Options()
    options.max_mem = size
    options.log_errors = False
    options.never_capture = True  # only the place of a whole match counts
    return options


class Catalogue:
    """A catalogue in force. `digest` names its rules."""

    __slots__ = ("_compiled", "_kinds", "_rules", "digest")

    def __init__(self, name: str, rules: tuple[CatalogueRule, ...], digest: bytes) -> None:
        """Raises CatalogueRuleError."""
        self.digest = digest
        self._rules = rules
        self._kinds = tuple(f"catalogue.{name}.{rule.kind}" for rule in rules)
        self._compiled = compiled(rules)

    def hits(self, readings: Sequence[str], work: Work) -> list[Hit]:
        """Return a hit for each rule that matches, in the order of rules.

        The first reading is the text itself: a match there has its place, one in another reading spans the text.
        Raises WorkExceededError.
        """
        found: dict[int, Hit] = {}
        whole = len(readings[0])
        for number, reading in enumerate(readings):
            data = reading.encode("utf-8", "replace")
            spend(work, FILTER_UNITS + FILTER_BYTE_UNITS * len(data))
            for at in self._compiled.matching.Match(data, potential=True) or ():
                if at in found:
                    continue
                spend(work, TRY_UNITS + len(data) * -(-self._compiled.sizes[at] // INSTRUCTIONS_A_UNIT))
                match = self._compiled.matching.re(at).search(data)
                if match is not None:
                    start, end = (0, whole) if number else _in_code_points(data, match.start(), match.end())
                    found[at] = Hit(self._kinds[at], start, end, self._rules[at].id)
        return [found[at] for at in sorted(found)]


def _in_code_points(data: bytes, start: int, end: int) -> tuple[int, int]:
    if data.isascii():
        return start, end
    before = len(data[:start].decode("utf-8", "ignore"))
    return before, before + len(data[start:end].decode("utf-8", "ignore"))


class Matched(NamedTuple):
    """The catalogues of one verifier in the order of their names, and the digest of all rules: its own, and these."""

    catalogues: tuple[Catalogue, ...]
    digest: bytes

    def hits(self, text: str, work: Work, *, decoded: bool) -> Iterator[Hit]:
        """Yield the hits in a text; `decoded` asks for its other readings too. Raises WorkExceededError."""
        readings: tuple[str, ...] = (text,)
        if decoded:
            spend(work, VIEWS_BYTE_UNITS * utf8_size(text))
            readings = views(text)
        for one in self.catalogues:
            yield from one.hits(readings, work)


Catalogues = Mapping[str, Matched]  # by the name of the verifier
NO_CATALOGUES: Catalogues = {}


def ready(rows: Mapping[bytes, CatalogueRow]) -> Catalogues:
    """Return the catalogues of a tenant by verifier. Requires rows that were accepted by this engine."""
    found: dict[str, list[Catalogue]] = {}
    for key in sorted(rows):
        row = rows[key]
        found.setdefault(row.verifier, []).append(Catalogue(key.decode(), row.rules, row.digest))
    return {
        verifier: Matched(tuple(some), sha256(OWN_SHA256 + b"".join(one.digest for one in some)).digest())
        for verifier, some in found.items()
    }


def digest_of(name: str, verifier: str, rules: Sequence[CatalogueRule]) -> bytes:
    """Return the SHA-256 of a catalogue's canonical JSON (RFC 8785): its name, its verifier, and its rules in order."""
    stated: list[jcs.JSONValue] = [[one.id, one.kind, one.pattern] for one in rules]
    return sha256(jcs.canonical({"name": name, "verifier": verifier, "rules": stated})).digest()
