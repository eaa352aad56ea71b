"""Tests for denied parameters of a call (docs/mapl.md 4). Restriction position: every spelling is tried.

Every scalar is looked at as JSON writes it. An item with a slash also tries the other spellings of a path. A value that
cannot be inspected is not let through.
"""

from collections.abc import Iterator

from processors.policy import limits
from processors.policy.evaluation import Parameters, Work, seen, spend
from processors.policy.globs import Glob, denying
from processors.policy.parameter_checks import Test, equality_key
from processors.policy.paths import MISMATCH, reached
from processors.policy.specs import DeniedParameter
from processors.policy.spellings import is_path, path_patterns, path_spellings
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size
from processors.text.forms import fold, is_stream_safe

_DENIED, _TYPE = "PARAM_DENIED", "PARAM_TYPE"


def denial_test(denied: DeniedParameter) -> Test:
    """Return the test of one path and its items: a reason to deny, or an empty text."""
    meets, place = _Items(denied.items), denied.place
    if place is None:
        return lambda parameters, work: _DENIED if meets.below(dict(parameters), work) else ""

    def test(parameters: Parameters, work: Work) -> str:
        values = reached(parameters, place, work)
        if MISMATCH in values:
            return _TYPE
        return _DENIED if any(meets.below(value, work) for value in values) else ""  # type: ignore[arg-type]

    return test


class _Globs:
    """Items with stars or question marks, and the cost of a text that is held against all of them."""

    def __init__(self, globs: list[Glob]) -> None:
        self._tests = [one.meets for one in globs]
        self._base, self._units = sum(one.base for one in globs), sum(one.units for one in globs)

    def __bool__(self) -> bool:
        return bool(self._tests)

    def meet(self, folded: str, work: Work) -> bool:
        spend(work, self._base + self._units * len(folded))
        return any(meets(folded) for meets in self._tests)


class _Items:
    """The items of one path, by how they are compared."""

    def __init__(self, items: tuple[JSONValue, ...]) -> None:
        texts = [item for item in items if isinstance(item, str)]
        literals = [item for item in texts if "*" not in item and "?" not in item]
        scalars = [item for item in items if not isinstance(item, (str, list, dict))]
        paths = dict.fromkeys(one for item in texts if is_path(item) for one in path_patterns(item))
        self._count = len(items)
        self._texts = frozenset((*map(_spelt, scalars), *map(fold, literals)))
        self._globs = _Globs([denying(item) for item in texts if "*" in item or "?" in item])
        self._paths = _Globs([denying(item) for item in paths])
        self._wholes = frozenset(equality_key(item) for item in items if isinstance(item, (list, dict)))

    def below(self, value: JSONValue, work: Work) -> bool:
        """Return whether an item meets a value or anything inside it: scalars, member names, arrays and objects."""
        if not self._count:
            return False
        return any(self._meets(leaf, work) for leaf in _leaves(value, work)) or self._meets_whole(value, work)

    def _meets(self, leaf: str, work: Work) -> bool:
        spend(work, limits.ITEM_UNITS)
        if not leaf.isascii():
            spend(work, limits.TEXT_UNITS + limits.TEXT_BYTE_UNITS * utf8_size(leaf))
            if not is_stream_safe(leaf):
                return True
        text = fold(leaf)
        spend(work, len(text) * (1 if leaf.isascii() else limits.FOLDED_UNITS))
        if text in self._texts or self._globs.meet(text, work):
            return True
        return bool(self._paths) and self._meets_path(text, work)

    def _meets_path(self, text: str, work: Work) -> bool:
        spend(work, limits.SPELLING_UNITS * utf8_size(text))
        spellings = path_spellings(text)
        if spellings is None:
            return True
        for one in spellings:  # which can be longer than the text: each costs for having been made
            spend(work, limits.TEXT_UNITS + limits.TEXT_BYTE_UNITS * utf8_size(one))
            if self._paths.meet(one, work):
                return True
        return False

    def _meets_whole(self, value: JSONValue, work: Work) -> bool:
        waiting = [value] if self._wholes else []
        while waiting:
            one = waiting.pop()
            if isinstance(one, (list, dict)):
                waiting.extend(one.values() if isinstance(one, dict) else one)
                key = equality_key(one, work)
                # No key: it cannot be written down, or normalising it would take too long.
                if not key or key in self._wholes:
                    return True
        return False


def _leaves(value: JSONValue, work: Work) -> Iterator[str]:
    """Yield every member name and every scalar: null, numbers and booleans as JSON writes them."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, str):
            yield one
        else:
            seen(one)
            spend(work, limits.NUMBER_UNITS)
            yield _spelt(one)


def _spelt(value: JSONValue) -> str:
    """Return the JSON text of a number, a boolean or null."""
    if type(value) is int:  # the same digits, sooner
        return str(value)
    return jcs.canonical(value).decode()
