"""Find structured personal data in a text: numbers by shape and check digits, addresses, telephones, labelled values.

Names, places and free descriptions of people are not found: that takes a model. A hit tells kind and place, never the
value.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import re2

from processors.content import bank_accounts, net_addresses, payment_cards, phone_numbers
from processors.content.check_digits import IBAN_LENGTHS
from processors.content.hits import Hit, code_points
from processors.content.net_addresses import stands_alone
from processors.content.personal_rules import LABELLED, SHAPES, PersonalShape
from processors.content.rules import RuleSet, TextRule
from processors.content.value_readings import RUN_CHARS_MIN, with_readings
from processors.proof.jcs import JSONValue

CHARS_MIN = 3  # the shortest value that is found: an address such as `::1`
HITS_MAX = 1024  # for one text: 4 KiB hold fewer
CHECKS_MAX = 4096  # candidates of one text whose check digits are computed; later ones are not looked at
IBAN_MIN = min(IBAN_LENGTHS.values())
LABEL_BYTES = 64  # before a value
AFTER_BYTES = 24  # behind a value

# At least four digits with at most three other characters between two: every number that is looked for has them.
_DENSE = re2.compile(rb"(?:\d[^\d\n]{0,3}){4,}")
DENSE_MIN = 4
_NO_DIGITS = bytes(one for one in range(256) if not 0x30 <= one <= 0x39)
_SEPARATORS = str.maketrans("", "", " .-/:")


class _Shapes(NamedTuple):
    together: RuleSet
    shapes: dict[TextRule, PersonalShape]


def find(text: str) -> tuple[Hit, ...]:
    """Return the personal data of a text in the order of places, at most HITS_MAX.

    Places count code points. No hit lies within a longer one; two kinds may claim one place. Then come those of its
    other readings (`value_readings`), one for each kind that the text itself has not: such a hit spans the whole text.
    Never raises.
    """
    if len(text) < CHARS_MIN or (len(text) < RUN_CHARS_MIN and text.isascii() and text.isalpha()):
        return ()  # letters alone are none, and so few of them are not a value in disguise
    return with_readings(text, tuple(_in_one(text)), _in_one)


def _in_one(text: str) -> list[Hit]:
    """Return the personal data of one reading."""
    data = text.encode("utf-8", "replace")
    hits = net_addresses.emails(data)
    digits = len(data.translate(None, _NO_DIGITS))
    if digits >= DENSE_MIN:
        hits += _numbers(data)
    if digits and len(data) >= IBAN_MIN:
        hits += bank_accounts.find(data)
    if digits >= payment_cards.DIGITS_MIN:
        hits += payment_cards.find(data)
    if data.count(b".") >= 2 or data.count(b":") >= 2 or data.count(b"-") >= 5:  # as few as an address has
        hits += net_addresses.hosts(data)
    if digits >= phone_numbers.DIGITS_MIN:
        hits += phone_numbers.find(data)
    return [_in_code_points(hit, data) for hit in _outermost(hits)[:HITS_MAX]] if hits else []


def statement() -> JSONValue:
    """Return all that verdicts depend on, for a digest: shapes, checks by name, labels, schemes, countries, plans."""
    return {
        "shapes": [
            [shape.kind, shape.pattern, shape.check.__qualname__, shape.label, shape.alone, shape.grouped, shape.whole]
            for shape in (*SHAPES, *LABELLED)
        ],
        "iban": [[country, size] for country, size in sorted(IBAN_LENGTHS.items())],
        "cards": [[*row] for row in payment_cards.statement()],
        "phones": [[*row] for row in phone_numbers.statement()],
        "bounds": [HITS_MAX, CHECKS_MAX, LABEL_BYTES, AFTER_BYTES],
    }


@cache
def _shapes() -> _Shapes:
    shapes = {
        TextRule(f"{shape.kind}.{at}", f"personal.{shape.kind}", shape.pattern): shape
        for at, shape in enumerate((*SHAPES, *LABELLED))
    }
    return _Shapes(RuleSet.compile(shapes), shapes)


@cache
def _places(pattern: str) -> re2._Regexp:
    return re2.compile(pattern.encode())


def _numbers(data: bytes) -> list[Hit]:
    """Return values with a shape, check and label that agree. A shape must match near digits to be tried further."""
    near = _near_digits(data)
    if not near:
        return []
    compiled = _shapes()
    hits: list[Hit] = []
    checks = 0
    for rule in compiled.together.matching(near):
        shape = compiled.shapes[rule]
        labelled = bool(shape.label) and _label(shape).search(data) is not None
        if not (labelled or shape.alone or shape.grouped or shape.whole):
            continue
        for match in _places(rule.pattern).finditer(data):
            checks += 1
            if checks > CHECKS_MAX:
                return hits
            start, end = match.span(1)
            if stands_alone(data, start, end, b".-/") and _is_value(shape, data, start, end, labelled=labelled):
                hits.append(Hit(rule.kind, start, end, rule.name))
    return hits


def _is_value(shape: PersonalShape, data: bytes, start: int, end: int, *, labelled: bool) -> bool:
    """Return True if the check holds, and the value's form or a label beside it says that it is more than a number."""
    value = data[start:end].decode("utf-8", "replace")
    plain = value if shape.exact else value.upper().translate(_SEPARATORS)
    named = (
        shape.alone or (shape.grouped and len(plain) < len(value)) or (shape.whole and data[start:end] == data.strip())
    )
    if not named and labelled:
        beside = data[max(0, start - LABEL_BYTES) : start] + b"\n" + data[end : end + AFTER_BYTES]
        named = _label(shape).search(beside) is not None
    return named and bool(plain) and shape.check(plain)


def _label(shape: PersonalShape) -> re2._Regexp:
    return _places(f"(?i)(?:{shape.label})")


def _near_digits(data: bytes) -> str:
    """Return the places with many digits and the text around them, one a line."""
    pieces: list[bytes] = []
    last = 0
    for match in _DENSE.finditer(data):
        start, end = max(last, match.start() - LABEL_BYTES), min(len(data), match.end() + AFTER_BYTES)
        if pieces and start <= last:
            pieces[-1] += data[last:end]
        else:
            pieces.append(data[start:end])
        last = max(last, end)
    return b"\n".join(pieces).decode("utf-8", "replace")


def _outermost(hits: list[Hit]) -> list[Hit]:
    """Return the hits in order without those within a longer one, and one of each kind for a place."""
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda one: (one.start, -one.end)):  # stable: the earlier rule of a place stays first
        last = kept[-1] if kept else None
        if last is None or hit.end > last.end or (last[1:3] == hit[1:3] and last.kind != hit.kind):
            kept.append(hit)
    return kept


def _in_code_points(hit: Hit, data: bytes) -> Hit:
    if data.isascii():
        return hit
    start = code_points(data[: hit.start])
    return hit._replace(start=start, end=start + code_points(data[hit.start : hit.end]))
