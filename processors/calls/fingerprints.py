"""Keyed fingerprints of words: a text is remembered by them, and cannot be read back.

A fingerprint is BLAKE2b (RFC 7693) with the tenant's genesis as its key, cut to 64 bits, of one to six words without
the blanks between them (`processors/text/words.py`). Sets of two tenants cannot be compared. A holder of the genesis
can try words: fingerprints are as secret as intake, and appear only in state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from processors.policy.evaluation import Work, spend
from processors.policy.limits import GRAM_UNITS, WORD_BYTE_UNITS
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.state.heard import FINGERPRINT_BYTES
from processors.text.characters import utf8_size
from processors.text.words import grams, readings, words_of
from schemas import limits

_PERSON = b"macaw/heard/v1"
_REPEATED_UNITS = GRAM_UNITS // 4  # a run that stood before: found, and not digested


@lru_cache(maxsize=16)
def _keyed(genesis: bytes) -> blake2b:
    return blake2b(key=genesis, digest_size=FINGERPRINT_BYTES, person=_PERSON)


def fingerprint(genesis: bytes, run: str) -> bytes:
    """Return the fingerprint of some words without blanks. Requires text without half surrogate pairs."""
    digest = _keyed(genesis).copy()
    digest.update(run.encode())
    return digest.digest()


class Printed(NamedTuple):
    """The fingerprints of some texts, in order and each once; whether they are those of all their words."""

    fingerprints: bytes
    complete: bool


NOT_SEEN = Printed(b"", complete=False)


def print_of(genesis: bytes, texts: Iterable[str], work: Work) -> Printed:
    """Return the fingerprints of texts as of one text. Requires few texts of bounded length.

    Raises:
        WorkExceededError: the budget does not suffice.
    """
    found: set[bytes] = set()
    parts = [readings(text) for text in texts]
    spend(work, WORD_BYTE_UNITS * sum(utf8_size(one) for part in parts for one in part))
    plain = [word for part in parts for word in words_of(part[0])]
    for words in (plain, *(words_of(one) for part in parts for one in part[1:])):
        every = list(grams(words))
        runs = dict.fromkeys(every)
        spend(work, GRAM_UNITS * len(runs) + _REPEATED_UNITS * (len(every) - len(runs)))
        found.update(fingerprint(genesis, run) for run in runs)
        if len(found) * FINGERPRINT_BYTES > limits.HEARD_SESSION_BYTES_MAX:
            return NOT_SEEN
    return Printed(b"".join(sorted(found)), complete=True)


def print_of_value(genesis: bytes, value: JSONValue, work: Work) -> Printed:
    """Return the fingerprints of the texts in a value; not those of a value that exceeds HEARD_TEXT_BYTES_MAX.

    Raises:
        WorkExceededError: the budget does not suffice.
    """
    texts = texts_in(value)
    return NOT_SEEN if texts is None else print_of(genesis, texts, work)


def texts_in(value: JSONValue) -> Sequence[str] | None:
    """Return the texts, numbers and member names in a value, in order; None where they exceed HEARD_TEXT_BYTES_MAX."""
    found: list[str] = []
    waiting: list[JSONValue] = [value]
    left = limits.HEARD_TEXT_BYTES_MAX
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for name, inner in reversed(one.items()):
                waiting += (inner, name)
            continue
        if isinstance(one, list):
            waiting += reversed(one)
            continue
        if one is None or isinstance(one, bool):
            continue
        text = one if isinstance(one, str) else jcs.canonical(one).decode()
        left -= utf8_size(text)
        if left < 0:
            return None
        found.append(text)
    return found
