"""Members of a file with lines: taken by name and type, with a fault for every other name or type.

A fault is a `LinedError`: its line, and a sentence with the next step. The reader of the file puts the file before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches

from processors.identity.claims.errors import ClaimsMappingError
from producers.home.strict_yaml import Lined
from schemas.errors import InputError

_NAME_CHARS_MAX = 80  # of a name in a message


class LinedError(InputError):
    """A part of a file is malformed: its line, and a sentence."""

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(f"line {line}: {fault}")
        self.line = line


@contextmanager
def at_line(line: int) -> Iterator[None]:
    """Give a fault of a mapping the line of the part that it was made of. Raises LinedError."""
    try:
        yield
    except ClaimsMappingError as exc:
        raise LinedError(line, str(exc)) from None


def members(part: Lined, what: str, names: Collection[str]) -> Mapping[str, Lined]:
    """Return the members of a mapping, all of which must be among `names`. Raises LinedError."""
    found = named(part, what)
    for name, member in found.items():
        if name not in names:
            raise LinedError(member.line, f"{what} has no member `{cut(name)}`{did_you_mean(name, names)}")
    return found


def named(part: Lined, what: str) -> Mapping[str, Lined]:
    """Return the members of a mapping whose names are free. Raises LinedError."""
    if not isinstance(part.value, dict):
        raise LinedError(part.line, f"{what} must be a mapping: write `name: value` lines, indented below it")
    return part.value


def elements(part: Lined, what: str) -> list[Lined]:
    """Return the elements of a list. Raises LinedError."""
    if not isinstance(part.value, list):
        raise LinedError(part.line, f"{what} must be a list: write `- ` before each element, or `[a, b]`")
    return part.value


def text(part: Lined, what: str) -> str:
    """Return a text. Raises LinedError."""
    if not isinstance(part.value, str):
        raise LinedError(part.line, f"{what} must be a text: put it into quotes")
    return part.value


def texts(part: Lined, what: str) -> tuple[str, ...]:
    """Return the texts of a list. Raises LinedError."""
    return tuple(text(one, f"an element of {what}") for one in elements(part, what))


def table(part: Lined, what: str) -> dict[str, str]:
    """Return a mapping of texts to texts. Raises LinedError."""
    return {name: text(one, f"`{cut(name)}` in {what}") for name, one in named(part, what).items()}


def flag(part: Lined, what: str) -> bool:
    """Return a boolean. Raises LinedError."""
    if not isinstance(part.value, bool):
        raise LinedError(part.line, f"{what} must be `true` or `false`")
    return part.value


def whole_number(part: Lined, what: str) -> int:
    """Return a whole number. Raises LinedError."""
    if not isinstance(part.value, int) or isinstance(part.value, bool):
        raise LinedError(part.line, f"{what} must be a whole number")
    return part.value


def did_you_mean(name: str, names: Collection[str], meant: Mapping[str, str] | None = None) -> str:
    """Return the end of a sentence about a name that does not exist: the nearest that does, or all of them."""
    near = (meant or {}).get(name.lower()) or next(iter(get_close_matches(cut(name), sorted(names), n=1)), None)
    return f": did you mean `{near}`?" if near else f"; allowed are {', '.join(f'`{one}`' for one in names)}"


def cut(name: str) -> str:
    """Return a name as it stands in a message."""
    return name[:_NAME_CHARS_MAX]
