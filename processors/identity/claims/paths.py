"""Paths to claims: `email`, `realm_access.roles`, `groups[0]`, `groups[*]`, `["a.b/c"]`, `https://acme.example/team`.

A path that begins as an address does is one name as a whole, because providers put such names before claims of
their own. Names are compared letter by letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice

import re2

from processors.identity.claims import bounds
from processors.identity.claims.errors import ClaimsMappingError
from processors.text.characters import has_hidden, has_outer_blanks, quoted

EACH = -1  # the step `[*]`: every element of a list

_ADDRESS = re2.compile(r"[A-Za-z][A-Za-z0-9+-]*://\S+|urn:[^\s.\[\]]\S*")
_STEP = re2.compile(
    r"""\[(?P<index>[0-9]{1,4})\]|(?P<each>\[\*\])|\["(?P<double>(?:[^"\\]|\\["\\])+)"\]|\['(?P<single>[^']+)'\]"""
    r"""|(?P<dot>\.)?(?P<name>[^.\[\]"'*\s\\]+)"""
)
_ESCAPED = re2.compile(r'\\(["\\])')

Step = str | int


@dataclass(frozen=True, slots=True)
class ClaimPath:
    """A path from the claims of a token to values. Raises ClaimsMappingError for a text that is not a path."""

    text: str
    steps: tuple[Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(_steps(self.text)))


@dataclass(frozen=True, slots=True)
class FoundClaim:
    """The values that a path leads to, `is_list` if they are elements of lists.

    Without values `missing` says why. `fault` says that the claim cannot be used at all.
    """

    values: tuple[object, ...] = field(default=(), repr=False)
    is_list: bool = False
    missing: str = ""
    fault: str = ""


def _steps(text: str) -> Iterator[Step]:
    if not text:
        raise ClaimsMappingError("a path is empty: name a claim, for example `email`")
    if len(text) > bounds.PATH_CHARS_MAX:
        raise ClaimsMappingError(f"a path has {len(text)} characters, allowed are {bounds.PATH_CHARS_MAX}")
    if has_hidden(text):
        raise ClaimsMappingError(f"the path {quoted(text)} holds a control or invisible character: remove it")
    if has_outer_blanks(text):
        raise ClaimsMappingError(f"the path {quoted(text)} begins or ends with a blank: remove it")
    if _ADDRESS.fullmatch(text):
        yield text
        return
    at = count = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (found["name"] is not None and (found["dot"] is None) is not (at == 0)):
            raise ClaimsMappingError(
                f"the path {quoted(text)} cannot be read at character {at + 1}: write `a.b`, `a[0]`, `a[*]`, or a "
                'name with dots or blanks as `["a.b"]`'
            )
        count += 1
        if count > bounds.PATH_STEPS_MAX:
            raise ClaimsMappingError(f"the path {quoted(text)} has more than {bounds.PATH_STEPS_MAX} steps")
        yield _step(found)
        at = found.end()


def _step(found: re2._Match[str]) -> Step:
    if found["each"] is not None:
        return EACH
    if found["index"] is not None:
        return _number(found["index"])
    if found["double"] is not None:
        return str(_ESCAPED.sub(r"\1", found["double"]))
    return found["single"] or found["name"] or ""


def _number(digits: str) -> int:
    """Return the number that ASCII digits spell."""
    value = 0
    for digit in digits:
        value = value * 10 + "0123456789".index(digit)
    return value


def look_up(claims: Mapping[str, object], path: ClaimPath) -> FoundClaim:
    """Return the values that a path leads to. Never raises; looks at no more than VISITED_MAX values."""
    values: list[object] = [claims]
    is_list, visited = False, 0
    for at, step in enumerate(path.steps):
        reached: list[object] = []
        for value in values:
            if step == EACH and isinstance(value, list):
                reached += value[: bounds.VISITED_MAX + 1]
            elif (inner := _inner(value, step)) is not None:
                reached.append(inner)
            visited += 1
            if visited + len(reached) > bounds.VISITED_MAX:
                return FoundClaim(fault=f"it leads to more than {bounds.VISITED_MAX} values")
        if not reached:
            return FoundClaim(missing=_why_missing(values, path, at))
        values, is_list = reached, is_list or step == EACH
    return _at_the_end(values, is_list=is_list)


def _inner(value: object, step: Step) -> object | None:
    """Return the member or element that a step leads to, None without one; null is none."""
    if isinstance(step, str):
        return value.get(step) if isinstance(value, Mapping) else None
    return value[step] if step != EACH and isinstance(value, list) and step < len(value) else None


def _at_the_end(values: list[object], *, is_list: bool) -> FoundClaim:
    """Return found values; a list among them stands for its elements."""
    found: list[object] = []
    for value in values:
        if isinstance(value, list):
            is_list = True
            found += value[: bounds.VISITED_MAX + 1]
        else:
            found.append(value)
        if len(found) > bounds.VISITED_MAX:
            return FoundClaim(fault=f"it has more than {bounds.VISITED_MAX} values")
    if not found:
        return FoundClaim(missing="the list is empty")
    return FoundClaim(values=tuple(found), is_list=is_list)


def _why_missing(values: list[object], path: ClaimPath, at: int) -> str:
    """Return why no value has the step at `at` of a path. Names of claims may stand in it, and never values."""
    step, before = path.steps[at], f"below step {at} of the path" if at else "in the token"
    [value] = values if len(values) == 1 else [None]
    if isinstance(step, str):
        if not isinstance(value, Mapping):
            return f"no object with the name {quoted(step)} {before}" if len(values) != 1 else f"no object {before}"
        if step in value:
            return f"{quoted(step)} is null"
        if at == 0 and path.text in value and path.text != step:
            return f"the token has one claim of this very name: write it as [{_in_quotes(path.text)}]"
        near = nearest(step, value)
        return f"no {quoted(step)} {before}" + (f"; there is {quoted(near)}" if near else "")
    if not isinstance(value, list):
        return f"no list {before}"
    return "the list is empty" if step == EACH or not value else f"the list has {len(value)} elements"


def _in_quotes(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def nearest(name: str, names: Iterable[object]) -> str | None:
    """Return the name of a short list of names that is most like `name`, None if none is."""
    known = [one for one in islice(names, bounds.NEAREST_MAX) if isinstance(one, str)]
    short = [one for one in known if len(one) <= bounds.SHOWN_CHARS_MAX]
    found = get_close_matches(name[: bounds.SHOWN_CHARS_MAX], short, n=1)
    return found[0] if found else None
