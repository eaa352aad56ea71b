"""The texts of a call or a result, with their places, within bounds: verifiers look at nothing else.

At most TEXT_BYTES_MAX of one text are looked at, BYTES_MAX of all, LEAVES_MAX texts, and NODES_MAX values. A rest is
told (`is_truncated`), stamped, and a policy's to judge. Names of members are texts too: a caller chooses them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

from processors.content.views import is_word
from processors.policy.evaluation import Unseen, Work, spend
from processors.policy.paths import ParsedPath, leads_to
from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size

TEXT_BYTES_MAX = 4096
BYTES_MAX = 8192
LEAVES_MAX = 256
NODES_MAX = 20_000
TEXT_CHARS_MIN = 3  # no rule finds anything in less
POINTER_CHARS_MAX = 160
_NODE_UNITS = 16
_NAME_CHARS_MAX = 16  # a longer name is read as a text, and not shown
_NUMBER_MIN, _NUMBER_END = 10**8, 10**20  # a whole number so long may be a card or an account: it is read as a text
_DIGITS_MAX = 3  # in a name that is shown: one with more may be a secret itself
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")
_DIGITS = frozenset("0123456789")


_Place: TypeAlias = tuple[
    str, tuple[str | int, ...], object
]  # a pointer, the steps (where prompts are signed), a value


class Leaf(NamedTuple):
    """A text, or the part of it that is looked at, and its pointer.

    `is_name` says that it is the name of a member, `is_signed` that a person signed it as a prompt.
    """

    pointer: str
    text: str
    is_name: bool = False
    size: int = 0  # bytes of UTF-8
    is_signed: bool = False
    is_word: bool = False  # a lone word has no other reading, and costs little


class Texts(NamedTuple):
    """The texts of a value, in its order. `unseen` and `opaque` count those that travel beside the call."""

    leaves: tuple[Leaf, ...]
    is_truncated: bool
    unseen: int
    opaque: int


NO_TEXTS = Texts((), is_truncated=False, unseen=0, opaque=0)


def texts_of(value: JSONValue, work: Work, signed: Sequence[ParsedPath] = ()) -> Texts:
    """Return the texts of a value; those at the places `signed` are marked. The walk does not recurse.

    Raises:
        WorkExceededError.
    """
    reader = _Reader(work, signed)
    reader.read(value)
    return Texts(tuple(reader.leaves), reader.is_truncated, reader.unseen, reader.opaque)


def bodies_of(value: JSONValue, work: Work) -> Texts:
    """Count the texts of a value that travel beside the call, and return no other.

    Raises:
        WorkExceededError.
    """
    waiting: list[object] = [value]
    nodes = unseen = opaque = 0
    while waiting:
        one = waiting.pop()
        nodes += 1
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, Unseen):
            opaque += one.opaque
            unseen += not one.opaque
    spend(work, _NODE_UNITS * nodes)
    return Texts((), is_truncated=False, unseen=unseen, opaque=opaque)


def pointer_of(steps: Sequence[str | int]) -> str:
    """Return the pointer of a place, as those of leaves."""
    pointer = ""
    for step in steps:
        pointer = _below(pointer, str(step) if isinstance(step, int) else _shown(step))
    return pointer


class _Reader:
    """The texts that were found so far, and the bytes that may still be taken."""

    def __init__(self, work: Work, signed: Sequence[ParsedPath]) -> None:
        self.leaves: list[Leaf] = []
        self.is_truncated = False
        self.unseen = self.opaque = 0
        self._left = BYTES_MAX
        self._work = work
        self._signed = signed

    def read(self, value: JSONValue) -> None:
        """Take the texts of a value, in the order in which they stand."""
        waiting: list[_Place] = [("", (), value)]
        nodes = 0
        while waiting and nodes < NODES_MAX:
            place = waiting.pop()
            pointer, steps, one = place
            nodes += 1
            kind = type(one)
            if kind is str:
                is_signed = bool(self._signed) and any(leads_to(path, steps) for path in self._signed)
                self._take(pointer, one, is_signed=is_signed)  # type: ignore[arg-type]
            elif isinstance(one, (dict, list)):
                room = NODES_MAX - nodes - len(waiting)
                self.is_truncated |= len(one) > room
                self._names(pointer, one, room)
                waiting += self._inside(place, max(room, 0))
            elif kind is int and _NUMBER_MIN <= abs(one) < _NUMBER_END:  # type: ignore[arg-type]
                self._take(pointer, str(one))
            elif kind is Unseen:
                assert isinstance(one, Unseen)
                self.opaque += one.opaque
                self.unseen += not one.opaque
        self.is_truncated |= bool(waiting)
        spend(self._work, _NODE_UNITS * (nodes + len(self.leaves)))

    def _names(self, pointer: str, one: dict[str, JSONValue] | list[JSONValue], room: int) -> None:
        if isinstance(one, dict):
            for name in islice(one, max(room, 0)):
                if is_read(name):
                    self._take(f"{pointer}/#", name, is_name=True)

    def _inside(self, place: _Place, room: int) -> list[_Place]:
        """Return at most `room` members or items of a container, the last one first."""
        pointer, steps, one = place
        names = list(islice(one, room)) if isinstance(one, dict) else range(min(len(one), room))  # type: ignore[arg-type]
        return [
            (
                _below(pointer, str(name) if isinstance(name, int) else _shown(name)),
                (*steps, name) if self._signed else (),
                one[name],  # type: ignore[index]
            )
            for name in reversed(names)
        ]

    def _take(self, pointer: str, text: str, *, is_name: bool = False, is_signed: bool = False) -> None:
        if len(text) < TEXT_CHARS_MIN:
            return
        if len(self.leaves) == LEAVES_MAX or self._left <= 0:
            self.is_truncated = True
            return
        kept = _cut(text, min(TEXT_BYTES_MAX, self._left))
        self.is_truncated |= len(kept) < len(text)
        size = utf8_size(kept)
        self._left -= size
        self.leaves.append(Leaf(pointer, kept, is_name, size, is_signed, is_word(kept)))


def is_read(name: str) -> bool:
    """Return whether the name of a member is read as a text: one that is long, or not a plain word."""
    return len(name) > _NAME_CHARS_MAX or not _is_plain(name)


@functools.lru_cache(maxsize=4096)  # of short names
def _is_plain(name: str) -> bool:
    """Return whether a short name is a word of ASCII letters: such a one is shown, and not looked at."""
    if _PLAIN.issuperset(name):
        return True
    digits = sum(map(_DIGITS.__contains__, name))
    return digits <= _DIGITS_MAX and (_PLAIN | _DIGITS).issuperset(name)


def _shown(name: str) -> str:
    """Return the name of a member in a pointer: a star for one that may be a secret itself."""
    return "*" if is_read(name) else name


def _below(pointer: str, step: str) -> str:
    """Return the pointer of a member or an item; too deep, that of the container."""
    below = f"{pointer}/{step}"
    return below if len(below) <= POINTER_CHARS_MAX else pointer


def _cut(text: str, bytes_max: int) -> str:
    """Return the longest begin of a text with so many bytes of UTF-8."""
    if len(text) * 4 <= bytes_max or utf8_size(text) <= bytes_max:
        return text
    return text[:bytes_max].encode("utf-8", "surrogatepass")[:bytes_max].decode("utf-8", "ignore")
