"""Places in a JSON text, for messages: line and column of a fault, or of the value that a JSON pointer names.

`processors.proof.jcs` decides whether a text is good; it is fast and keeps no places. This second, slow reading happens
only for a message to the author of a faulty text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from processors.policy.json_types import pointer_to
from processors.proof import jcs
from processors.text.forms import is_stream_safe, nfc

_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:
        (?P<text>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*") |
        (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9.eE+-])) |
        (?P<word>true|false|null)(?![A-Za-z0-9_]) |
        (?P<mark>[\[\]{},:])
    )""",
    re.VERBOSE,
)
_OPENING = {"[": "]", "{": "}"}
_CLOSING = re.compile(r"[ \t\n\r]*[\]}]")
_BLANKS = re.compile(r"[ \t\n\r]*")
# Each `MalformedJSONError.cause` as the end of a sentence.
SENTENCES = {
    "utf8": "is not UTF-8",
    "bom": "begins with a byte order mark: save it without one",
    "syntax": "is not JSON, syntax error",
    "trailing": "holds more than one value",
    "duplicate": "has a member twice",
    "marks": "has a member name with more than 30 combining marks in a row",
    "number": "has a number that a double does not hold exactly: write ids beyond 2^53 as texts, in double quotes",
    "surrogate": "has half of a surrogate pair",
    "depth": "has too many values inside each other",
    "nodes": "has too many values",
}


class TextPlace(NamedTuple):
    """A place in a text, both from 1, and the JSON pointer of the value there."""

    line: int
    column: int
    pointer: str = ""

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}"
        return f"{where}, at {self.pointer!r}" if self.pointer else where


class _StopError(Exception):
    """The walk has come to the first fault of a text."""

    def __init__(self, at: int, pointer: str) -> None:
        super().__init__(at, pointer)
        self.at = at
        self.pointer = pointer


def sentence_of(text: bytes, exc: jcs.MalformedJSONError) -> str:
    """Return the fault of a text that `processors.proof.jcs` refused, with its place, as the end of a sentence."""
    place = fault_in(text)
    told = SENTENCES.get(exc.cause, "is not strict JSON")
    return f"{told} ({place})" if place is not None else told


def fault_in(text: bytes) -> TextPlace | None:
    """Return the place where a text stops being JSON, or None if this reading finds no fault."""
    try:
        whole = text.decode()
    except UnicodeDecodeError as exc:
        return _place(text[: exc.start].decode("utf-8", "replace"), exc.start, "")
    try:
        for _ in _walk(whole):
            pass
    except _StopError as stop:
        return _place(whole, stop.at, stop.pointer)
    return None


def place_of(text: bytes, pointer: str) -> TextPlace | None:
    """Return the start of the value that a JSON pointer (RFC 6901) names, or None if there is none."""
    whole = text.decode("utf-8", "replace")
    try:
        for found, at in _walk(whole):
            if found == pointer:
                return _place(whole, at, pointer)
    except _StopError:
        pass
    return None


def _place(text: str, at: int, pointer: str) -> TextPlace:
    before = text[:at]
    return TextPlace(before.count("\n") + 1, len(before) - before.rfind("\n"), pointer)


class _Container:
    """An object or array that is being read."""

    def __init__(self, pointer: str, opening: str) -> None:
        self.pointer = pointer
        self.closing = _OPENING[opening]
        self.names: set[str] = set()
        self.count = 0


def _walk(text: str) -> Iterator[tuple[str, int]]:
    """Yield (JSON pointer, place) of each value in order; of a member, the place of its name.

    Raises:
        _StopError: the first fault.
    """
    at = _BLANKS.match(text).end()  # type: ignore[union-attr] # it matches the empty text
    open_: list[_Container] = []
    coming: tuple[str, int, int] | None = ("", at, at)
    while coming is not None:
        pointer, place, at = coming
        found, at = _next(text, at, pointer)
        if found["mark"] is None:
            _check_scalar(found, found.start(found.lastgroup or 0), pointer)
        elif found["mark"] not in _OPENING or len(open_) >= jcs.WRITTEN_DEPTH_MAX:
            raise _StopError(found.start("mark"), pointer)
        yield pointer, place
        if found["mark"] is None:
            coming = _behind(text, at, open_)
            continue
        open_.append(_Container(pointer, found["mark"]))
        ended = _CLOSING.match(text, at)
        coming = _member(text, at, open_[-1]) if ended is None else _behind(text, at, open_)


def _behind(text: str, at: int, open_: list[_Container]) -> tuple[str, int, int] | None:
    """Return the next value after a value or an opening bracket, as `_member` does; None at the end."""
    while open_:
        here = open_[-1]
        found, at = _next(text, at, here.pointer)
        if found["mark"] == "," and here.count:
            return _member(text, at, here)
        if found["mark"] != here.closing:
            raise _StopError(found.start(found.lastgroup or 0), here.pointer)
        open_.pop()
    rest = _BLANKS.match(text, at).end()  # type: ignore[union-attr] # it matches the empty text
    if rest != len(text):
        raise _StopError(rest, "")
    return None


def _next(text: str, at: int, pointer: str) -> tuple[re.Match[str], int]:
    found = _TOKEN.match(text, at)
    if found is None:
        raise _StopError(_BLANKS.match(text, at).end(), pointer)  # type: ignore[union-attr] # it matches the empty text
    return found, found.end()


def _member(text: str, at: int, here: _Container) -> tuple[str, int, int]:
    """Return pointer and place of a container's next value, and the place at which the value itself is read."""
    here.count += 1
    if here.closing == "]":
        begin = _BLANKS.match(text, at).end()  # type: ignore[union-attr] # it matches the empty text
        return f"{here.pointer}/{here.count - 1}", begin, at
    name_token, at = _next(text, at, here.pointer)
    begin = name_token.start(name_token.lastgroup or 0)
    if name_token["text"] is None:
        raise _StopError(begin, here.pointer)
    _check_scalar(name_token, begin, here.pointer)
    name = json.loads(name_token["text"])
    if not is_stream_safe(name):
        raise _StopError(begin, here.pointer)
    name = nfc(name)
    if name in here.names:
        raise _StopError(begin, pointer_to(here.pointer, name))
    here.names.add(name)
    colon, at = _next(text, at, here.pointer)
    if colon["mark"] != ":":
        raise _StopError(colon.start(colon.lastgroup or 0), here.pointer)
    return pointer_to(here.pointer, name), begin, at


def _check_scalar(found: re.Match[str], begin: int, pointer: str) -> None:
    try:
        jcs.parse_strict((found["text"] or found["number"] or found["word"]).encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError:
        raise _StopError(begin, pointer) from None
