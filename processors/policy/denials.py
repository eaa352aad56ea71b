"""What a call's parameters must not hold, as tests (MAPL.md 4). Restriction position: every spelling is tried.

What cannot be inspected is not let through.
"""

from collections.abc import Callable, Iterator

from processors import jcs
from processors.jcs import JSONValue
from processors.policy import limits
from processors.policy.evaluation import Parameters, Work, spend
from processors.policy.globs import denying
from processors.policy.parameter_checks import Test, equality_key
from processors.policy.paths import MISMATCH, json_texts, reached
from processors.policy.specs import DeniedParameter
from processors.policy.text import fold, utf8_size

_DENIED, _TYPE = "PARAM_DENIED", "PARAM_TYPE"


def denial_test(denied: DeniedParameter) -> Test:
    """Return the test of one path and its items: a reason to deny, or an empty text."""
    meets, place = _Items(denied.items), denied.place
    if place is None and not denied.items:
        return lambda _parameters, _work: ""
    if place is None:
        return lambda parameters, work: _DENIED if meets.any_text(json_texts(dict(parameters)), work) else ""

    def test(parameters: Parameters, work: Work) -> str:
        values = reached(parameters, place, work)
        if MISMATCH in values:
            return _TYPE
        return _DENIED if any(meets.below(value, work) for value in values) else ""  # type: ignore[arg-type]

    return test


class _Items:
    """The items of one path, by how they are compared."""

    def __init__(self, items: tuple[JSONValue, ...]) -> None:
        scalars = [item for item in items if not isinstance(item, (str, list, dict))]
        self._count = len(items)
        self._null = any(item is None for item in scalars)
        texts = [item for item in items if isinstance(item, str)]
        literals = [item for item in texts if "*" not in item and "?" not in item]
        self._texts = frozenset((*map(_spelt, scalars), *map(fold, literals)))
        globs = [denying(item) for item in texts if "*" in item or "?" in item]
        self._globs: list[Callable[[str], bool]] = [one.meets for one in globs]
        self._base, self._units = sum(one.base for one in globs), sum(one.units for one in globs)
        self._wholes = frozenset(equality_key(item) for item in items if isinstance(item, (list, dict)))

    def any_text(self, texts: list[str], work: Work) -> bool:
        """Return whether an item meets one of these texts."""
        return any(self._meets(text, work) for text in texts)

    def below(self, value: JSONValue, work: Work) -> bool:
        """Return whether an item meets a value or anything inside it: scalars, member names, arrays and objects."""
        if not self._count:
            return False
        return any(self._meets(leaf, work) for leaf in _leaves(value, work)) or self._meets_whole(value, work)

    def _meets(self, leaf: str | None, work: Work) -> bool:
        spend(work, limits.ITEM_UNITS)
        if leaf is None:
            return self._null
        if not leaf.isascii():
            spend(work, limits.TEXT_UNITS + limits.TEXT_BYTE_UNITS * utf8_size(leaf))
            if not jcs.is_stream_safe(leaf):
                return True
        text = fold(leaf)
        folding = 1 if leaf.isascii() else limits.FOLDED_UNITS
        spend(work, self._base + (self._units + folding) * len(text))
        return text in self._texts or any(meets(text) for meets in self._globs)

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


def _leaves(value: JSONValue, work: Work) -> Iterator[str | None]:
    """Yield every member name and every scalar: null as None, numbers and booleans as JSON writes them."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif one is None or isinstance(one, str):
            yield one
        else:
            spend(work, limits.NUMBER_UNITS)
            yield _spelt(one)


def _spelt(value: JSONValue) -> str:
    """Return what JSON writes for a number, a boolean or null."""
    return jcs.canonical(value).decode()
