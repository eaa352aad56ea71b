"""The classes of the values at places that a schema annotates, within bounds of values, bytes and stamps.

All beyond a bound has the worst stamps of its classifier: a value that is hidden among many gains nothing. Every
text is paid before it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from processors.content.risk_class import Stamps
from processors.content.risk_options import TEXTS_MAX
from processors.content.risks import WORST, classify
from processors.proof.jcs import JSONValue, canonical
from processors.text.characters import utf8_size

VALUES_MAX = 64  # values that are classified in one call, over all places
TEXT_BYTES_MAX = 4096  # of a text that a classifier reads, in UTF-8
STAMPS_BYTES_MAX = 4096  # of all stamps of a call, as canonical JSON
VALUE_UNITS = 1_000  # a value: its stamps are made and written; a unit is at most 50 ns (`processors.policy.limits`)
STEP_UNITS = 16  # a value on the way to a place
EVERY = "*"  # the step to all items of a list

Steps = tuple[str | int, ...]
Annotated = Sequence[tuple[Steps, str]]
Spend = Callable[[int], None]


class _Price(NamedTuple):
    """Units of a text, of each of its first `dear` bytes, and of every byte: above the cost of the worst texts."""

    text: int
    dear_byte: int = 0
    dear: int = 0
    byte: int = 0


# A host name is 253 bytes at most, and SQL and a shell's grammar have a bound of tokens: later bytes cost less.
_PRICES: Final[dict[str, _Price]] = {
    "files": _Price(2_000, byte=24),
    "mail": _Price(2_000, dear_byte=128, dear=320, byte=2),
    "money": _Price(2_000, byte=1),
    "network": _Price(2_000, dear_byte=128, dear=320, byte=2),
    "shell": _Price(6_000, dear_byte=420, dear=512, byte=48),
    "sql": _Price(2_000, dear_byte=256, dear=2048, byte=16),
}


class _Misfit:
    """Stands for a value at a place that cannot be reached: something of another type is on the way."""


_MISFIT: Final = _Misfit()


def stamps_at(annotated: Annotated, value: JSONValue, spend: Spend) -> dict[str, JSONValue]:
    """Return the stamps of the values at annotated places, by the names on the way joined with `/`.

    At a place inside a list stands a list of them. A place whose member is absent has none. One that a value of another
    type hides has the worst, and so have all places beyond VALUES_MAX values or STAMPS_BYTES_MAX.

    Args:
        annotated: places with the names of their classifiers.
        value: the parameters of a call.
        spend: takes units before the work is done, and raises if they do not suffice.
    """
    told: dict[str, JSONValue] = {}
    left = VALUES_MAX
    for steps, name in annotated:
        found: list[JSONValue | _Misfit] = []
        for one in _reached(value, steps, spend):
            found.append(one)
            if len(found) > left:
                break
        key = key_of(steps)
        if len(found) > left:
            told[key] = _worst(steps, name)
            continue
        left -= len(found)
        classes = [_stamps(name, one, spend) for one in found]
        if EVERY in steps:
            told[key] = classes
        elif classes:
            told[key] = classes[0]
    return told if len(canonical(told)) <= STAMPS_BYTES_MAX else worst_at(annotated, told)


def worst_at(annotated: Annotated, places: dict[str, JSONValue] | None = None) -> dict[str, JSONValue]:
    """Return the worst stamps of all annotated places, or of those among them that are named."""
    keyed = ((key_of(steps), steps, name) for steps, name in annotated)
    return {key: _worst(steps, name) for key, steps, name in keyed if places is None or key in places}


def key_of(steps: Steps) -> str:
    """Return the name under which the stamps of a place stand."""
    return "/".join(str(step) for step in steps if step != EVERY)


def units_of(name: str, value: JSONValue) -> int | None:
    """Return a bound on the work of a classifier for a value, or None for a value that it must not read."""
    price = _PRICES[name]
    listed = value if isinstance(value, list) else list(value.values())[:3] if isinstance(value, dict) else [value]
    if len(listed) > TEXTS_MAX:
        return None
    units = VALUE_UNITS
    for text in listed:
        if isinstance(text, str):
            size = len(text) if len(text) > TEXT_BYTES_MAX else utf8_size(text)
            if size > TEXT_BYTES_MAX:
                return None
            units += price.text + price.dear_byte * min(size, price.dear) + price.byte * size
    return units


def _stamps(name: str, value: JSONValue | _Misfit, spend: Spend) -> JSONValue:
    if isinstance(value, _Misfit):
        return _written(name, WORST[name])
    units = units_of(name, value)
    spend(VALUE_UNITS if units is None else units)
    return _written(name, WORST[name] if units is None else classify(name, value))


def _worst(steps: Steps, name: str) -> JSONValue:
    stamps = _written(name, WORST[name])
    return [stamps] if EVERY in steps else stamps


def _written(name: str, stamps: Stamps) -> JSONValue:
    return {"of": name, **{stamp: list(said) if isinstance(said, tuple) else said for stamp, said in stamps.items()}}


def _reached(value: JSONValue, steps: Steps, spend: Spend) -> Iterator[JSONValue | _Misfit]:
    """Yield the values at the end of some steps, and a misfit for each container of another type on the way."""
    waiting: list[tuple[JSONValue, int]] = [(value, 0)]
    while waiting:
        spend(STEP_UNITS)
        one, at = waiting.pop()
        if at == len(steps):
            yield one
        elif steps[at] == EVERY:
            if isinstance(one, list):
                spend(STEP_UNITS * len(one))
                waiting.extend((item, at + 1) for item in reversed(one))
            else:
                yield _MISFIT
        elif not isinstance(one, dict):
            yield _MISFIT
        elif steps[at] in one:
            waiting.append((one[str(steps[at])], at + 1))


def statement() -> JSONValue:
    """Return the bounds, for the catalogue's digest."""
    return [VALUES_MAX, TEXT_BYTES_MAX, STAMPS_BYTES_MAX]
